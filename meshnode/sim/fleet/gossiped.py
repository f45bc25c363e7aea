"""What others do with gossiped loads: the least loaded of all, with and without own requests."""

from heapq import nlargest

from meshnode.machine import Random
from meshnode.sim.fleet.cached import LeastRequest
from meshnode.sim.fleet.request import Request
from meshnode.sim.fleet.sizes import PING_BYTES

FANOUT, FORWARDED = 3, 8
RECORD_BYTES = 30


class GossipLeast(LeastRequest):
    """To whom gossip says is free first: herds, as everybody heard the same."""

    own_counts = False

    def begin(self) -> None:
        """See `Policy`."""
        super().begin()
        self._gossip = Random(f"gossip {self.fleet.trial.seed}")
        self._known: list[dict[int, tuple[float, float]]] = [{} for _ in self.fleet.spots]
        """By node, when the others wrote what they said, and their wait then in ms."""
        self._first_ms = [s.kind.batch_ms(1) * s.slowness for s in self.fleet.spots]
        for node in range(len(self.fleet.spots)):
            self.fleet.call(self._gossip.random() * self.fleet.trial.gossip_s, self._round, node)

    def _round(self, node: int) -> None:
        fleet, rng = self.fleet, self._gossip
        period = fleet.trial.gossip_s * (0.9 + 0.2 * rng.random())
        fleet.call(fleet.now + period, self._round, node)
        known = self._known[node]
        known[node] = fleet.now, fleet.servers[node].wait_ms()
        told = nlargest(FORWARDED + 1, known.items(), key=lambda item: item[1])
        for other in rng.sample(range(len(fleet.spots)), min(FANOUT, len(fleet.spots))):
            if other != node:
                size = PING_BYTES + RECORD_BYTES * len(told)
                fleet.tally.message("gossip", size, fleet.now)
                fleet.call(fleet.now + fleet.way_s(node, other), self._hear, other, told)

    def _hear(self, node: int, told: list[tuple[int, tuple[float, float]]]) -> None:
        known = self._known[node]
        for other, said in told:
            if said > known.get(other, (-1.0, 0.0)):
                known[other] = said

    def choose(self, request: Request) -> int:
        """See `Policy`."""
        home, fleet = request.home, self.fleet
        known, flights = self._known[home], self.open[home]
        best, best_ms = home, float("inf")
        for node in self.views[home]:
            wait_ms = fleet.servers[home].wait_ms() if node == home else known.get(node, (0, 0))[1]
            if self.own_counts and node != home:
                wait_ms += flights.get(node, 0) * 1000 / self.per_s[node]
            done_ms = wait_ms + self._first_ms[node] + fleet.rtt_ms(home, node)
            if done_ms < best_ms:
                best, best_ms = node, done_ms
        return best


class GossipInFlight(GossipLeast):
    """The same, with the own unanswered requests there added."""

    own_counts = True
