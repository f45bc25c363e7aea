"""What others do with what they see of their own requests: counts, times and queues of answers.

Least request (Envoy), queue cache (Ray Serve), Peak-EWMA (Finagle, Linkerd) and C3 (Cassandra,
Elasticsearch). Two choices at random, except C3, which ranks all.
"""

from math import exp

from meshnode.sim.fleet.request import Request
from meshnode.sim.fleet.server import Server
from meshnode.sim.fleet.usual import Viewed


class LeastRequest(Viewed):
    """Of two at random the one with fewer own requests in flight."""

    def begin(self) -> None:
        """See `Policy`."""
        super().begin()
        self.open: list[dict[int, int]] = [{} for _ in self.fleet.spots]

    def deliver(self, request: Request, server: int) -> None:
        """See `Policy`."""
        flights = self.open[request.home]
        flights[server] = flights.get(server, 0) + 1
        super().deliver(request, server)

    def answered(self, request: Request, server: int, attempt: int) -> None:
        """See `Policy`."""
        self.open[request.home][server] -= 1
        took_ms = (self.fleet.now - request.sent_at) * 1000
        self.learn(request.home, server, took_ms, request)
        super().answered(request, server, attempt)

    def learn(self, home: int, server: int, took_ms: float, request: Request) -> None:
        """An answer came; `request.note` has what the server said with it."""

    def cost(self, home: int, server: int) -> float:
        """Return what two are compared by; the lower wins."""
        return (self.open[home].get(server, 0) + 1) / self.per_s[server]

    def choose(self, request: Request) -> int:
        """See `Policy`."""
        return min(self.draw(request.home, 2), key=lambda i: self.cost(request.home, i))


class PlainLeastRequest(LeastRequest):
    """The same with all nodes alike."""

    def cost(self, home: int, server: int) -> float:
        """See `LeastRequest`."""
        return self.open[home].get(server, 0) + 1


class WeightedLeastRequest(LeastRequest):
    """The same, drawn by capacity."""

    weighted = True


class QueueCache(LeastRequest):
    """Of two the one with the shorter queue, as its last answer said."""

    def begin(self) -> None:
        """See `Policy`."""
        super().begin()
        self.queues: list[dict[int, int]] = [{} for _ in self.fleet.spots]

    def answers(self, server: Server, batch: list[Request]) -> None:
        """See `Ears`: each says what is left here."""
        for request in batch:
            request.note = server.held
        super().answers(server, batch)

    def learn(self, home: int, server: int, took_ms: float, request: Request) -> None:
        """See `LeastRequest`."""
        assert isinstance(request.note, int), "every answer says it"
        self.queues[home][server] = request.note

    def cost(self, home: int, server: int) -> float:
        """See `LeastRequest`."""
        queue = self.queues[home].get(server, 0) + self.open[home].get(server, 0)
        return (queue + 1) / self.per_s[server]


class PeakEwma(LeastRequest):
    """Of two the lower latency times requests in flight; latency jumps up and decays slowly."""

    DECAY_S = 10.0

    def begin(self) -> None:
        """See `Policy`."""
        super().begin()
        self.times: list[dict[int, tuple[float, float]]] = [{} for _ in self.fleet.spots]

    def learn(self, home: int, server: int, took_ms: float, request: Request) -> None:
        """See `LeastRequest`."""
        known = self.times[home].get(server)
        value = took_ms
        if known is not None and took_ms <= known[0]:
            weight = exp((known[1] - self.fleet.now) / self.DECAY_S)
            value = known[0] * weight + took_ms * (1 - weight)
        self.times[home][server] = value, self.fleet.now

    def cost(self, home: int, server: int) -> float:
        """See `LeastRequest`."""
        value, _ = self.times[home].get(server, (0.0, 0.0))
        return value * (self.open[home].get(server, 0) + 1)


class WeightedPeakEwma(PeakEwma):
    """The same, drawn by capacity."""

    weighted = True


class C3(QueueCache):
    """R - S + q^3 * S over all, with q = 1 + own in flight * dispatchers + queue (NSDI 2015)."""

    GAIN = 0.3

    def begin(self) -> None:
        """See `Policy`."""
        super().begin()
        self.rows: list[dict[int, tuple[float, float, float]]] = [{} for _ in self.fleet.spots]

    def learn(self, home: int, server: int, took_ms: float, request: Request) -> None:
        """See `LeastRequest`."""
        assert isinstance(request.note, int), "every answer says it"
        each_ms = 1000 / self.per_s[server]
        fresh = took_ms, each_ms, float(request.note)
        old = self.rows[home].get(server, fresh)
        moved = [o + self.GAIN * (f - o) for o, f in zip(old, fresh, strict=True)]
        self.rows[home][server] = moved[0], moved[1], moved[2]

    def choose(self, request: Request) -> int:
        """See `Policy`."""
        home = request.home
        rows, flights = self.rows[home], self.open[home]
        best, best_cost = home, float("inf")
        dispatchers = 10
        for server in self.views[home]:
            took_ms, each_ms, queue = rows.get(server, (0.0, 1000 / self.per_s[server], 0.0))
            q = 1 + flights.get(server, 0) * dispatchers + queue
            cost = took_ms - each_ms + q * q * q * each_ms
            if cost < best_cost:
                best, best_cost = server, cost
        return best
