"""The fleet bench: the shipped placement on the virtual clock, beside an oracle and the usual."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from meshnode.sim.fleet.answer import Case, lines
from meshnode.sim.fleet.compare import (
    HEAD,
    WARM_UP_S,
    Task,
    at_load,
    default_seconds,
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
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if key not in KEYS or not 0 < number < 1e7:
            raise BadScenario(f"--sim {part}: one of {', '.join(KEYS)}, with a positive number")
        found[key] = number
    defaults = Case()
    return Case(
        cameras=int(found.get("cameras", defaults.cameras)),
        fps=found.get("fps", defaults.fps),
        gateways=int(found.get("gateways", defaults.gateways)),
        regional=int(found.get("regional", defaults.regional)),
    )


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
        "policies": [asdict(o) for o in found],
        "sources_moved": asdict(moved),
    }
    return facts, _picture(wish, trial, say) if wish.picture else None


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
