"""Fetching: a blob in verified pieces over simulated calls, as `node/fetching.py` does.

What is asked of whom next is `PiecePlan`'s; this file is its hands. What was fetched by the time
of a crash is on disk, so a later fetch goes on from there.
"""

from collections.abc import Callable, Iterable
from typing import Any

from meshnode.errors import RemoteProtocolError
from meshnode.ids import Contact, ContentHash
from meshnode.modules.pieces import Ask, PieceLayer, PiecePlan
from meshnode.modules.tree import check_layer
from meshnode.sim.node import SimNode
from meshnode.sim.streams import Streams
from meshnode.sim.world import World
from meshnode.wire.messages import GetPiece, GetPieceHashes, Piece, PieceHashes, Reply

ASK_TIMEOUT_S = 1.5
PIECE_TIMEOUT_S = 20.0
"""Those of `node/fetching.py`."""

Ended = Callable[[str], None]
"""Told once: an empty text when the blob is here, else why not."""


class Fetch:
    """One blob on its way to one node."""

    def __init__(
        self,
        streams: Streams,
        node: SimNode,
        blob: ContentHash,
        holders: Iterable[Contact],
        ended: Ended,
    ) -> None:
        self.plan: PiecePlan | None = None
        self.got: dict[int, bytes] = node.partial.setdefault(blob, {})
        self._streams = streams
        self._world: World[Any, Any] = streams.network.world
        self._node = node
        self._life = node.lives
        self._blob = blob
        self._holders = {contact.node_id: contact for contact in holders}
        self._ended: Ended | None = ended
        self._timer_at: float | None = None

    def start(self) -> None:
        """Ask the holders, one after the other, for the piece layer; then for pieces."""
        self._ask_layer(list(self._holders.values()))

    @property
    def over(self) -> bool:
        """Whether it has ended, or its node has."""
        return self._ended is None or not self._node.alive or self._node.lives != self._life

    def _ask_layer(self, holders: list[Contact]) -> None:
        if not holders:
            self._end("nobody has its pieces")
            return

        def answered(reply: Reply | str) -> None:
            layer = self._layer_in(reply)
            if layer is None:
                self._ask_layer(holders[1:])
            else:
                self._begin(layer)

        request = GetPieceHashes(blob=self._blob)
        self._streams.call(self._node.host, holders[0], request, ASK_TIMEOUT_S, answered)

    def _layer_in(self, reply: Reply | str) -> PieceLayer | None:
        if not isinstance(reply, PieceHashes) or reply.blob != self._blob:
            return None
        try:
            return check_layer(reply.size, reply.root, b"".join(map(bytes, reply.body)))
        except RemoteProtocolError:
            return None

    def _begin(self, layer: PieceLayer) -> None:
        self.plan = PiecePlan(layer, have=self.got, now=self._world.now)
        for node_id in self._holders:
            self.plan.add_provider(node_id)
        self._go_on()

    def _go_on(self) -> None:
        """Ask for what the plan wants now, or end."""
        plan = self.plan
        if self.over or plan is None:
            return
        if plan.finished:
            data = b"".join(self.got[index] for index in sorted(self.got))
            self._node.blobs[self._blob] = data
            self._node.partial.pop(self._blob, None)
            self._end("")
            return
        asks = plan.next_asks(self._world.now)
        for ask in asks:
            self._ask(ask)
        if not asks and plan.stalled:
            self._end("nobody is left: " + "; ".join(plan.blames()))
            return
        timer = plan.next_timer()
        if timer is not None and timer != self._timer_at:
            self._timer_at = timer
            self._world.call(max(timer, self._world.now), self._go_on)

    def _ask(self, ask: Ask) -> None:
        def answered(reply: Reply | str) -> None:
            if not self.over:
                self._take(ask, reply)
                self._go_on()

        request = GetPiece(blob=self._blob, index=ask.index)
        contact = self._holders[ask.provider]
        self._streams.call(self._node.host, contact, request, PIECE_TIMEOUT_S, answered)

    def _take(self, ask: Ask, reply: Reply | str) -> None:
        plan, now = self.plan, self._world.now
        assert plan is not None, "nothing is asked before the plan is made"
        if not isinstance(reply, Piece) or reply.index != ask.index:
            why = reply if isinstance(reply, str) else type(reply).__name__
            plan.on_failure(ask.provider, ask.index, why, now)
            return
        data = b"".join(bytes(part) for part in reply.body)
        if plan.on_piece(ask.provider, ask.index, data, now):
            self.got[ask.index] = data
            plan.on_written(ask.index)

    def _end(self, why: str) -> None:
        ended, self._ended = self._ended, None
        if ended is not None and self._node.alive and self._node.lives == self._life:
            ended(why)
