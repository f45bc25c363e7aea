"""Calls over connections, as ordered reliable pipes with latency and bandwidth.

Not TCP, only what callers notice of it: a handshake before the first byte, bytes that take their
time and stay in order, loss that costs round trips, a peer that is gone and says so, a partition
that says nothing. Every message is encoded and decoded as on the wire.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from meshnode.ids import Address, Contact
from meshnode.machine import Random
from meshnode.sim.links import jitter_of
from meshnode.sim.network import Host, Network
from meshnode.wire.codec import decode_call, encode_call
from meshnode.wire.messages import Reply, Request, StreamMessage

SEGMENT_BYTES = 1400
HANDSHAKE_RTTS = 2.5
"""TCP's one, and Noise XX's one and a half."""
REFUSED = "unreachable"
TIMED_OUT = "timed out"
STUCK_AGAIN_S = 0.5
"""What a partition holds up is sent again after so long, and after twice as long each time."""
STUCK_AGAIN_S_MAX = 8.0
RECORD_BYTES = 64
"""Frame heads and tags around one small call."""

End: TypeAlias = Callable[[Reply | str], None]
"""Gets the reply, or why there is none."""
Answer: TypeAlias = Callable[[Contact, Request, Callable[[Reply], None]], None]
"""A host's p2p door: who asks, what, and where the reply goes; called once for each call."""


@dataclass(slots=True)
class _Pipe:
    """One direction of a connection."""

    ready_at: float
    free_at: float = 0.0
    last_at: float = 0.0
    """When the last byte so far arrives: nothing overtakes it."""


@dataclass(slots=True, eq=False)
class _Call:
    source: Host
    target: Contact
    end: End
    server: Host | None = None
    over: bool = False


@dataclass(slots=True)
class Streams:
    """All connections of a network."""

    network: Network
    rng: Random
    doors: dict[Address, Answer] = field(default_factory=dict)
    calls: int = 0
    bytes: int = 0
    _pipes: dict[tuple[Address, Address], _Pipe] = field(default_factory=dict)
    _open: dict[Host, list[_Call]] = field(default_factory=dict)

    def call(
        self, source: Host, target: Contact, request: Request, timeout_s: float, end: End
    ) -> None:
        """Ask a peer; `end` is called once, unless the asker is gone by then."""
        self.calls += 1
        call = _Call(source, target, end)
        world = self.network.world
        world.call(world.now + timeout_s, lambda: self._end(call, TIMED_OUT))
        self._carry(call, source, target.address, request, lambda m: self._asked(call, m))

    def dropped(self, host: Host) -> None:
        """A host's process is gone: its open connections break, and peers learn it at once."""
        for call in self._open.pop(host, []):
            self._refuse(call)
        for pair in [p for p in self._pipes if host.contact.address in p]:
            del self._pipes[pair]
        self.doors.pop(host.contact.address, None)

    # ------------------------------------------------------------------ one call

    def _asked(self, call: _Call, request: StreamMessage) -> None:
        """The request has arrived."""
        server = self.network.hosts.get(call.target.address)
        door = self.doors.get(call.target.address)
        if server is None or door is None or server.contact.public_key != call.target.public_key:
            self._refuse(call)
            return
        call.server = server
        self._open.setdefault(server, []).append(call)

        def reply(message: Reply) -> None:
            if server.alive and not call.over:
                back = call.source.contact.address
                self._carry(call, server, back, message, lambda m: self._end(call, m))

        door(call.source.contact, request, reply)  # type: ignore[arg-type]  # a request was sent

    def _refuse(self, call: _Call) -> None:
        link = self.network.routes.link(call.target.address, call.source.contact.address)
        world = self.network.world
        world.call(world.now + link.delay_s, lambda: self._end(call, REFUSED))

    def _end(self, call: _Call, outcome: Any) -> None:  # noqa: ANN401  # a Reply or a reason
        if call.over:
            return
        call.over = True
        if call.server is not None and call in self._open.get(call.server, ()):
            self._open[call.server].remove(call)
        if call.source.alive:
            call.end(outcome)

    # ------------------------------------------------------------------ bytes on their way

    def _carry(
        self,
        call: _Call,
        source: Host,
        address: Address,
        message: StreamMessage,
        then: Callable[[StreamMessage], None],
    ) -> None:
        """Bring one message to the other end; the pipe keeps the order."""
        header, body = encode_call(message)
        joined = b"".join(bytes(part) for part in body)
        size = len(header) + len(joined) + RECORD_BYTES
        self.bytes += size
        decoded = decode_call(header, memoryview(joined) if joined else None)
        world = self.network.world
        link = self.network.routes.link(source.contact.address, address)
        pipe = self._pipe(source.contact.address, address)
        start = max(world.now, pipe.ready_at, pipe.free_at)
        pipe.free_at = start + size / link.bytes_per_s
        segments = -(-size // SEGMENT_BYTES)
        lost = sum(self.rng.random() < link.loss for _ in range(min(segments, 64)))
        arrives = pipe.free_at + link.delay_s + jitter_of(link, self.rng)
        # Fast retransmit: one round trip each, for most; they overlap in a window.
        arrives += min(lost, 3) * 2 * link.delay_s
        pipe.last_at = max(pipe.last_at, arrives)
        world.call(pipe.last_at, lambda: self._arrive(call, source, address, decoded, then, 0))

    def _arrive(
        self,
        call: _Call,
        source: Host,
        address: Address,
        message: StreamMessage,
        then: Callable[[StreamMessage], None],
        tries: int,
    ) -> None:
        if call.over or not source.alive:
            return
        target = self.network.hosts.get(address)
        back = self.network.passes(target, source) if target else True
        if target is not None and not (self.network.passes(source, target) and back):
            world = self.network.world
            wait_s = min(STUCK_AGAIN_S * 2**tries, STUCK_AGAIN_S_MAX)
            world.call(
                world.now + wait_s,
                lambda: self._arrive(call, source, address, message, then, tries + 1),
            )
            return
        then(message)

    def _pipe(self, source: Address, target: Address) -> _Pipe:
        """Return one direction of a pair's connection, made anew if there is none."""
        pipe = self._pipes.get((source, target))
        if pipe is None:
            routes, now = self.network.routes, self.network.world.now
            rtt_s = routes.link(source, target).delay_s + routes.link(target, source).delay_s
            ready_at = now + HANDSHAKE_RTTS * rtt_s
            pipe = self._pipes[source, target] = _Pipe(ready_at)
            self._pipes.setdefault((target, source), _Pipe(ready_at))
        return pipe
