"""The fleet bench: the shipped placement on the virtual clock, beside an oracle and the usual."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches

from meshnode.sim.fleet.answer import Case, lines
from meshnode.sim.fleet.compare import (
    HEAD,
    WARM_UP_S,
    Task,
    at_load,
    default_seconds,
    held_line,
    held_load,
    line,
    moved_line,
    outcomes,
    sources_moved,
)
from meshnode.sim.fleet.fleet import Trial
from meshnode.sim.fleet.picture import draw
from meshnode.sim.fleet.policies import OURS, POLICIES, USUAL
from meshnode.sim.fleet.scenario import BadScenario, parse
from meshnode.sim.fleet.shape import Shape, article, capacity, spots
from meshnode.sim.fleet.tally import Outcome

LOADS = (0.5, 0.7, 0.8, 0.9, 0.95)
"""Of the picture."""
KEYS = ("cameras", "fps", "gateways", "regional")
NUMBER_MAX = 10_000_000
HELD_LOADS = (0.5, 0.6, 0.7, 0.8)
"""At which it is looked how much may be offered with at most 5 % late."""
HELD_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the command line asks for."""

    shape: Shape
    case: Case | None
    """The article's fleet, whose arithmetic is shown; None for a user's own."""
    policies: tuple[str, ...]
    load: float
    seconds: float | None
    seed: int
    picture: bool = False


def read_case(text: str) -> Case:
    """Return the case of `cameras=2000,fps=15,...`; raises BadScenario."""
    found: dict[str, float] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        key, _, value = (each.strip() for each in part.partition("="))
        if key not in KEYS:
            near = get_close_matches(key, KEYS, 1)
            asked = f"did you mean {near[0]}?" if near else f"there are {', '.join(KEYS)}"
            raise BadScenario(f"--sim {part}: {key or 'nothing'} is no key; {asked}")
        if key in found:
            raise BadScenario(f"--sim {part}: {key} is given twice")
        found[key] = _positive(part, value, whole=key != "fps")
    usual = Case()
    return Case(
        cameras=int(found.get("cameras", usual.cameras)),
        fps=found.get("fps", usual.fps),
        gateways=int(found.get("gateways", usual.gateways)),
        regional=int(found.get("regional", usual.regional)),
    )


def _positive(part: str, value: str, *, whole: bool) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number < NUMBER_MAX or (whole and number != int(number)):
        kind = "a whole number" if whole else "a number"
        raise BadScenario(f"--sim {part}: {kind} above 0 is needed, and below {NUMBER_MAX:,}")
    return number


def shape_of(case: Case) -> Shape:
    """Return the fleet of a case; raises BadScenario."""
    try:
        return article(
            cameras=case.cameras, gateways=case.gateways, regional=case.regional, fps=case.fps
        )
    except ValueError as error:
        raise BadScenario(f"--sim: {error}") from None


def read_scenario(text: str) -> Shape:
    """Return a user's fleet; raises BadScenario."""
    return parse(text)


def policies_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return the policies to run, the oracle first; raises BadScenario for an unknown name."""
    for name in names:
        if name not in POLICIES:
            raise BadScenario(f"--policy {name}: there are {', '.join(POLICIES)}")
    wanted = tuple(names) or (*OURS, *USUAL)
    return ("oracle", *(name for name in wanted if name != "oracle"))


def run(wish: Wish, say: Callable[[str], None]) -> tuple[dict[str, object], str | None]:
    """Run all, saying lines as they come; return the facts, and the picture if it was wished."""
    shape = wish.shape
    seconds = wish.seconds or default_seconds(shape, wish.load, wish.seed)
    trial = Trial(load=wish.load, seconds=seconds, warm_up_s=WARM_UP_S, seed=wish.seed)
    held_per_s = capacity(spots(shape, wish.seed))
    said = lines(wish.case) if wish.case else []
    for text in [*said, *_head(shape, trial, held_per_s), HEAD]:
        say(text)
    found: list[Outcome] = []
    for outcome in outcomes(shape, [Task(policy=p, trial=trial) for p in wish.policies]):
        found.append(outcome)
        say(line(outcome, found[0]))
    held = {policy: _held(wish, trial, policy) for policy in wish.policies if policy in OURS}
    for policy, load in held.items():
        say(held_line(policy, load, HELD_LOADS, held_per_s))
    moved = sources_moved(shape, wish.seed)
    say(moved_line(moved))
    facts: dict[str, object] = {
        "case": said,
        "nodes": shape.nodes,
        "cameras": shape.cameras,
        "capacity_per_s": held_per_s,
        "cameras_offer_per_s": shape.offered_per_s,
        "load": wish.load,
        "seconds": seconds,
        "seed": wish.seed,
        "held_load": held,
        "policies": [asdict(o) for o in found],
        "sources_moved": asdict(moved),
    }
    return facts, _picture(wish, trial, say) if wish.picture else None


def _held(wish: Wish, trial: Trial, policy: str) -> float | None:
    """Return up to which load at most 5 % are late; None: not even at the least one tried."""
    short = replace(trial, seconds=min(trial.seconds, HELD_SECONDS))
    tasks = [Task(policy=policy, trial=at_load(short, load)) for load in HELD_LOADS]
    found = outcomes(wish.shape, tasks)
    return held_load([(o.load, o.late_share) for o in found])


def _head(shape: Shape, trial: Trial, held_per_s: float) -> list[str]:
    return [
        f"{shape.nodes} nodes, {shape.cameras} cameras, {shape.sites} sites; capacity "
        f"{held_per_s:,.0f} frames/s; offered {trial.load * held_per_s:,.0f} ({trial.load:.0%}), "
        f"of the {shape.offered_per_s:,.0f} of its cameras",
        f"{trial.seconds:g} virtual seconds after {trial.warm_up_s:g}, seed {trial.seed}; "
        f"ms; late: over {shape.sla_ms:g} ms",
    ]


def _picture(wish: Wish, trial: Trial, say: Callable[[str], None]) -> str:
    tasks = [Task(policy=p, trial=at_load(trial, load)) for p in wish.policies for load in LOADS]
    curves: dict[str, list[tuple[float, float]]] = {}
    for task, outcome in zip(tasks, outcomes(wish.shape, tasks), strict=True):
        curves.setdefault(task.policy, []).append((task.trial.load, outcome.p99_ms))
        say(f"picture: {task.policy} at {task.trial.load:.0%}: p99 {outcome.p99_ms:.0f} ms")
    title = f"{wish.shape.nodes} nodes: p99 against load"
    return draw(curves, title=title, sla_ms=wish.shape.sla_ms)
