"""What others do by asking: Prequal's asynchronous probes, and two asked before each request."""

from dataclasses import dataclass

from meshnode.sim.fleet.request import Request
from meshnode.sim.fleet.sizes import PING_BYTES
from meshnode.sim.fleet.usual import Viewed


@dataclass(slots=True)
class _Probe:
    """What a server answered."""

    server: int
    at: float
    held: int
    latency_ms: float


class Prequal(Viewed):
    """Hot-cold lexicographic over a pool of probes (NSDI 2024): three probes a request.

    Cold are those whose requests in flight are below the pool's 0.84 quantile; the lowest latency
    of them wins; if all are hot, the fewest in flight.
    """

    POOL, PROBES, HOT, AGE_S = 16, 3, 0.84, 0.05

    def begin(self) -> None:
        """See `Policy`."""
        super().begin()
        self._pools: list[list[_Probe]] = [[] for _ in self.fleet.spots]

    def choose(self, request: Request) -> int:
        """See `Policy`."""
        home, now = request.home, self.fleet.now
        pool = [p for p in self._pools[home] if now - p.at <= self.AGE_S]
        self._pools[home] = pool
        for server in self.draw(home, self.PROBES):
            self._probe(home, server)
        if len(pool) < 2:
            return self.draw(home, 1)[0]
        ordered = sorted(p.held for p in pool)
        limit = ordered[min(len(ordered) - 1, int(self.HOT * len(ordered)))]
        cold = [p for p in pool if p.held < limit]
        best = min(cold, key=lambda p: p.latency_ms) if cold else min(pool, key=lambda p: p.held)
        pool.remove(best)
        return best.server

    def _probe(self, home: int, server: int) -> None:
        fleet = self.fleet
        fleet.tally.message("probes", PING_BYTES, fleet.now)
        fleet.call(fleet.now + fleet.way_s(home, server), self._asked, home, server)

    def _asked(self, home: int, server: int) -> None:
        fleet, asked = self.fleet, self.fleet.servers[server]
        fleet.tally.message("probes", PING_BYTES, fleet.now)
        latency_ms = asked.wait_ms() + asked.batch_ms(1) + fleet.rtt_ms(home, server)
        when = fleet.now + fleet.way_s(server, home)
        fleet.call(when, self._heard, home, _Probe(server, when, asked.held, latency_ms))

    def _heard(self, home: int, probe: _Probe) -> None:
        pool = self._pools[home]
        pool.append(probe)
        if len(pool) > self.POOL:
            del pool[0]


class WeightedPrequal(Prequal):
    """The same, drawn by capacity."""

    weighted = True


class AskTwo(Viewed):
    """Two at random are asked, and the sooner one is sent to when both have answered."""

    weighted = True

    def place(self, request: Request) -> None:
        """See `Policy`."""
        asked: list[tuple[float, int]] = []
        drawn = self.draw(request.home, 2)
        for server in drawn:
            fleet = self.fleet
            fleet.tally.message("probes", PING_BYTES, fleet.now)
            when = fleet.now + fleet.way_s(request.home, server)
            fleet.call(when, self._asked, request, server, asked, len(drawn))

    def _asked(
        self, request: Request, server: int, asked: list[tuple[float, int]], wanted: int
    ) -> None:
        fleet, there = self.fleet, self.fleet.servers[server]
        fleet.tally.message("probes", PING_BYTES, fleet.now)
        done_ms = there.wait_ms() + there.batch_ms(1) + fleet.rtt_ms(request.home, server)
        when = fleet.now + fleet.way_s(server, request.home)
        fleet.call(when, self._heard, request, (done_ms, server), asked, wanted)

    def _heard(
        self,
        request: Request,
        answer: tuple[float, int],
        asked: list[tuple[float, int]],
        wanted: int,
    ) -> None:
        asked.append(answer)
        if len(asked) == wanted:
            self.deliver(request, min(asked)[1])
