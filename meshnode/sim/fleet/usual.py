"""What others do without asking anybody: chance, turns, hashing, and idle servers that report.

Each chooses within the same views as the mesh. "Weighted" draws by capacity.
"""

from collections import deque
from hashlib import blake2b
from itertools import accumulate
from math import log

from meshnode.machine import Random
from meshnode.sim.fleet.policy import Policy
from meshnode.sim.fleet.request import Request
from meshnode.sim.fleet.server import Server
from meshnode.sim.fleet.sizes import PING_BYTES
from meshnode.sim.fleet.views import views


class Viewed(Policy):
    """A policy that chooses among a node's view and itself."""

    weighted = False

    def begin(self) -> None:
        """Learn who sees whom, and who can do how much."""
        self.rng = Random(f"choices {self.fleet.trial.seed}")
        self.views = [[i, *view] for i, view in enumerate(views(self.fleet))]
        spots = self.fleet.spots
        self.per_s = [s.kind.per_s / s.slowness for s in spots]
        self._bounds = [list(accumulate(self.per_s[i] for i in view)) for view in self.views]

    def draw(self, home: int, count: int) -> list[int]:
        """Return different nodes at random, by capacity if the policy is weighted."""
        view = self.views[home]
        if not self.weighted:
            return self.rng.sample(view, min(count, len(view)))
        found: list[int] = []
        while len(found) < min(count, len(view)):
            drawn = self.rng.choices(view, cum_weights=self._bounds[home])[0]
            if drawn not in found:
                found.append(drawn)
        return found


class Chance(Viewed):
    """Random."""

    def choose(self, request: Request) -> int:
        """See `Policy`."""
        return self.draw(request.home, 1)[0]


class WeightedChance(Chance):
    """Random by capacity."""

    weighted = True


class Turns(Viewed):
    """Round robin."""

    def begin(self) -> None:
        """See `Policy`."""
        super().begin()
        self._turn = [self.rng.randrange(len(view)) for view in self.views]

    def choose(self, request: Request) -> int:
        """See `Policy`."""
        view = self.views[request.home]
        self._turn[request.home] += 1
        return view[self._turn[request.home] % len(view)]


def hashed(node: int, source: str, weight: float = 1.0) -> float:
    """Return a node's draw for a source; the highest wins (rendezvous hashing)."""
    digest = blake2b(f"{node} {source}".encode(), digest_size=8).digest()
    return -weight / log((int.from_bytes(digest, "big") + 0.5) / 2**64)


class Hash(Viewed):
    """Consistent hashing on the camera, as the article has it: every node alike."""

    def begin(self) -> None:
        """See `Policy`."""
        super().begin()
        self._orders: dict[str, list[int]] = {}

    def order(self, request: Request) -> list[int]:
        """Return the nodes in the order of their draws for a camera."""
        name = request.camera.name
        order = self._orders.get(name)
        if order is None:
            view = self.views[request.home]
            order = self._orders[name] = sorted(view, key=lambda i: -hashed(i, name))
        return order

    def choose(self, request: Request) -> int:
        """See `Policy`."""
        return self.order(request)[0]


class BoundedHash(Hash):
    """The next on the ring where one has more than 1.25 times the mean of its own and others' work.

    Queues are the true ones, which no dispatcher knows: its best case.
    """

    BOUND = 1.25

    def choose(self, request: Request) -> int:
        """See `Policy`."""
        order, servers = self.order(request), self.fleet.servers
        mean = sum(servers[i].held for i in order) / len(order)
        bound = self.BOUND * (mean + 1)
        return next((i for i in order if servers[i].held + 1 <= bound), order[0])


class JoinIdle(Viewed):
    """JIQ (Lu and others 2011): a server that runs dry tells one dispatcher; else by capacity."""

    weighted = True

    def begin(self) -> None:
        """See `Policy`."""
        super().begin()
        self._idle: list[deque[int]] = [deque() for _ in self.fleet.spots]
        self._seen_by: list[list[int]] = [[] for _ in self.fleet.spots]
        for home, view in enumerate(self.views):
            if self.fleet.spots[home].kind.cameras:
                for node in view:
                    self._seen_by[node].append(home)

    def choose(self, request: Request) -> int:
        """See `Policy`."""
        idle = self._idle[request.home]
        return idle.popleft() if idle else self.draw(request.home, 1)[0]

    def dry(self, server: Server) -> None:
        """See `Ears`."""
        doors = self._seen_by[server.index]
        if doors:
            door = self.rng.choice(doors)
            fleet = self.fleet
            fleet.tally.message("idle reports", PING_BYTES, fleet.now)
            when = fleet.now + fleet.way_s(server.index, door)
            fleet.call(when, self._idle[door].append, server.index)
