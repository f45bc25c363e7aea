"""What one connection has to send, and in which order: the sending half of `mux`.

Small frames first; every batch holds at most one bulk chunk, of the message whose turn it is. A
small call therefore waits for one chunk at most, and bulk cannot be starved by small calls.
"""

from collections import deque
from dataclasses import dataclass

from meshnode.errors import LocalProtocolError
from meshnode.wire.frames import FRAME_HEAD, Kind, frame_head
from meshnode.wire.limits import CHUNK_BYTES_BULK, CHUNK_BYTES_SHARED, HEADER_BYTES_MAX, KIB
from meshnode.wire.tensor import Body, Buffer

SMALL_BODY_BYTES_MAX = 16 * KIB
"""A message up to here goes out in one piece: cutting it would not help anybody."""
_HEADER = int(Kind.HEADER)
SHARED_FOR_CHUNKS = 16
"""Chunks stay small for so long after a small message: where one came, more will."""


@dataclass(slots=True, eq=False)
class _Outgoing:
    """A message that waits to be sent, or whose body is being sent."""

    call_id: int
    small: bytes
    """Its small frames, joined; empty once they are taken."""
    bulk: deque[memoryview] | None = None
    """A body that is sent in chunks; most messages have none."""
    bulk_left: int = 0
    chunk_bytes: int = CHUNK_BYTES_SHARED
    """The next chunk's; it doubles, so that the peer begins to open soon after we begin to seal."""
    started: bool = False
    """Its header is on its way."""


class Outbox:
    """The messages and frames that wait. Nothing of a large body is copied before it is sealed.

    In lists: an empty deque takes 0.7 KB of every idle peer, and few messages ever wait.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, _Outgoing] = {}
        self.small: list[_Outgoing] = []
        """Messages that have not begun, and frames that belong to none."""
        self.bulk: list[_Outgoing] = []
        """Messages of whose body some is still to be sent, in the order of their turns."""
        self._chunks_since_small = SHARED_FOR_CHUNKS
        self.body_bytes = 0
        """Bulk bodies queued and not yet sent."""

    def __bool__(self) -> bool:
        return bool(self.small or self.bulk)

    def put_message(self, call_id: int, header: bytes, body: Body) -> None:
        """Queue a message. Raises LocalProtocolError if its header is too long."""
        if len(header) > HEADER_BYTES_MAX:
            raise LocalProtocolError(f"a header of {len(header)} bytes, limit {HEADER_BYTES_MAX}")
        outgoing = _Outgoing(call_id, FRAME_HEAD.pack(call_id, _HEADER, len(header)) + header)
        if body:
            self._add_body(outgoing, body)
        self._waiting[call_id] = outgoing
        self.small.append(outgoing)

    def _add_body(self, outgoing: _Outgoing, body: Body) -> None:
        views = deque(view for view in map(_flat, body) if view.nbytes)
        size = sum(view.nbytes for view in views)
        if size > SMALL_BODY_BYTES_MAX:
            outgoing.bulk, outgoing.bulk_left = views, size
            self.body_bytes += size
        elif size:
            head = frame_head(outgoing.call_id, Kind.BODY, size)
            outgoing.small = b"".join([outgoing.small, head, *views])

    def put_frame(self, call_id: int, kind: Kind, payload: bytes) -> None:
        """Queue a frame that belongs to no message."""
        self.small.append(_Outgoing(call_id, frame_head(call_id, kind, len(payload)) + payload))

    def waits(self, call_id: int) -> bool:
        """Return whether some of a message is still here."""
        return call_id in self._waiting

    def unsent(self, call_id: int) -> bool:
        """Return whether a message is still here whole, so that the peer cannot know of it."""
        outgoing = self._waiting.get(call_id)
        return outgoing is not None and not outgoing.started

    def drop(self, call_id: int) -> None:
        """Forget what is left of a message, if anything."""
        outgoing = self._waiting.pop(call_id, None)
        if outgoing is None:
            return
        self.body_bytes -= outgoing.bulk_left
        (self.bulk if outgoing.started else self.small).remove(outgoing)

    def next_batch(self) -> tuple[list[Buffer], list[int]]:
        """Return the plaintexts of the next records, and the messages that end with them.

        Only when something waits: an empty record is against the protocol.
        """
        assert self, "nothing waits to be sent"
        pieces: list[Buffer] = []
        ended: list[int] = []
        size = taken = 0
        for outgoing in self.small:
            if size >= CHUNK_BYTES_SHARED:
                break
            taken += 1
            pieces.append(outgoing.small)
            size += len(outgoing.small)
            outgoing.started, outgoing.small = True, b""
            if outgoing.bulk_left:
                self.bulk.append(outgoing)
            else:
                self._chunks_since_small = 0
                self._end(outgoing, ended)
        del self.small[:taken]
        chunk: Buffer = b""
        if self.bulk:
            outgoing = self.bulk.pop(0)
            chunk = self._next_chunk(outgoing)
            pieces.append(frame_head(outgoing.call_id, Kind.BODY, len(chunk)))
            if outgoing.bulk_left:
                self.bulk.append(outgoing)
            else:
                self._end(outgoing, ended)
        if len(chunk) <= SMALL_BODY_BYTES_MAX:
            pieces.append(chunk)
            chunk = b""
        batch: list[Buffer] = [b"".join(pieces)]
        if len(chunk):
            batch.append(chunk)
        return batch, ended

    def _next_chunk(self, outgoing: _Outgoing) -> Buffer:
        self._chunks_since_small += 1
        shared = self.small or self._chunks_since_small <= SHARED_FOR_CHUNKS
        wanted = min(CHUNK_BYTES_SHARED if shared else outgoing.chunk_bytes, outgoing.bulk_left)
        outgoing.chunk_bytes = min(2 * outgoing.chunk_bytes, CHUNK_BYTES_BULK)
        assert outgoing.bulk is not None, "only a message with a large body is sent in chunks"
        chunk = _cut(outgoing.bulk, wanted)
        outgoing.bulk_left -= len(chunk)
        self.body_bytes -= len(chunk)
        return chunk

    def _end(self, outgoing: _Outgoing, ended: list[int]) -> None:
        if self._waiting.get(outgoing.call_id) is outgoing:
            del self._waiting[outgoing.call_id]
            ended.append(outgoing.call_id)


def _flat(buffer: Buffer) -> memoryview:
    """Return the buffer as flat bytes, without copying."""
    view = memoryview(buffer)
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def _cut(buffers: deque[memoryview], wanted: int) -> Buffer:
    """Take `wanted` bytes from the front: a view if one buffer has them, else a joined copy.

    Joining stops early where the next buffer alone fills a chunk: that one is sent uncopied.
    """
    first = buffers.popleft()
    if len(first) > wanted:
        buffers.appendleft(first[wanted:])
        return first[:wanted]
    taken, size = [first], len(first)
    while buffers and size < wanted and len(buffers[0]) < CHUNK_BYTES_SHARED:
        piece = buffers.popleft()
        if len(piece) > wanted - size:
            buffers.appendleft(piece[wanted - size :])
            piece = piece[: wanted - size]
        taken.append(piece)
        size += len(piece)
    return first if len(taken) == 1 else b"".join(taken)
