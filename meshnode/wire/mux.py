"""Many calls on one channel, without I/O: ids, bodies, cancel and budgets. `outbox` sends.

Each side numbers its own calls upward: the initiator of the channel takes odd ids, the other even
ones, so a HEADER under an id of the receiver's own parity is a reply. Rules:

- A body's size is in its header: it is checked against this connection's budget before memory is
  taken. What is refused or cancelled is forgotten, and late frames of it are dropped unread.
- The receiving side bounds the calls in flight; a peer that ignores even the refusals is cut off.
- After a GOODBYE, later requests are not carried out, and their caller knows that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from meshnode.errors import LocalProtocolError, Overloaded, RemoteProtocolError
from meshnode.wire.frames import GOODBYE_BYTES_MAX, Kind
from meshnode.wire.limits import BODY_BYTES_MAX, CALLS_PER_CONNECTION_MAX
from meshnode.wire.outbox import Outbox
from meshnode.wire.tensor import Body, Buffer

REFUSALS_WAITING_MAX = 2 * CALLS_PER_CONNECTION_MAX
CALL_ID_MAX = 2**32 - 1
_CANCEL, _GOODBYE = Kind.CANCEL, Kind.GOODBYE
"""A member of an enum takes as long to look up as the rest of a frame's way."""


@dataclass(slots=True)  # made for each message; a frozen one takes thrice as long to make
class RequestArrived:
    """A request is here whole. Ends with `reply`, or with a CancelArrived."""

    call_id: int
    header: bytes
    body: memoryview | None


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """A request was not taken, for want of room. To be answered with a Failure."""

    call_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class CancelArrived:
    """The peer gave up a request that was handed out before."""

    call_id: int


@dataclass(slots=True)  # made for each message; a frozen one takes thrice as long to make
class ReplyArrived:
    """The reply to an own call is here whole."""

    call_id: int
    header: bytes
    body: memoryview | None


@dataclass(frozen=True, slots=True)
class ReplyRefused:
    """The reply to an own call is larger than this connection has room for; it is dropped."""

    call_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class GoodbyeArrived:
    """The peer takes no new calls; own calls above `last_id` were not carried out."""

    last_id: int
    reason: str


Event: TypeAlias = (
    RequestArrived | RequestRefused | CancelArrived | ReplyArrived | ReplyRefused | GoodbyeArrived
)


@dataclass(slots=True)
class _Incoming:
    """A message whose body is still coming."""

    header: bytes
    body: memoryview
    filled: int = 0


