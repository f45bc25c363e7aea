"""Fleet: virtual time, servers, the ways between them, and the frames that come.

One heap of calls, in the order of their times and then of their making: one seed, one run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from time import perf_counter
from typing import Any

from meshnode.machine import Random
from meshnode.sim.fleet.request import Request
from meshnode.sim.fleet.server import Ears, Server
from meshnode.sim.fleet.shape import Shape, Spot, capacity, spots
from meshnode.sim.fleet.tally import UNANSWERED_MS, Outcome, Tally, quantile
from meshnode.sim.fleet.traffic import Bursts, Camera, cameras, frames

JITTER = 0.1
"""A way's delay is its own times 1 + this times an exponential draw."""
DRAIN_S = 3.0
"""After the last frame that counts, others go on until it is answered, at most so long."""
PATIENCE_S = 60.0
"""A frame's deadline where nothing is dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is done to a fleet."""

    load: float = 0.8
    """Offered over capacity."""
    seconds: float = 20.0
    """Measured, after the warm-up."""
    warm_up_s: float = 5.0
    seed: int = 1
    gossip_s: float = 1.0
    deadline_ms: float | None = None
    """Of each frame; None: nothing is refused or dropped."""
    cold: bool = False
    """Begin with nothing loaded."""
    hangs_per_s: float = 0.0
    """Nodes that fall silent, in the whole fleet, for `hang_s` each."""
    hang_s: float = 2.0
    liars: float = 0.0
    """Share of nodes that always say "idle"."""
    slow: float = 0.0
    """Share of nodes that are three times slower from the middle of the warm-up on."""
    bursts: Bursts | None = None


