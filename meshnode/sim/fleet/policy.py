"""Policy: who says where a request goes, and hears what becomes of it."""

from meshnode.sim.fleet.fleet import Fleet
from meshnode.sim.fleet.request import Request
from meshnode.sim.fleet.server import Server


class Policy:
    """Does what every policy does: send, and take the answer. Subclasses say where to."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    def begin(self) -> None:
        """The fleet is complete; time begins."""

    def place(self, request: Request) -> None:
        """Send a new request somewhere, by default where `choose` says."""
        self.deliver(request, self.choose(request))

    def choose(self, request: Request) -> int:
        """Return the index of a server."""
        raise NotImplementedError

    def deliver(self, request: Request, server: int) -> None:
        """Send a request to a server; it is queued when it arrives."""
        fleet = self.fleet
        request.server = server
        request.sent_at = fleet.now
        request.attempt += 1
        if server == request.home:
            self.reach(request, server, request.attempt)
        else:
            when = (
                fleet.now
                + fleet.way_s(request.home, server)
                + fleet.transfer_s(request.home, server)
            )
            fleet.call(when, self.reach, request, server, request.attempt)

    def reach(self, request: Request, server: int, attempt: int) -> None:
        """A request has arrived at a server."""
        if not request.done and attempt == request.attempt:
            self.fleet.tally.arrived(server, self.fleet.now)
            self.fleet.servers[server].take(request)

    def answered(self, request: Request, server: int, attempt: int) -> None:
        """An answer is back at its dispatcher."""
        self.fleet.end(request, server)

    # ------------------------------------------------------------------ what servers tell

    def enqueued(self, server: Server, request: Request) -> None:
        """See `Ears`."""

    def withdrawn(self, server: Server, request: Request) -> None:
        """See `Ears`."""

    def started(self, server: Server, module: int, batch: list[Request]) -> None:
        """See `Ears`."""

    def finished(self, server: Server, module: int, batch: list[Request]) -> None:
        """See `Ears`."""

    def answers(self, server: Server, batch: list[Request]) -> None:
        """See `Ears`: each travels back to its dispatcher."""
        fleet = self.fleet
        for request in batch:
            if request.home == server.index:
                self.answered(request, server.index, request.attempt)
            else:
                when = fleet.now + fleet.way_s(server.index, request.home)
                fleet.call(when, self.answered, request, server.index, request.attempt)

    def loads(self, server: Server, module: int, cold_ms: float) -> None:
        """See `Ears`."""

    def loaded(self, server: Server, module: int) -> None:
        """See `Ears`."""

    def refused(self, server: Server, request: Request) -> None:
        """See `Ears`: by default nobody tries again."""
        self.fleet.refuse(request)

    def dry(self, server: Server) -> None:
        """See `Ears`."""

    # ------------------------------------------------------------------ faults

    def hung(self, server: int) -> None:
        """A server fell silent; only an oracle may use this."""

    def revived(self, server: int) -> None:
        """A server is back, as a new process."""
