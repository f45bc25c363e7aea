"""Discovery: the beacon joined to its sockets and to membership. Pairs with `reach/beacon.py`."""

import logging
from collections.abc import Callable

import trio

from meshnode.ids import Contact
from meshnode.net.lan import LanSockets, outward
from meshnode.net.mdns import announce_and_browse
from meshnode.node.driver import Driver
from meshnode.reach.beacon import (
    Announce,
    Beacon,
    BeaconMachine,
    Greet,
    Heard,
    Told,
    decode,
    meshes_among,
    question,
)

_log = logging.getLogger(__name__)
LOOK_S = 1.2
"""How long a newcomer listens for meshes: more than nodes take to answer."""
GATHER_S = 0.4
"""After the first one: other nodes answer within a third of a second."""
HEARD_MAX = 256


class Discovery:
    """Says on the LAN that this node is here, and greets the members it hears."""

    def __init__(
        self,
        machine: BeaconMachine,
        greet: Callable[[Contact], None],
        *,
        sockets: LanSockets | None = None,
        mdns_host: str = "",
    ) -> None:
        """`mdns_host` is the address to announce by mDNS, where that is installed; empty: none."""
        self.machine = machine
        self._greet = greet
        self._sockets = sockets or LanSockets(interfaces=outward)
        self._mdns_host = mdns_host
        self._driver: Driver[Heard | Told, Announce | Greet] = Driver(machine, self._perform)

    async def run(self) -> None:
        """Speak and listen until cancelled; a LAN where that does not work is left alone."""
        async with trio.open_nursery() as nursery:
            if self._sockets.open():
                nursery.start_soon(self._sockets.run, self._driver.handle)
                nursery.start_soon(self._driver.run)
            if self._mdns_host:
                own, host = self.machine.own, self._mdns_host
                nursery.start_soon(announce_and_browse, own, host, self._told)

    def _told(self, contact: Contact) -> None:
        self._driver.handle(Told(contact))

    def _perform(self, effect: Announce | Greet) -> None:
        match effect:
            case Announce(data):
                self._sockets.send(data)
            case Greet(contact):
                _log.debug("heard a member at %s", contact.address)
                self._greet(contact)


async def meshes_here(*, sockets: LanSockets | None = None, for_s: float = LOOK_S) -> list[Beacon]:
    """Ask who is on this LAN, and return the meshes that say so; nothing of it is verified."""
    lan = sockets or LanSockets(interfaces=outward)
    heard: list[Heard] = []
    anybody = trio.Event()

    def keep(each: Heard) -> None:
        if len(heard) < HEARD_MAX:
            heard.append(each)
        if decode(each.data) is not None:
            anybody.set()

    if not lan.open():
        return []
    with trio.move_on_after(for_s):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lan.run, keep)
            lan.send(question())
            await anybody.wait()
            await trio.sleep(GATHER_S)
            nursery.cancel_scope.cancel()
    return meshes_among(heard)