class Fleet:
    """One run."""

    def __init__(self, shape: Shape, trial: Trial, policy: "Callable[[Fleet], Any]") -> None:
        self.shape = shape
        self.trial = trial
        self.now = 0.0
        self.spots: list[Spot] = spots(shape, trial.seed)
        self.capacity_per_s = capacity(self.spots)
        self.cameras: list[Camera] = cameras(shape, self.spots, trial.seed)
        self.rng = Random(f"fleet {trial.seed}")
        self.ends = trial.warm_up_s + trial.seconds
        self.tally = Tally(begins=trial.warm_up_s, ends=self.ends)
        self.open: dict[bytes, Request] = {}
        self._heap: list[tuple[float, int, Callable[..., object], tuple[object, ...]]] = []
        self._order = 0
        self._counted = 0
        """Frames of the measured time that are not answered yet."""
        self._ways = Random(f"ways {trial.seed}")
        self._draw = self._ways.expovariate
        self._lan_s = shape.lan.rtt_ms / 2000
        self._wan_s = shape.wan.rtt_ms / 2000
        self._sites = [spot.site for spot in self.spots]
        self.policy = policy(self)
        ears: Ears = self.policy
        self.servers = [Server(s, self, ears, shape, trial.seed) for s in self.spots]
        if not trial.cold:
            for server in self.servers:
                first = server.index % shape.modules
                order = [*range(first, shape.modules), *range(first)]
                server.warm_up(order)

    # ------------------------------------------------------------------ time and ways

    def call(self, when: float, act: Callable[..., object], *arguments: object) -> None:
        """Do something at a time; the earlier made first among equals."""
        self._order += 1
        heappush(self._heap, (when, self._order, act, arguments))

    def way_s(self, a: int, b: int) -> float:
        """Return how long a message takes from one node to another, this time."""
        if a == b:
            return 0.0
        base = self._lan_s if self._sites[a] == self._sites[b] else self._wan_s
        return base * (1.0 + JITTER * self._draw(1.0))

    def transfer_s(self, a: int, b: int) -> float:
        """Return how long a request's inputs take on the way."""
        if a == b:
            return 0.0
        near = self._sites[a] == self._sites[b]
        return (self.shape.lan if near else self.shape.wan).transfer_ms / 1000

    def rtt_ms(self, a: int, b: int) -> float:
        """Return the round trip that a ping measures."""
        if a == b:
            return 0.0
        near = self._sites[a] == self._sites[b]
        return (self.shape.lan if near else self.shape.wan).rtt_ms

    def site_of(self, node: int) -> int:
        """Return where a node is."""
        return self._sites[node]

    # ------------------------------------------------------------------ requests

    def end(self, request: Request, server: int) -> bool:
        """An answer has come; only the first counts."""
        if request.done:
            return False
        request.done = True
        self.open.pop(request.id, None)
        self._counted -= self.tally.begins <= request.born < self.ends
        self.tally.answer(request.camera.name, server, request.born, self.now)
        return True

    def refuse(self, request: Request) -> None:
        """A request is not answered, and whoever asked is told so."""
        if not request.done:
            request.done = True
            self.open.pop(request.id, None)
            if self.tally.begins <= request.born < self.ends:
                self.tally.refused += 1
                self._counted -= 1

    def run(self) -> Outcome:
        """Run to the end and return what was measured."""
        began = perf_counter()
        self.policy.begin()
        self._frames = frames(self.cameras, self.trial.load * self.capacity_per_s, self.trial.seed)
        self._next_frame = next(self._frames)
        self._count = 0
        self.call(self._next_frame[0], self._frame)
        if self.trial.hangs_per_s:
            self.call(self.rng.expovariate(self.trial.hangs_per_s), self._hang)
        heap, until = self._heap, self.ends + DRAIN_S
        while heap and heap[0][0] <= until:
            self.now, _, act, arguments = heappop(heap)
            act(*arguments)
            if self.now >= self.ends and self._counted <= 0:
                break
        return self._outcome(perf_counter() - began)

    def _frame(self) -> None:
        now, camera = self._next_frame
        deadline_ms = self.trial.deadline_ms
        patience_s = PATIENCE_S if deadline_ms is None else deadline_ms / 1000
        self._count += 1
        request = Request(self._count, camera, now, now + patience_s)
        if self.servers[camera.home].hung:
            request.home = self._door(camera.home)
        self.open[request.id] = request
        if self.tally.begins <= now < self.ends:
            self.tally.offered += 1
            self._counted += 1
        self._next_frame = next(self._frames)
        self.call(self._next_frame[0], self._frame)
        self.policy.place(request)

    # ------------------------------------------------------------------ faults

    def _hang(self) -> None:
        """A random node falls silent; its cameras turn to another gateway at its site."""
        server = self.rng.choice([s for s in self.servers if not s.hung])
        server.hang()
        for request in [r for r in self.open.values() if r.home == server.index]:
            request.done = True  # whoever asked it asks another gateway; no policy can help
            del self.open[request.id]
            counts = self.tally.begins <= request.born < self.ends
            self.tally.offered -= counts
            self._counted -= counts
        self.policy.hung(server.index)
        self.call(self.now + self.trial.hang_s, self._revive, server)
        self.call(self.now + self.rng.expovariate(self.trial.hangs_per_s), self._hang)

    def _door(self, home: int) -> int:
        """Return the gateway that a silent one's cameras turn to."""
        site = self._sites[home]
        up = [s for s in self.servers if s.kind.cameras and not s.hung]
        near = [s for s in up if s.site == site]
        return self.rng.choice(near or up).index

    def _revive(self, server: Server) -> None:
        server.revive()
        self.policy.revived(server.index)

    # ------------------------------------------------------------------ figures

    def _outcome(self, took_s: float) -> Outcome:
        tally, seconds = self.tally, self.trial.seconds
        window = [r for r in self.open.values() if tally.begins <= r.born < self.ends]
        lost = len(window)
        ordered = sorted([*tally.latencies, *[UNANSWERED_MS] * lost])
        sla = self.shape.sla_ms
        good = sum(1 for t in tally.latencies if t <= sla)
        nodes = len(self.servers)
        over = self.now or 1.0
        hot = max(self.servers, key=lambda s: s.busy_s)
        hot_times = sorted(tally.by_server.get(hot.index, []))
        messages = sum(tally.messages.values())
        carried = tally.bytes.pop("carried", 0)
        return Outcome(
            policy=type(self.policy).__name__,
            nodes=nodes,
            load=self.trial.load,
            capacity_per_s=self.capacity_per_s,
            offered_per_s=tally.offered / seconds,
            answered_per_s=tally.answered / seconds,
            goodput_per_s=good / seconds,
            p50_ms=quantile(ordered, 0.5),
            p99_ms=quantile(ordered, 0.99),
            p999_ms=quantile(ordered, 0.999),
            slowest_ms=ordered[-1] if ordered else 0.0,
            late_share=1.0 - good / max(1, tally.answered + lost + tally.refused),
            refused=tally.refused,
            lost=lost,
            requests=tally.offered,
            hottest=min(1.0, hot.busy_s / over),
            hottest_p99_ms=quantile(hot_times, 0.99),
            dispersion=tally.dispersion(seconds),
            stays=tally.stayed / max(1, tally.answered),
            messages_per_s=messages / seconds / nodes,
            bytes_per_s=sum(tally.bytes.values()) / seconds / nodes,
            carried_per_s=carried / seconds / nodes,
            corrected={
                **{k: v / max(1, tally.offered) for k, v in sorted(tally.marks.items())},
                **{f"msg {k}": v / seconds / nodes for k, v in sorted(tally.messages.items())},
            },
            took_s=took_s,
        )
