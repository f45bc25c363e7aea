"""Compare: the same frames through several policies, on all cores, and what came of it in lines."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from os import cpu_count

from meshnode.sim.fleet.fleet import Trial
from meshnode.sim.fleet.homes import Moves, moves
from meshnode.sim.fleet.policies import run_trial
from meshnode.sim.fleet.shape import Shape, capacity, spots
from meshnode.sim.fleet.tally import Outcome

REQUESTS = 20_000
"""Measured by default: p99 is then uncertain by 2 to 3 %."""
WARM_UP_S = 2.0
LATE_MAX = 0.05
"""A fleet holds a load at which no more are late."""


def default_seconds(shape: Shape, load: float, seed: int) -> float:
    """Return how many virtual seconds give `REQUESTS`, within reason."""
    per_s = load * capacity(spots(shape, seed))
    return round(min(30.0, max(2.0, REQUESTS / per_s)), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run."""

    policy: str
    trial: Trial


def run_task(shape: Shape, task: Task) -> Outcome:
    """Run it; a process of its own can."""
    return run_trial(shape, task.trial, task.policy)


def outcomes(shape: Shape, tasks: Sequence[Task], jobs: int | None = None) -> Iterator[Outcome]:
    """Yield what comes of each, in order."""
    jobs = min(len(tasks), jobs or cpu_count() or 1)
    if jobs < 2:
        yield from map(partial(run_task, shape), tasks)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(partial(run_task, shape), tasks)


HEAD = (
    "policy                   p50    p99  p99.9  xoracle  late %  good/s  hottest  IDC   stays"
    "  msg/s   B/s"
)


def line(outcome: Outcome, oracle: Outcome | None) -> str:
    """Return one row of the table."""
    ratio = "" if oracle is None or not oracle.p99_ms else f"{outcome.p99_ms / oracle.p99_ms:.2f}"
    return (
        f"{outcome.policy:<23}{outcome.p50_ms:>6.0f}{outcome.p99_ms:>7.0f}{outcome.p999_ms:>7.0f}"
        f"{ratio:>9}{100 * outcome.late_share:>8.1f}{outcome.goodput_per_s:>8.0f}"
        f"{100 * outcome.hottest:>7.0f} %{outcome.dispersion:>6.2f}{100 * outcome.stays:>6.0f} %"
        f"{outcome.messages_per_s:>7.1f}{outcome.control_per_s:>6.0f}"
    )


def held_load(points: Sequence[tuple[float, float]]) -> float | None:
    """Return the load up to which at most 5 % are late, from (load, share that is late) by load.

    Between two points a straight line; the last load if it is held, None if the first is not.
    """
    held: tuple[float, float] | None = None
    for load, late in points:
        if late > LATE_MAX:
            if held is None:
                return None
            part = (LATE_MAX - held[1]) / (late - held[1])
            return held[0] + part * (load - held[0])
        held = (load, late)
    return None if held is None else held[0]


def held_line(
    policy: str, load: float | None, tried: Sequence[float], capacity_per_s: float
) -> str:
    """Return what a policy holds, in words."""
    if load is None:
        text = f"less than {tried[0]:.0%} of capacity"
    else:
        most = " or more" if load >= tried[-1] else ""
        text = f"{load:.0%} of capacity{most}, {load * capacity_per_s:,.0f} frames/s"
    return f"{policy} holds, with at most {LATE_MAX:.0%} late: {text}"


def moved_line(found: Moves) -> str:
    """Return what the loss of a node does to sources with a home."""
    return (
        f"source-hash, when a node goes: {found.moved_share:.1%} of the sources that see it move "
        f"({found.own_share:.1%} lived there; 1/n is {found.fair_share:.1%})"
    )


def sources_moved(shape: Shape, seed: int) -> Moves:
    """Return what moves; on few nodes, as it is the same everywhere."""
    return moves(shape, seed=seed, lost_max=10)


def at_load(trial: Trial, load: float) -> Trial:
    """Return the same trial at another load."""
    return replace(trial, load=load)
