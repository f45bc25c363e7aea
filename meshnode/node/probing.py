"""Pings by UDP and nothing else, for a diagnosis: what comes over a connection does not count."""

from dataclasses import dataclass, field

import trio

from meshnode.identity.keys import random_bytes
from meshnode.ids import Contact
from meshnode.net.datagrams import DatagramSocket
from meshnode.wire.messages import Ack, Ping, Received, Send

TRIES = 3
TRY_S = 0.5


@dataclass(slots=True)
class UdpProbes:
    """Pings that wait for their acks."""

    datagrams: DatagramSocket
    _waiting: dict[int, trio.Event] = field(default_factory=dict)

    def heard(self, received: Received) -> None:
        """A datagram came by UDP."""
        if self._waiting and isinstance(received.message, Ack):
            event = self._waiting.get(received.message.sequence)
            if event is not None:
                event.set()

    async def ping(self, contact: Contact, *, full: bool) -> float | None:
        """Return the round trip in ms, of a datagram as long as they get if `full`, or None."""
        for _ in range(TRIES):
            sequence = int.from_bytes(random_bytes(8), "big") >> 1
            answered = self._waiting[sequence] = trio.Event()
            sent_at = trio.current_time()
            try:
                self.datagrams.send_by_udp(Send(contact, Ping(sequence=sequence)), full=full)
                with trio.move_on_after(TRY_S):
                    await answered.wait()
            finally:
                del self._waiting[sequence]
            if answered.is_set():
                return (trio.current_time() - sent_at) * 1000
        return None
