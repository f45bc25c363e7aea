"""Rates: the most that each host sends in any one second, of some kinds of messages.

Counted is all that leaves the host for one datagram: message, padding, seal, and the headers of UDP
and IP. A second is one of the host's own clock: it can go by no other.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from meshnode.gossip.sizes import headers_bytes
from meshnode.ids import Contact, PublicKey
from meshnode.sim.network import Host, Network
from meshnode.wire.messages import Send

WINDOW_S = 1.0 - 1e-6
"""A hair less: what is sent a second later to the last digit of a float is of the next one."""


@dataclass(slots=True)
class _Window:
    sent: deque[tuple[float, int]] = field(default_factory=deque)
    bytes: int = 0


class Rates:
    """A sliding window for each host of a network, from now on."""

    def __init__(self, network: Network, kinds: Collection[type]) -> None:
        self.worst = 0
        """The most bytes of one host in one second so far."""
        self.worst_of = ""
        """At which address."""
        self.exempt: set[PublicKey] = set()
        """Who is not counted: an attacker keeps to no budget."""
        self._network = network
        self._kinds = frozenset(kinds)
        self._windows: dict[Host, _Window] = {}
        network.on_sent = self._sent

    def _sent(self, sender: Contact, send: Send, size: int) -> None:
        if type(send.message) not in self._kinds or sender.public_key in self.exempt:
            return
        host = self._network.hosts.get(sender.address)
        if host is None:
            return
        now = self._network.world.now
        clock = host.slots[-1].clock if host.slots else None
        if clock is not None:
            now = clock.local(now)
        window = self._windows.setdefault(host, _Window())
        size += headers_bytes(host.contact.address.host)
        window.sent.append((now, size))
        window.bytes += size
        while window.sent[0][0] < now - WINDOW_S:
            window.bytes -= window.sent.popleft()[1]
        if window.bytes > self.worst:
            self.worst, self.worst_of = window.bytes, str(host.contact.address)
