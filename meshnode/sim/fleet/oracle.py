"""Oracle: sends each request to the shortest expected completion by the true state of everything.

It knows every queue, every machine's speed and every message on its way, at no cost and at once,
but not the noise of what will run. It is greedy and not optimal (docs/placement.md).
"""

import numpy as np

from meshnode.sim.fleet.fleet import Fleet
from meshnode.sim.fleet.policy import Policy
from meshnode.sim.fleet.request import Request
from meshnode.sim.fleet.server import Server
from meshnode.sim.fleet.views import views


class Oracle(Policy):
    """Over all nodes."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet)
        count = len(fleet.spots)
        self._count = count
        kinds = [spot.kind for spot in fleet.spots]
        slow = np.array([spot.slowness for spot in fleet.spots])
        self._batch = np.array([k.batch_max for k in kinds])
        self._first_s = np.array([k.batch_ms(1) for k in kinds]) * slow / 1000
        self._full_s = np.array([k.batch_ms(k.batch_max) for k in kinds]) * slow / 1000
        self._each_s = np.array([k.each_ms for k in kinds]) * slow / 1000
        self._cold_s = np.array([k.cold_ms for k in kinds]) / 1000
        self._ahead = [0] * count
        """Requests waiting at a node or on their way to it."""
        self._backlog_s = np.zeros(count)
        self._ends_at = np.zeros(count)
        self._barred_s = np.zeros(count)
        """Infinite for a silent node."""
        self._cold: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
        self._there: dict[int, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
        self._back: dict[int, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}

    def begin(self) -> None:
        """Know the ways from each door, and who is warm."""
        for spot in self.fleet.spots:
            if spot.kind.cameras:
                self._ways(spot.index)
        for module in range(self.fleet.shape.modules):
            warm = [module in server.warm for server in self.fleet.servers]
            self._cold.append(np.where(warm, 0.0, self._cold_s))

    def _ways(self, home: int) -> None:
        fleet, among = self.fleet, self._among(home)
        there = np.array(
            [fleet.rtt_ms(home, s) / 2000 + fleet.transfer_s(home, s) for s in range(self._count)]
        )
        if among is not None:
            barred = np.full(self._count, np.inf)
            barred[among] = there[among]
            there = barred
        self._there[home] = there
        self._back[home] = np.array([fleet.rtt_ms(home, s) / 2000 for s in range(self._count)])

    def _among(self, home: int) -> list[int] | None:
        """Return the nodes it may use from a door; None for all."""
        return None

    def choose(self, request: Request) -> int:
        """Return where it is expected to be done first."""
        left_s = np.maximum(self._ends_at - self.fleet.now, 0.0)
        start_s = np.maximum(self._there[request.home], left_s + self._backlog_s)
        done_s = start_s + self._back[request.home] + self._first_s + self._cold[request.module]
        if self.fleet.trial.hangs_per_s:
            done_s = done_s + self._barred_s
        return int(done_s.argmin())

    def deliver(self, request: Request, server: int) -> None:
        """See `Policy`; from now on it counts."""
        self._count_ahead(server, 1)
        super().deliver(request, server)

    def started(self, server: Server, module: int, batch: list[Request]) -> None:
        """See `Ears`."""
        self._ends_at[server.index] = server.ends_at
        self._count_ahead(server.index, -len(batch))

    def finished(self, server: Server, module: int, batch: list[Request]) -> None:
        """See `Ears`."""
        self._ends_at[server.index] = 0.0

    def withdrawn(self, server: Server, request: Request) -> None:
        """See `Ears`."""
        self._count_ahead(server.index, -1)

    def loads(self, server: Server, module: int, cold_ms: float) -> None:
        """See `Ears`: another module may have gone for it."""
        self._ends_at[server.index] = server.ends_at
        for each, cold in enumerate(self._cold):
            warm = each in server.warm or each == module
            cold[server.index] = 0.0 if warm else self._cold_s[server.index]

    def hung(self, server: int) -> None:
        """See `Policy`: what it had goes elsewhere at once."""
        self._barred_s[server] = np.inf
        held = [r for r in self.fleet.open.values() if r.server == server]
        self._ahead[server] = 0
        self._backlog_s[server] = 0.0
        for request in held:
            self.place(request)

    def revived(self, server: int) -> None:
        """See `Policy`."""
        self._barred_s[server] = self._ends_at[server] = 0.0

    def _count_ahead(self, server: int, more: int) -> None:
        ahead = self._ahead[server] = max(0, self._ahead[server] + more)
        full, rest = divmod(ahead, int(self._batch[server]))
        self._backlog_s[server] = full * self._full_s[server] + rest * self._each_s[server]


class OracleInView(Oracle):
    """Over the nodes that the mesh's own view has."""

    def begin(self) -> None:
        """See `Oracle`."""
        self._views = views(self.fleet)
        super().begin()

    def _among(self, home: int) -> list[int] | None:
        """See `Oracle`."""
        return [home, *self._views[home]]
