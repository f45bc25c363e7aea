"""One channel to one peer, carrying many calls both ways.

One task reads, one writes, and a watch keeps the time; callers and handlers only queue with the mux
and wait. So a caller that
is cancelled cannot leave half a frame behind, and nothing is sent out of turn.
"""

import logging
from math import inf

import trio

from meshnode.errors import (
    LocalProtocolError,
    NotAMember,
    Overloaded,
    PeerUnreachable,
    RemoteProtocolError,
)
from meshnode.identity.aead import make_cipher
from meshnode.ids import node_id_of, short
from meshnode.net.answering import Answering
from meshnode.net.calls import Call, deadlines, end_overdue
from meshnode.net.failures import failure_of
from meshnode.net.handshaking import Secured
from meshnode.net.peer import Handler as Handler
from meshnode.net.peer import NotCarriedOut as NotCarriedOut
from meshnode.net.peer import Peer as Peer
from meshnode.net.settings import NetSettings
from meshnode.net.transport import Transport
from meshnode.net.watch import Watch
from meshnode.net.writer import Writer
from meshnode.wire.codec import body_size_of, decode_call, encode_call
from meshnode.wire.frames import FrameReader, RecordKey
from meshnode.wire.limits import KIB
from meshnode.wire.messages import Join, Reconcile, Reply, Request
from meshnode.wire.mux import (
    CancelArrived,
    GoodbyeArrived,
    Mux,
    ReplyArrived,
    ReplyRefused,
    RequestArrived,
    RequestRefused,
)

_log = logging.getLogger(__name__)
BULK_READ_BYTES = 16 * KIB
"""A read of this much is followed by another at once while a body is not here whole: more of it
is likely there already."""
READS_PER_WAKE_MAX = 8
CHECK_EVERY_S = 5.0
LAST_WORD_S = 1.0
NOT_ACCEPTED = "it does not accept this node"
"""How the reason begins that a peer gives when it turns this node away."""


