"""Faults: what goes wrong in a run, when, and how it is put right again."""

from collections.abc import Callable

from meshnode.machine import Random
from meshnode.sim.clocks import Pace
from meshnode.sim.knobs import Knobs
from meshnode.sim.mesh import SimMesh
from meshnode.sim.node import Saved, SimNode

STARVED_S = (0.5, 4.0)
"""How long a starved process gets no time; it gets as much time after it."""
SWIZZLE_STEP_S = 0.3


class Faults:
    """Makes trouble on a mesh until it is told to stop; then everything works again."""

    def __init__(self, mesh: SimMesh, knobs: Knobs, rng: Random) -> None:
        self._mesh = mesh
        self._world = mesh.world
        self._knobs = knobs
        self._rng = rng
        self._over = False
        self._down: list[SimNode] = []

    def begin(self, honest: list[SimNode]) -> None:
        """Start every kind that the knobs ask for, on these nodes."""
        knobs = self._knobs
        self._honest = honest
        for act, every_s in (
            (self._crash_one, knobs.crash_every_s),
            (self._partition, knobs.partition_every_s),
            (self._swizzle, knobs.swizzle_every_s),
            (self._jump, knobs.jump_every_s),
        ):
            if every_s:
                self._again(act, every_s)
        for node in self._rng.sample(honest, min(knobs.starved, len(honest) - 1)):
            if node.place.pace is not None:
                self._starve(node.place.pace)

    def end(self) -> None:
        """Heal the network, restart who is down, let everybody run."""
        self._over = True
        self._mesh.network.heal()
        for node in self._honest:
            if node.place.pace is not None:
                node.place.pace.stalled_until = min(
                    node.place.pace.stalled_until, self._world.now + 0.001
                )
        for node in list(self._down):
            self._restart(node)

    # ------------------------------------------------------------------ crashes

    def _crash_one(self) -> None:
        up = [node for node in self._honest if node.alive]
        if len(up) <= 2:
            return
        node = self._rng.choice(up)
        if self._rng.random() < 0.2:
            node.leave()
        saved = node.crash()
        self._mesh.network.note(f"crash {node.name}")
        if self._rng.random() < self._knobs.forgets:
            node.saved = Saved(incarnation=saved.incarnation)
        self._down.append(node)
        down_s = self._rng.expovariate(1.0) * self._knobs.down_s
        self._later(down_s, lambda: self._restart(node))

    def _restart(self, node: SimNode) -> None:
        if node.alive or node not in self._down:
            return
        self._down.remove(node)
        up = [other.contact for other in self._honest if other.alive]
        self._mesh.network.note(f"restart {node.name}")
        node.start((self._rng.choice(up),) if up else ())

    # ------------------------------------------------------------------ the network

    def _partition(self) -> None:
        up = [node.contact for node in self._mesh.alive]
        if len(up) < 2:
            return
        self._rng.shuffle(up)
        cut = self._rng.randint(1, len(up) - 1)
        if self._rng.random() < self._knobs.one_way:
            self._mesh.network.cut_one_way(up[:cut], up[cut:])
        else:
            self._mesh.network.partition([up[:cut], up[cut:]])
        self._mesh.network.note(f"partition {cut} of {len(up)}")
        self._later(self._knobs.partition_s, self._mesh.network.heal)

    # ------------------------------------------------------------------ slow nodes

    def _swizzle(self) -> None:
        """Stop nodes one after the other; let them go on in another order."""
        up = [node for node in self._honest if node.alive and node.place.pace is not None]
        chosen = self._rng.sample(up, len(up) // 2)
        order = self._rng.sample(chosen, len(chosen))
        ends = len(chosen) * SWIZZLE_STEP_S
        for step, node in enumerate(chosen):
            until = self._world.now + ends + order.index(node) * SWIZZLE_STEP_S
            pace = node.place.pace
            assert pace is not None, "chosen for it"
            self._later(step * SWIZZLE_STEP_S, _staller(pace, until))

    def _starve(self, pace: Pace) -> None:
        seconds = self._rng.uniform(*STARVED_S)
        pace.stall(self._world.now + seconds)
        self._later(2 * seconds, lambda: self._starve(pace))

    def _jump(self) -> None:
        """Move a node's clocks: the machines' forward, the wall clock anywhere."""
        up = [node for node in self._honest if node.alive and node.place.clock is not None]
        if up:
            node = self._rng.choice(up)
            assert node.place.clock is not None, "chosen for it"
            node.jump(self._rng.choice((0.5, 5.0, 300.0)))
            node.place.clock.unix_skew_s += self._rng.uniform(-3600.0, 3600.0)

    # ------------------------------------------------------------------ time

    def _again(self, act: Callable[[], None], every_s: float) -> None:
        def now() -> None:
            act()
            self._again(act, every_s)

        self._later(self._rng.expovariate(1.0) * every_s, now)

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        def unless_over() -> None:
            if not self._over:
                act()

        self._world.call(self._world.now + seconds, unless_over)


def _staller(pace: Pace, until: float) -> Callable[[], None]:
    return lambda: pace.stall(until)
