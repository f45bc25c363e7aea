"""Figures: what the placement's acceptance is measured by, each with its bound.

`python -m meshnode.sim placement-figures [NAME ...]` prints them. Loads are shares of capacity;
"oracle" sees all nodes, and is given the same frames.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from meshnode.sim.fleet.compare import Task, outcomes
from meshnode.sim.fleet.fleet import Trial
from meshnode.sim.fleet.homes import moves
from meshnode.sim.fleet.shape import Shape, article
from meshnode.sim.fleet.tally import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How long, and from which seed."""

    seconds: float = 20.0
    seed: int = 1

    def trial(self, load: float, warm_up_s: float = 3.0) -> Trial:
        """Return a plain trial."""
        return Trial(load=load, seconds=self.seconds, warm_up_s=warm_up_s, seed=self.seed)


def _row(name: str, value: float, bound: float, *, unit: str = "", least: bool = False) -> str:
    holds = value >= bound if least else value <= bound
    sign = ">=" if least else "<="
    verdict = "holds" if holds else "DOES NOT HOLD"
    return f"{name:<58}{value:>9.2f}{unit} {sign} {bound:g}{unit}  {verdict}"


def _pair(shape: Shape, trial: Trial) -> tuple[Outcome, Outcome]:
    mesh, oracle = outcomes(shape, [Task(policy=p, trial=trial) for p in ("mesh", "oracle")])
    return mesh, oracle


def ratio(run: Run) -> Iterator[str]:
    """p99 over the oracle's, LAN and WAN, uneven sites; dispersion and traffic on the way."""
    for load, bound in ((0.5, 1.15), (0.7, 1.10), (0.8, 1.10), (0.9, 1.20), (0.95, 1.30)):
        mesh, oracle = _pair(article(), run.trial(load))
        name = f"220 nodes at {load:.0%}: p99 {mesh.p99_ms:.0f} over {oracle.p99_ms:.0f} ms"
        yield _row(name, mesh.p99_ms / oracle.p99_ms, bound)
        if load == 0.8:
            yield _row("  dispersion of arrivals", mesh.dispersion, 1.0)
            yield _row("  control messages/s for each node", mesh.messages_per_s, 60)
            yield _row("  control bytes/s for each node, all counted", mesh.control_per_s, 6000)
            yield f"  {mesh.stays:.0%} of frames stay with their camera's last server"


def flat(run: Run) -> Iterator[str]:
    """The same on one LAN with even sites and views of 16."""
    shape = replace(article(), wan=article().lan, uneven=0.0, view_max=16)
    mesh, oracle = _pair(shape, run.trial(0.8))
    name = f"flat LAN at 80 %: p99 {mesh.p99_ms:.0f} over {oracle.p99_ms:.0f} ms"
    yield _row(name, mesh.p99_ms / oracle.p99_ms, 1.05)


def large(run: Run) -> Iterator[str]:
    """2,002 nodes."""
    shape = article(cameras=18_200, gateways=1820, regional=182)
    trial = replace(run.trial(0.8), seconds=max(1.5, run.seconds / 8), warm_up_s=2.0)
    mesh, oracle = _pair(shape, trial)
    name = f"2,002 nodes at 80 %: p99 {mesh.p99_ms:.0f} over {oracle.p99_ms:.0f} ms"
    yield _row(name, mesh.p99_ms / oracle.p99_ms, 1.10)
    yield _row("  control messages/s for each node", mesh.messages_per_s, 60)
    yield _row("  control bytes/s for each node, all counted", mesh.control_per_s, 6000)


def period(run: Run) -> Iterator[str]:
    """Gossip each 0.1 to 5 s at 80 %."""
    periods = (0.1, 0.5, 1.0, 2.0, 5.0)
    tasks = [
        Task(policy="mesh", trial=replace(run.trial(0.8, 6.0), gossip_s=each)) for each in periods
    ]
    found = list(outcomes(article(), tasks))
    middle = found[2].p99_ms
    for each, outcome in zip(periods, found, strict=True):
        off = 100 * abs(outcome.p99_ms / middle - 1)
        yield _row(f"gossip each {each:g} s: p99 off that of 1 s", off, 5.0, unit=" %")
        yield _row("  dispersion of arrivals", outcome.dispersion, 1.0)


