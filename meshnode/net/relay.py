"""Circuits: two connections joined into one pipe, at the relay and at its two ends.

The relay passes bytes and understands none: the ends shake hands through it and expect each
other's key, so it can neither read nor pretend. A circuit ends with either end, with its bytes or
with its time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from meshnode.errors import PeerUnreachable
from meshnode.identity.keys import Identity
from meshnode.ids import Contact, NetworkId
from meshnode.net.addresses import why
from meshnode.net.handshaking import initiate
from meshnode.net.settings import NetSettings
from meshnode.net.tokens import ArrangedChannel
from meshnode.net.transport import SocketTransport, Transport
from meshnode.reach.rate import ByteRate
from meshnode.wire.limits import KIB

BUFFER_BYTES = 32 * KIB
"""For each direction of a circuit, while it lasts: 128 circuits take 8 MiB."""
MEET_S = 10.0
STALL_S = 30.0
"""An end that takes no byte for so long ends the circuit."""


class RelayedTransport(SocketTransport):
    """A connection to a relay behind which another node is; `address` is the relay's."""

    relayed = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitLimits:
    """What one circuit may use."""

    bytes_max: int
    """Both directions together."""
    seconds_max: float = 3600.0


@dataclass(slots=True, eq=False)
class Splice:
    """One circuit at the relay: waits for both ends, then passes bytes until it is over."""

    limits: CircuitLimits
    rate: ByteRate
    """Shared by every circuit of this relay."""
    on_end: Callable[[], None]
    carried: int = 0
    _first: Transport | None = None
    _joined: trio.Event = field(default_factory=trio.Event)
    _over: trio.Event = field(default_factory=trio.Event)
    _passing: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def meet(self, transport: Transport) -> None:
        """Take one end; returns when the circuit is over, both ends closed."""
        if self._over.is_set():
            transport.close()
        elif self._first is None:
            self._first = transport
            await self._wait(transport)
        else:
            self._joined.set()
            await self._join(self._first, transport)

    async def expire(self) -> None:
        """End the circuit if its ends do not meet in time; whoever opened it runs this."""
        with trio.move_on_after(MEET_S):
            await self._joined.wait()
        if not self._joined.is_set():
            self.give_up()

    def cut(self) -> None:
        """End the circuit now."""
        self._passing.cancel()
        self.give_up()

    def give_up(self) -> None:
        """The ends will not meet."""
        if not self._over.is_set():
            self._over.set()
            self.on_end()

    async def _wait(self, transport: Transport) -> None:
        try:
            await self._over.wait()
        finally:
            self.give_up()
            transport.close()

    async def _join(self, first: Transport, second: Transport) -> None:
        try:
            self._passing.deadline = trio.current_time() + self.limits.seconds_max
            with self._passing:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._pass_on, first, second, nursery.cancel_scope)
                    nursery.start_soon(self._pass_on, second, first, nursery.cancel_scope)
        finally:
            first.close()
            second.close()
            self.give_up()

    async def _pass_on(self, source: Transport, sink: Transport, scope: trio.CancelScope) -> None:
        buffer = memoryview(bytearray(BUFFER_BYTES))
        try:
            while True:
                await source.wait()
                try:
                    count = source.receive_into(buffer)
                except BlockingIOError:
                    continue
                self.carried += count
                if count == 0 or self.carried > self.limits.bytes_max:
                    break
                pause_s = self.rate.take(count, trio.current_time())
                if pause_s:
                    await trio.sleep(pause_s)
                with trio.fail_after(STALL_S):
                    await sink.send_all(buffer[:count])
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass
        scope.cancel()


async def arrange(
    contact: Contact, token: bytes, identity: Identity, network: NetworkId, settings: NetSettings
) -> RelayedTransport:
    """Open a connection to a node with a token it knows, as far as the handshake.

    Raises what `pool.connect` raises. If it is cancelled, nothing stays open.
    """
    address = contact.address
    try:
        transport = await RelayedTransport.to(address, unacknowledged_ms=settings.unacknowledged_ms)
    except OSError as error:
        raise PeerUnreachable("", because=[f"{address}: {why(error)}"]) from error
    try:
        await initiate(
            transport, ArrangedChannel(identity, network, token), expect=contact.public_key
        )
    except BaseException:
        transport.close()
        raise
    return transport
