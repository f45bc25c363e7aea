"""Asking: whether a node lives, by the connection on which its answers come.

Who is silent for two round trips and a little has failed (placement.md section 2). A node whose
event loop was slow to answer is given longer the next time, and time in which this node itself
stood still does not count.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from meshnode.errors import MeshnodeError
from meshnode.gossip.member import Member, MemberState
from meshnode.ids import NodeId, tag_of
from meshnode.net.connection import Connection
from meshnode.net.pool import ConnectionPool
from meshnode.node.membership import Membership
from meshnode.placement.overdue import ping_timeout_s
from meshnode.placement.settings import PlacementSettings
from meshnode.wire.messages import LoadPing, LoadPong, LoadRecord

NEAR_MS = 8.0
"""Round trip of a neighbour on the same LAN, with a busy event loop at both ends."""
NEIGHBOURS_MAX = 32
"""Neighbours that are told of one silent node."""
LISTEN_S = 0.5
"""A pong that comes after its time, but within this, says how slow the node's loop is."""
SLOWNESS_KEPT = 0.8
"""With each pong, of what was learned of a slow one before."""
NODES_MAX = 256
STOOD_STILL_S = 0.005
"""A timer that fires so much too late: this node did not listen meanwhile."""
ROUNDS_MAX = 3


@dataclass(frozen=True, slots=True)
class Lives:
    """It answered, with its load."""

    load: LoadRecord


class Silent:
    """It did not answer in its time."""


class Unconnected:
    """There is no connection to ask by: it is being opened, or was lost."""


@dataclass(slots=True)
class _Question:
    """A ping under way."""

    silent: NodeId | None = None
    over: trio.Event = field(default_factory=trio.Event)
    """It was answered, or cannot be any more."""
    load: LoadRecord | None = None
    on_late: Callable[[], None] | None = None
    """Called when it is answered; set once it was given up."""


class Asking:
    """Asks nodes whether they live, and tells neighbours of one that does not."""

    def __init__(
        self,
        *,
        pool: ConnectionPool,
        membership: Membership,
        on_load: Callable[[NodeId, LoadRecord], None],
        settings: PlacementSettings,
    ) -> None:
        self._pool = pool
        self._membership = membership
        self._on_load = on_load
        self._settings = settings
        self._slowest_s: OrderedDict[NodeId, float] = OrderedDict()

    async def ask(
        self, node: NodeId, nursery: trio.Nursery, on_late: Callable[[], None]
    ) -> Lives | Silent | Unconnected:
        """Return whether a node answers in its time.

        A task in the nursery listens on a little, and calls `on_late` if it answers after that.
        """
        connection = self._pool.connection_with(node)
        if connection is None:
            return Unconnected()
        question = _Question()
        nursery.start_soon(self._put, node, connection, question)
        timeout_s = self._timeout_s(node)
        for _ in range(ROUNDS_MAX):
            due_at = trio.current_time() + timeout_s
            with trio.move_on_at(due_at):
                await question.over.wait()
            if question.over.is_set() or trio.current_time() < due_at + STOOD_STILL_S:
                break
        if question.load is not None:
            return Lives(question.load)
        if question.over.is_set():
            return Unconnected()
        question.on_late = on_late
        return Silent()

    def tell(self, silent: NodeId, nursery: trio.Nursery) -> None:
        """Tell the neighbours that a node is silent; each asks for itself."""
        near = [m for m in self._membership.alive() if _near(m) and m.contact.node_id != silent]
        for member in near[:NEIGHBOURS_MAX]:
            node = member.contact.node_id
            connection = self._pool.connection_with(node)
            if connection is not None:
                nursery.start_soon(self._put, node, connection, _Question(silent))

    async def _put(self, node: NodeId, connection: Connection, question: _Question) -> None:
        """Ask over a connection, and learn from the answer."""
        asked_at = trio.current_time()
        silent = None if question.silent is None else tag_of(question.silent)
        try:
            with trio.move_on_after(LISTEN_S):
                reply = await connection.call(LoadPing(silent=silent))
                if isinstance(reply, LoadPong):
                    question.load = reply.load
                    self._learn(node, trio.current_time() - asked_at)
                    self._on_load(node, reply.load)
                    if question.on_late is not None:
                        question.on_late()
                question.over.set()
        except MeshnodeError:
            question.over.set()

    def _learn(self, node: NodeId, took_s: float) -> None:
        before_s = self._slowest_s.pop(node, 0.0)
        self._slowest_s[node] = max(took_s, SLOWNESS_KEPT * before_s)
        while len(self._slowest_s) > NODES_MAX:
            self._slowest_s.popitem(last=False)

    def _timeout_s(self, node: NodeId) -> float:
        quick_s = ping_timeout_s(self._membership.rtt_ms(node), self._settings)
        return min(LISTEN_S, max(quick_s, 2 * self._slowest_s.get(node, 0.0)))


def _near(member: Member) -> bool:
    return (
        member.state is MemberState.ALIVE and member.rtt_ms is not None and member.rtt_ms < NEAR_MS
    )