def held(run: Run) -> Iterator[str]:
    """The load that is held with at most 5 % over 100 ms."""
    mesh, oracle = _pair(article(), run.trial(0.70))
    yield _row("at 70 %: over 100 ms", 100 * mesh.late_share, 5.0, unit=" %")
    yield f"  the oracle: {100 * oracle.late_share:.1f} %"


def overload(run: Run) -> Iterator[str]:
    """Twice the capacity, with deadlines of 100 ms."""
    (mesh,) = outcomes(
        article(), [Task(policy="mesh", trial=replace(run.trial(2.0), deadline_ms=100.0))]
    )
    good = 100 * mesh.goodput_per_s / mesh.capacity_per_s
    yield _row("at 200 %: answered within 100 ms, of capacity", good, 80.0, unit=" %", least=True)


def modules(run: Run) -> Iterator[str]:
    """Eight modules where three fit (six on a GPU), at 70 %; the oracle has each node's view."""
    shape = replace(article(), modules=8)
    for cold, from_s in ((False, 6.0), (True, 5.0), (True, 10.0)):
        trial = replace(run.trial(0.7, from_s), cold=cold)
        tasks = [Task(policy=p, trial=trial) for p in ("mesh", "oracle-view")]
        mesh, oracle = outcomes(shape, tasks)
        start = f" from all cold, after {from_s:.0f} s" if cold else ""
        name = f"8 modules{start}: {mesh.p99_ms:.0f} over "
        yield _row(f"{name}{oracle.p99_ms:.0f} ms", mesh.p99_ms / oracle.p99_ms, 1.15)
        yield _row("  control messages/s for each node", mesh.messages_per_s, 60)
        yield _row("  control bytes/s for each node, all counted", mesh.control_per_s, 6000)


def hangs(run: Run) -> Iterator[str]:
    """A node falls silent each second, for two; 70 %."""
    mesh, oracle = _pair(article(), replace(run.trial(0.7), hangs_per_s=1.0))
    yield _row("silent hangs at 70 %: p99.9", mesh.p999_ms, 200, unit=" ms")
    yield _row("  lost", mesh.lost, 0)
    yield f"  slowest {mesh.slowest_ms:.0f} ms; the oracle's p99.9 {oracle.p999_ms:.0f} ms"


def liars(run: Run) -> Iterator[str]:
    """One node in twenty always says that it is idle; 80 %."""
    clean, lied = outcomes(
        article(),
        [
            Task(policy="mesh", trial=run.trial(0.8)),
            Task(policy="mesh", trial=replace(run.trial(0.8), liars=0.05)),
        ],
    )
    name = f"5 % liars at 80 %: p99 {lied.p99_ms:.0f} over {clean.p99_ms:.0f} ms"
    yield _row(name, lied.p99_ms / clean.p99_ms, 1.25)


def homes(run: Run) -> Iterator[str]:
    """`source-hash`: who stays, and who moves when a node goes."""
    found = moves(article(), seed=run.seed)
    fair = 100 * found.fair_share
    yield _row("source-hash: sources that move", 100 * found.moved_share, 1.1 * fair, unit=" %")
    hashed, spread = outcomes(
        article(),
        [Task(policy=p, trial=run.trial(0.5)) for p in ("source-hash", "mesh")],
    )
    within = hashed.corrected.get("within bound", 0.0)
    stays = 100 * hashed.corrected.get("at home", 0.0) / max(1e-9, within)
    yield _row("  frames at home, if it is within its bound", stays, 95.0, unit=" %", least=True)
    yield f"  the default at 50 %: {spread.stays:.0%} stay with their camera's last server"


def bandit(run: Run) -> Iterator[str]:
    """`bandit` beside the default."""
    learned, ours = outcomes(
        article(), [Task(policy=p, trial=run.trial(0.7)) for p in ("bandit", "mesh")]
    )
    yield (
        f"bandit at 70 %: p50 {learned.p50_ms:.0f}, p99 {learned.p99_ms:.0f} ms; "
        f"the default: {ours.p50_ms:.0f}, {ours.p99_ms:.0f} ms"
    )


FIGURES: dict[str, Callable[[Run], Iterator[str]]] = {
    "ratio": ratio,
    "flat": flat,
    "large": large,
    "period": period,
    "held": held,
    "overload": overload,
    "modules": modules,
    "hangs": hangs,
    "liars": liars,
    "homes": homes,
    "bandit": bandit,
}