class Connection:
    """A secured connection. `run` must be going for anything else to work."""

    def __init__(self, transport: Transport, secured: Secured, settings: NetSettings) -> None:
        self.peer = Peer(
            public_key=secured.peer_key,
            node_id=node_id_of(secured.peer_key),
            certificate=secured.standing.certificate,
            invite=secured.standing.invite,
            address=transport.address,
            lagging=secured.standing.lagging,
            line=secured.standing.line,
            relayed=transport.relayed,
        )
        self.initiator = secured.initiator
        self.opened_at = trio.current_time()
        self._settings = settings
        self._transport = transport
        self._mux = Mux(
            initiator=secured.initiator,
            body_size_of=body_size_of,
            inbound_bytes_max=settings.inbound_bytes_max,
        )
        receive_key, send_key = (
            RecordKey(key, make_cipher, rekey_records=settings.rekey_records)
            for key in (secured.receive_key, secured.send_key)
        )
        self._reader = FrameReader(receive_key, self._mux)
        self._writer = Writer(
            transport, send_key, self._mux, on_empty=self._all_sent, start=self._start_writer
        )
        self._calls: dict[int, Call] = {}
        self._watch: Watch | None = None
        self._nursery: trio.Nursery | None = None
        """Of all tasks of `run`."""
        self._handler: Handler | None = None
        self._answering = Answering(self._answer, on_rest=self._writer.push)
        self._active_at = self.opened_at
        self._check_at = 0.0
        self._rekey_at = self.opened_at + settings.rekey_every_s
        self._retire_by = inf
        self._left = False
        self._refusal = ""
        self._ended: str | None = None

    @property
    def usable(self) -> bool:
        """Whether a new call may be made."""
        return self._ended is None and not self._left and self._retire_by == inf

    @property
    def calls(self) -> int:
        """Calls in flight, both ways."""
        return self._mux.calls

    async def call(self, request: Request, *, deadline: float = inf) -> Reply:
        """Return the peer's reply, a Failure among them. `deadline` is in trio's time.

        Raises DeadlineExceeded, Overloaded (too many calls in flight), PeerUnreachable when the
        connection is lost, NotCarriedOut when it was lost before the peer could see the call. If
        it is cancelled, the peer is told to stop.
        """
        if self._mux.used_up:
            self.retire()
        if not self.usable:
            if self._refusal:
                raise PeerUnreachable(self._lost(), because=[self._refusal])
            raise NotCarriedOut(self._lost(), because=[self._ended or "it is being closed"])
        header, body = encode_call(request)
        call_id = self._mux.request(header, body)
        call = self._calls[call_id] = Call(deadline)
        if self._watch is not None:
            self._watch.wake_by(self, deadline)
        self._writer.wake()
        try:
            return await call.wait()
        finally:
            del self._calls[call_id]
            if call.reply is None and self._ended is None:
                self._mux.cancel(call_id)
                self._writer.wake()
            elif self._left:
                self._writer.wake()

    async def run(self, handler: Handler, watch: Watch | None = None) -> None:
        """Carry calls until the connection ends; what a peer does wrong ends it, and no more.

        `watch` keeps the time of many connections; without one this connection has its own.
        However it ends, cancelled too, calls in flight fail and the stream is closed.
        """
        try:
            async with trio.open_nursery() as nursery:
                if watch is None:
                    watch = Watch()
                    nursery.start_soon(watch.run)
                self._watch, self._nursery = watch, nursery
                watch.add(self, self.tick(trio.current_time()))
                self._writer.wake()
                self._handler = handler
                await self._read(nursery)
                self._cancel_tasks()
        finally:
            if watch is not None:
                watch.remove(self)
            self.close("this node closed it")

    def close(self, reason: str) -> None:
        """End at once: every call in flight fails now, and handlers are cancelled."""
        if self._ended is None:
            self._ended = reason
            for call_id, call in list(self._calls.items()):
                kind = NotCarriedOut if self._mux.unsent(call_id) else PeerUnreachable
                call.end(error=kind(self._lost(), because=[reason]))
            self._transport.close()  # which ends the wait of the one that reads
            self._cancel_tasks()

    def _cancel_tasks(self) -> None:
        """End all tasks but the one that reads, if there are any: a connection may have none."""
        nursery = self._nursery
        if nursery is not None and nursery.child_tasks and not nursery.cancel_scope.cancel_called:
            nursery.cancel_scope.cancel()

    def retire(self) -> None:
        """Take no new calls either way, finish those in flight, then close."""
        if self.usable:
            self._retire_by = trio.current_time() + self._settings.call_timeout_s
            self._mux.goodbye("")
            self._writer.wake()

    async def turn_away(self, reason: str) -> None:
        """Instead of `run`: tell the peer why it is not accepted, and close."""
        self._mux.goodbye(reason)
        try:
            with trio.move_on_after(LAST_WORD_S):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    await self._until_the_peer_closes()
                    nursery.cancel_scope.cancel()
        finally:
            self.close(reason)

    async def _until_the_peer_closes(self) -> None:
        try:
            while True:
                await self._transport.wait()
                if self._transport.receive_into(self._reader.space()) == 0:
                    return
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            return

    # ------------------------------------------------------------------ the tasks

    async def _read(self, nursery: trio.Nursery) -> None:
        try:
            while self._ended is None:
                await self._transport.wait()
                for _ in range(READS_PER_WAKE_MAX):
                    count = self._receive()
                    self._handle_events(nursery)
                    bulk = count >= BULK_READ_BYTES and self._mux.receiving
                    if not (bulk or self._reader.filled) or self._ended is not None:
                        break
        except RemoteProtocolError as error:
            _log.warning("%s broke the protocol: %s", short(self.peer.node_id), error)
            self.close(f"the peer broke the protocol: {error}")
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.close(str(error) or "it broke")
        except Exception:  # whatever a peer sends, it ends this connection and not the node
            _log.exception("a connection failed inside this node")
            self.close("internal error")

    def _receive(self) -> int:
        """Take what the socket has into the mux; return how many bytes that was."""
        try:
            count = self._transport.receive_into(self._reader.space())
        except BlockingIOError:
            return 0
        if count == 0:
            self.close("the peer closed it")
        else:
            self._reader.received(count)
        return count

    def _start_writer(self) -> bool:
        if self._nursery is None or self._ended is not None:
            return False
        try:
            self._nursery.start_soon(self._write)
        except RuntimeError:  # it has ended, and `run` is about to close this connection
            return False
        return True

    async def _write(self) -> None:
        try:
            await self._writer.run()
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            # The peer's last words, a GOODBYE perhaps, may still wait for the reader, which sees
            # the same end a moment later.
            await trio.sleep(LAST_WORD_S)
            self.close(str(error) or "it broke")
        except LocalProtocolError as error:
            self.close(error.message)

    def _all_sent(self) -> None:
        if self._left and self._mux.idle:
            self.close("the peer retired it")

    def tick(self, now: float) -> float:
        """End what is overdue, stalls or idles; return when this must be asked again.

        Called by the watch. Buffers that bulk has left behind are given back here.
        """
        if self._calls:
            end_overdue(self._calls, now, short(self.peer.node_id))
        if now >= self._check_at:
            self._check_at = now + min(CHECK_EVERY_S, self._settings.idle_close_s / 4)
            self._check(now)
        return min([self._check_at, *deadlines(self._calls)])

    def _check(self, now: float) -> None:
        settings = self._settings
        if now >= self._rekey_at:
            self._rekey_at = now + settings.rekey_every_s
            self._writer.rekey()
        if now - self._writer.sending_since > settings.write_stall_s:
            self.close(f"the peer took no byte for {settings.write_stall_s:.0f} s")
        elif now > self._retire_by:
            self.close("it was retired")
        elif not self._mux.idle:
            self._active_at = now
        else:
            self._reader.shrink()
            self._writer.shrink()
            self._answering.shrink()
            if now - self._active_at > settings.idle_close_s:
                self.retire()
                self._retire_by = min(self._retire_by, now + CHECK_EVERY_S)

    # ------------------------------------------------------------------ what arrives

    def _handle_events(self, nursery: trio.Nursery) -> None:
        events = self._mux.take_events()
        if events:
            self._active_at = trio.current_time()
        for event in events:
            if isinstance(event, ReplyArrived):
                call = self._calls.get(event.call_id)
                if call is not None:
                    call.end(reply=_as_reply(decode_call(event.header, event.body)))
            elif isinstance(event, RequestArrived):
                request = _as_request(decode_call(event.header, event.body))
                self._answering.take(event.call_id, request, nursery)
            else:
                self._handle_event(event)
        if self._mux.has_output or self._left:
            self._writer.wake()

    def _handle_event(
        self, event: RequestRefused | CancelArrived | ReplyRefused | GoodbyeArrived
    ) -> None:
        match event:
            case ReplyRefused(call_id, reason):
                call = self._calls.get(call_id)
                if call is not None:
                    call.end(error=Overloaded(reason))
            case RequestRefused(call_id, reason):
                self._send_reply(call_id, failure_of(Overloaded(reason)))
            case CancelArrived(call_id):
                self._answering.cancel(call_id)
            case GoodbyeArrived(last_id, reason):
                self._on_goodbye(last_id, reason)

    async def _answer(self, call_id: int, request: Request) -> None:
        """Run the handler for one call; a CANCEL, or the end of the connection, cancels it.

        This is the edge that outlives any bug of a handler: see `failure_of`.
        """
        assert self._handler is not None, "calls are taken while `run` is going"
        try:
            if self.peer.certificate is None:
                only: type[Request] = Reconcile if self.peer.lagging else Join
                if not isinstance(request, only):
                    raise NotAMember("only a member may ask this; a joiner may only join")
            reply: Reply = await self._handler(self.peer, request)
        except Exception as error:
            reply = failure_of(error)
        self._send_reply(call_id, reply)

    def _send_reply(self, call_id: int, reply: Reply) -> None:
        try:
            header, body = encode_call(reply)
            waiting = self._mux.outbound_bytes
            if waiting and waiting + sum(map(_size, body)) > self._settings.outbound_bytes_max:
                raise Overloaded("too many answers wait on this connection")
            self._mux.reply(call_id, header, body)
        except Exception as error:
            header, body = encode_call(failure_of(error))
            self._mux.reply(call_id, header, body)
        self._writer.wake()

    def _on_goodbye(self, last_id: int, reason: str) -> None:
        """Fail the calls that the peer will not carry out; with a reason it takes none at all."""
        self._left = True
        self._refusal = reason and f"{NOT_ACCEPTED}: {reason}"
        for call_id, call in list(self._calls.items()):
            if call_id > last_id:
                kind = PeerUnreachable if reason else NotCarriedOut
                call.end(error=kind(self._lost(), because=[self._refusal or "it was retired"]))
                self._mux.cancel(call_id)

    def _lost(self) -> str:
        return f"the connection to {short(self.peer.node_id)} at {self.peer.address} was lost"


def _size(buffer: bytes | bytearray | memoryview) -> int:
    return memoryview(buffer).nbytes


def _as_request(message: Request | Reply) -> Request:
    if isinstance(message, Request):
        return message
    raise RemoteProtocolError(f"{type(message).__name__} is not a request")


def _as_reply(message: Request | Reply) -> Reply:
    if isinstance(message, Reply):
        return message
    raise RemoteProtocolError(f"{type(message).__name__} is not a reply")
