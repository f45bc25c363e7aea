"""Contacts whose host is a name: datagrams to them wait until the name is looked up.

An answer comes from an IP address; `known_as` gives it back the name it was asked under, so that
whoever asked recognises it.
"""

from collections.abc import Callable

import trio

from meshnode.ids import Address, NetworkId
from meshnode.net.addresses import from_sockaddr
from meshnode.wire.messages import Send

NAMES_MAX = 64
WAITING_MAX = 8
"""Datagrams that wait for one name."""
FRESH_S = 300.0
LOOKUP_S = 5.0

Deliver = Callable[[Send, NetworkId | None, Address | None], None]


class Names:
    """Looks names up in the background. `send` gets what waited, with the address or None."""

    def __init__(self, send: Deliver) -> None:
        self._send = send
        self._found: dict[Address, tuple[Address, float]] = {}
        self._name_of: dict[Address, Address] = {}
        self._waiting: dict[Address, list[tuple[Send, NetworkId | None]]] = {}
        self._asked = trio.Event()

    def known_as(self, address: Address) -> Address:
        """Return the name under which an address was asked, or the address itself."""
        return self._name_of.get(address, address) if self._name_of else address

    def later(self, send: Send, network: NetworkId | None) -> bool:
        """Send once the name is known, at once if it is. False: dropped, too many wait."""
        name = send.recipient.address
        found = self._found.get(name)
        if found is not None and trio.current_time() < found[1]:
            self._send(send, network, found[0])
            return True
        waiting = self._waiting.get(name, [])
        if len(waiting) >= WAITING_MAX or (not waiting and len(self._waiting) >= NAMES_MAX):
            return False
        waiting.append((send, network))
        self._waiting[name] = waiting
        self._asked.set()
        return True

    async def run(self) -> None:
        """Look names up, one after the other, until cancelled."""
        while True:
            while self._waiting:
                name = next(iter(self._waiting))
                address = await _look_up(name)
                if address is not None:
                    self._remember(name, address)
                for send, network in self._waiting.pop(name):
                    self._send(send, network, address)
            self._asked = trio.Event()
            await self._asked.wait()

    def _remember(self, name: Address, address: Address) -> None:
        if len(self._found) >= NAMES_MAX and name not in self._found:
            oldest = next(iter(self._found))
            self._name_of.pop(self._found.pop(oldest)[0], None)
        self._found[name] = (address, trio.current_time() + FRESH_S)
        self._name_of[address] = name


async def _look_up(name: Address) -> Address | None:
    """Return the first address of a name, IPv4 before IPv6, or None."""
    with trio.move_on_after(LOOKUP_S):
        try:
            found = await trio.socket.getaddrinfo(name.host, name.port, type=trio.socket.SOCK_DGRAM)
        except (OSError, UnicodeError):
            return None
        found.sort(key=lambda entry: entry[0] != trio.socket.AF_INET)
        for *_, sockaddr in found:
            host, port = sockaddr[0], sockaddr[1]
            if isinstance(host, str) and isinstance(port, int):
                return from_sockaddr((host, port))
    return None
