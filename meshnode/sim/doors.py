"""Doors: what a simulated node answers to calls of its peers, as `node/answers.py` does."""

from collections.abc import Callable

from meshnode.ids import Contact, ContentHash, RequestId
from meshnode.modules.tree import layer_of
from meshnode.sim.node import SimNode
from meshnode.sim.serving import Served
from meshnode.wire.limits import PIECE_BYTES
from meshnode.wire.messages import (
    Failure,
    GetPiece,
    GetPieceHashes,
    Piece,
    PieceHashes,
    Predict,
    Prediction,
    Reply,
    Request,
    Timing,
)


class Door:
    """The p2p door of one node."""

    def __init__(self, node: SimNode) -> None:
        self._node = node

    def answer(self, peer: Contact, request: Request, reply: Callable[[Reply], None]) -> None:
        """Answer one call, at once or later."""
        match request:
            case Predict():
                self._predict(peer, request, reply)
            case GetPieceHashes():
                reply(self._layer(request.blob))
            case GetPiece():
                reply(self._piece(request))
            case _:
                reply(Failure(code="unknown", message="nobody asks that in a simulation"))

    def _predict(self, peer: Contact, request: Predict, reply: Callable[[Reply], None]) -> None:
        """Run or refuse what another node placed here; never forward."""
        node = self._node

        def done(served: Served) -> None:
            load = node.serving.record(node.now)
            if served.error:
                reply(Failure(code="busy", message=served.error, load=load))
                return
            timing = Timing(
                queue_us=max(0, int(served.queue_ms * 1000)),
                cold_us=int(served.cold_ms * 1000),
                run_us=int(served.run_ms * 1000),
            )
            prediction = Prediction(
                request_id=request.request_id,
                served_by=node.contact.node_id,
                module=request.module,
                tensors=(),
                timing=timing,
                batch=served.batch,
                load=load,
            )
            reply(prediction)

        # Two nodes may count alike; who asked makes it one request.
        pairs = zip(request.request_id, peer.node_id[:16], strict=True)
        ticket = RequestId(bytes(a ^ b for a, b in pairs))
        run_by = node.now + request.budget_ms / 1000
        node.serving.offer(ticket, request.module, run_by, done)

    def _layer(self, blob: ContentHash) -> Reply:
        data = self._node.blobs.get(blob)
        if data is None:
            return Failure(code="absent", message="not held here")
        layer = layer_of(data)
        hashes = b"".join(layer.hashes)
        return PieceHashes(blob=blob, size=layer.size, root=layer.root, body=(hashes,))

    def _piece(self, request: GetPiece) -> Reply:
        data = self._node.blobs.get(request.blob)
        start = request.index * PIECE_BYTES
        if data is None or start >= len(data):
            return Failure(code="absent", message="not held here")
        piece = data[start : start + PIECE_BYTES]
        if self._node.corrupts:
            piece = bytes([piece[0] ^ 1]) + piece[1:]
        return Piece(blob=request.blob, index=request.index, body=(piece,))