class Mux:
    """The calls of one connection. Bytes go through FrameReader and `next_batch`."""

    def __init__(
        self,
        *,
        initiator: bool,
        body_size_of: Callable[[bytes], int],
        inbound_bytes_max: int = 2 * BODY_BYTES_MAX,
        calls_max: int = CALLS_PER_CONNECTION_MAX,
    ) -> None:
        """`body_size_of` reads a header's body size or raises RemoteProtocolError."""
        self._body_size_of = body_size_of
        self._inbound_left = inbound_bytes_max
        self._calls_max = calls_max
        self._own_parity = 1 if initiator else 0
        self._next_id = 1 if initiator else 2
        self._peer_last_id = 0
        self._own: dict[int, None] = {}
        """Own calls in flight; an empty set would take 0.2 KB of every idle peer."""
        self._peer: dict[int, int] = {}
        """Peer's calls in flight, with the bytes each holds of the budget."""
        self._refused: dict[int, None] = {}
        self._incoming: dict[int, _Incoming] = {}
        self._outbox = Outbox()
        self._retired = False
        self._events: list[Event] = []

    # ------------------------------------------------------------------ what the owner asks

    @property
    def calls(self) -> int:
        """Calls in flight, both ways."""
        return len(self._own) + len(self._peer)

    @property
    def idle(self) -> bool:
        """Nothing is in flight and nothing waits to be sent."""
        return not (self._own or self._peer or self._outbox)

    @property
    def receiving(self) -> bool:
        """A body is here in part."""
        return bool(self._incoming)

    @property
    def used_up(self) -> bool:
        """Whether there is no id left for another own call: a day at full speed."""
        return self._next_id > CALL_ID_MAX

    @property
    def has_output(self) -> bool:
        """Whether `next_batch` would return anything."""
        return bool(self._outbox.small or self._outbox.bulk)

    @property
    def outbound_bytes(self) -> int:
        """Bodies queued and not yet sent; the owner bounds them."""
        return self._outbox.body_bytes

    @property
    def small_waiting(self) -> int:
        """Small messages and frames queued and not yet sent."""
        return len(self._outbox.small)

    def request(self, header: bytes, body: Body) -> int:
        """Queue a call and return its id. Raises Overloaded if too many are in flight."""
        if len(self._own) >= self._calls_max:
            raise Overloaded(f"{self._calls_max} calls to this peer are in flight already")
        if self.used_up:
            raise LocalProtocolError("this connection has used up its call ids")
        call_id = self._next_id
        self._outbox.put_message(call_id, header, body)
        self._next_id += 2
        self._own[call_id] = None
        return call_id

    def reply(self, call_id: int, header: bytes, body: Body) -> None:
        """Queue the reply to a request; dropped if the peer has given the call up meanwhile."""
        if call_id in self._peer or call_id in self._refused:
            self._outbox.put_message(call_id, header, body)

    def cancel(self, call_id: int) -> None:
        """Give up an own call. The peer hears of it only if it can have heard of the call."""
        if call_id not in self._own:
            return
        self._own.pop(call_id, None)
        incoming = self._incoming.pop(call_id, None)
        if incoming is not None:
            self._inbound_left += len(incoming.body)
        unsent = self._outbox.unsent(call_id)
        self._outbox.drop(call_id)
        if not unsent:
            self._outbox.put_frame(call_id, Kind.CANCEL, b"")

    def unsent(self, call_id: int) -> bool:
        """Return whether an own call is still queued whole, so that the peer cannot know of it."""
        return self._outbox.unsent(call_id)

    def goodbye(self, reason: str) -> None:
        """Tell the peer that no call after the ones seen so far will be carried out."""
        self._retired = True
        payload = self._peer_last_id.to_bytes(4, "big") + reason.encode()[: GOODBYE_BYTES_MAX - 4]
        self._outbox.put_frame(0, Kind.GOODBYE, payload)

    def next_batch(self) -> list[Buffer]:
        """Return the plaintexts of the next records: small frames joined, then one bulk chunk."""
        batch, ended = self._outbox.next_batch()
        for call_id in ended:
            if self._refused:
                self._refused.pop(call_id, None)
            self._inbound_left += self._peer.pop(call_id, 0)
        return batch

    def take_events(self) -> list[Event]:
        """Return what happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    # ------------------------------------------------------------------ receiving (FrameReceiver)

    def frame(self, call_id: int, kind: Kind, payload: bytes) -> None:
        """Take a whole frame; see `frames.FrameReceiver`."""
        if kind is _GOODBYE:
            self._on_goodbye(call_id, payload)
        elif call_id & 1 == self._own_parity:
            if kind is _CANCEL or not 0 < call_id < self._next_id:
                raise RemoteProtocolError(f"a {kind.name} for call {call_id}, which is not there")
            if call_id in self._own:
                self._on_reply(call_id, payload)
        elif kind is _CANCEL:
            self._on_cancel(call_id)
        else:
            self._on_request(call_id, payload)

    def body_space(self, call_id: int, size: int) -> memoryview | None:
        """Return where this chunk goes, or None if nobody waits for it any more."""
        incoming = self._incoming.get(call_id)
        if incoming is not None:
            space = incoming.body[incoming.filled : incoming.filled + size]
            if len(space) < size:
                raise RemoteProtocolError("a body longer than its header says")
            incoming.filled += size
            return space
        own = call_id & 1 == self._own_parity
        if not 0 < call_id < (self._next_id if own else self._peer_last_id + 1):
            raise RemoteProtocolError(f"a body for call {call_id}, which was never made")
        return None

    def body_filled(self, call_id: int) -> None:
        """The chunk is in; a message whose body is complete is handed out."""
        incoming = self._incoming.get(call_id)
        if incoming is not None and incoming.filled == len(incoming.body):
            del self._incoming[call_id]
            self._complete(call_id, incoming.header, incoming.body)

    def _on_request(self, call_id: int, header: bytes) -> None:
        if call_id <= self._peer_last_id:
            raise RemoteProtocolError(f"call {call_id} is not above the last one")
        self._peer_last_id = call_id
        if self._retired:
            return
        size = self._body_size_of(header)
        if len(self._peer) >= self._calls_max:
            self._refuse(call_id, f"{self._calls_max} calls on one connection are in flight")
        elif size > self._inbound_left:
            self._refuse(call_id, f"no room for a body of {size} bytes on this connection")
        else:
            self._peer[call_id] = size
            if size:
                self._expect(call_id, header, size)
            else:
                self._events.append(RequestArrived(call_id, header, None))

    def _on_reply(self, call_id: int, header: bytes) -> None:
        if call_id in self._incoming:
            raise RemoteProtocolError(f"two replies to call {call_id}")
        size = self._body_size_of(header)
        self._outbox.drop(call_id)
        if size > self._inbound_left:
            self.cancel(call_id)
            reason = f"no room for an answer of {size} bytes on this connection"
            self._events.append(ReplyRefused(call_id, reason))
        elif size:
            self._expect(call_id, header, size)
        else:
            del self._own[call_id]
            self._events.append(ReplyArrived(call_id, header, None))

    def _expect(self, call_id: int, header: bytes, size: int) -> None:
        """Take memory for a body; the message is handed out when it is in."""
        self._inbound_left -= size
        self._incoming[call_id] = _Incoming(header, memoryview(bytearray(size)))

    def _complete(self, call_id: int, header: bytes, body: memoryview) -> None:
        if call_id & 1 == self._own_parity:
            self._own.pop(call_id, None)
            self._inbound_left += len(body)
            self._events.append(ReplyArrived(call_id, header, body))
        else:
            self._events.append(RequestArrived(call_id, header, body))

    def _refuse(self, call_id: int, reason: str) -> None:
        if len(self._refused) >= REFUSALS_WAITING_MAX:
            raise RemoteProtocolError("the peer sends calls without reading the refusals")
        self._refused[call_id] = None
        self._events.append(RequestRefused(call_id, reason))

    def _on_cancel(self, call_id: int) -> None:
        if not 0 < call_id <= self._peer_last_id:
            raise RemoteProtocolError(f"a CANCEL for call {call_id}, which was never made")
        if call_id not in self._peer:
            return
        handed_out = call_id not in self._incoming and not self._outbox.waits(call_id)
        self._incoming.pop(call_id, None)
        self._outbox.drop(call_id)
        self._inbound_left += self._peer.pop(call_id)
        if handed_out:
            self._events.append(CancelArrived(call_id))

    def _on_goodbye(self, call_id: int, payload: bytes) -> None:
        if call_id != 0 or len(payload) < 4:
            raise RemoteProtocolError("a GOODBYE that is not one")
        reason = payload[4:].decode("utf-8", "replace")
        self._events.append(GoodbyeArrived(int.from_bytes(payload[:4], "big"), reason))
