"""Idling: a node that has run dry calls loaded neighbours for work, and answers such calls.

Pairs with `placement/idle.py`. One task calls, one neighbour at a time; it sleeps while this node
has work, or none of its neighbours has too much.
"""

from collections.abc import Callable
from math import inf

import trio

from meshnode.errors import MeshnodeError
from meshnode.gossip.member import Member, MemberState
from meshnode.ids import NodeId, NodeTag, tag_of
from meshnode.net.pool import ConnectionPool
from meshnode.node.lanes import Lanes
from meshnode.node.load import LoadReporter
from meshnode.node.membership import Membership
from meshnode.placement.board import Scoreboard
from meshnode.placement.idle import IdleCaller, Neighbour, neighbour, offers_of
from meshnode.placement.score import UNIT_MS
from meshnode.placement.settings import PlacementSettings
from meshnode.wire.excerpts import excerpt
from meshnode.wire.messages import IdleCall, IdleReply, LoadRecord

NEAR_MS = 8.0
"""Round trip of a neighbour on the same LAN, with a busy event loop at both ends."""
ROOM_MAX = 64
CALL_TIMEOUT_S = 1.0


class Idling:
    """Calls for work when this node has none, and gives work to those who call."""

    def __init__(
        self,
        *,
        lanes: Lanes,
        load: LoadReporter,
        board: Scoreboard,
        membership: Membership,
        pool: ConnectionPool,
        on_load: Callable[[NodeId, LoadRecord], None],
    ) -> None:
        self._lanes = lanes
        self._load = load
        self._board = board
        self._membership = membership
        self._pool = pool
        self._on_load = on_load
        self._settings = PlacementSettings()
        self._caller = IdleCaller(self._settings)
        self._changed = trio.Event()
        self._sleeps_until = inf
        lanes.on_work = self._on_work

    async def run(self) -> None:
        """Call while there is nothing to do here, until cancelled."""
        while True:
            self._changed = trio.Event()
            due_at = self._caller.next_timer()
            self._sleeps_until = inf if due_at is None else due_at
            with trio.move_on_at(self._sleeps_until):
                await self._changed.wait()
                continue
            due_at = self._caller.next_timer()  # there may have been work meanwhile
            if due_at is not None and due_at <= trio.current_time():
                await self._call_one()

    def answer(self, caller: NodeId, call: IdleCall) -> IdleReply:
        """Give a caller what waits here and would be done sooner there."""
        self._on_load(caller, call.load)
        known = self._board.record_of(caller, trio.current_time())[0] or call.load
        offers = offers_of(known, min(ROOM_MAX, call.room))
        given = self._lanes.give_up(offers, NEAR_MS, tag_of(caller)) if offers else 0
        return IdleReply(given=given, load=self._load.word(None))

    def _on_work(self, busy: bool) -> None:
        if busy:
            self._caller.busy()
            return
        now = trio.current_time()
        self._caller.dry(now)
        if not self._somebody_waits():
            # Most of the time: the task is not woken, as this comes after every lone request.
            self._caller.choose((), now)
        due_at = self._caller.next_timer()
        if due_at is not None and due_at < self._sleeps_until:
            self._changed.set()

    async def _call_one(self) -> None:
        if not self._somebody_waits():
            self._caller.choose((), trio.current_time())
            return
        own = self._load.record()
        warm = {m.module: m.first * UNIT_MS for m in own.modules if m.warm and m.first}
        members = {tag_of(m.contact.node_id): m for m in self._membership.members() if _near(m)}
        now = trio.current_time()
        neighbours = (n for tag in members if (n := self._neighbour(tag, warm, now)) is not None)
        chosen = self._caller.choose(neighbours, now)
        if chosen is None:
            return
        contact = members[chosen.node].contact
        place = next(i for i, m in enumerate(own.modules) if m.module == chosen.module)
        given = 0
        try:
            with trio.move_on_after(CALL_TIMEOUT_S):
                call = IdleCall(load=excerpt(own, place), room=ROOM_MAX)
                reply = await self._pool.call(contact, call, timeout_s=CALL_TIMEOUT_S)
                if isinstance(reply, IdleReply):
                    given = reply.given
                    self._on_load(contact.node_id, reply.load)
        except MeshnodeError:
            pass  # who cannot be reached has nothing to give; his requests find out by themselves
        self._caller.answered(given, trio.current_time())
        if self._lanes.busy:
            self._caller.busy()

    def _somebody_waits(self) -> bool:
        """Return whether any node's last record says that something waits there."""
        return any(record.wait for record in self._board.records())

    def _neighbour(self, tag: NodeTag, warm: dict[NodeTag, float], now: float) -> Neighbour | None:
        """Return what is believed of a neighbour that said that something waits there."""
        standing = self._board.standing(tag)
        if standing is None or standing.record is None or not standing.record.wait:
            return None
        return neighbour(standing, warm, now, self._settings)


def _near(member: Member) -> bool:
    return (
        member.state is MemberState.ALIVE and member.rtt_ms is not None and member.rtt_ms < NEAR_MS
    )
