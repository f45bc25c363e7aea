"""Directories of a small mesh in one process: real machines, datagrams carried at once."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import trio

from meshnode.dht.machine import DhtMachine
from meshnode.dht.settings import DhtSettings
from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact
from meshnode.node.directory import Directory
from meshnode.node.memory import NameMemory
from meshnode.wire.messages import Received, Send
from tests.unit.dht.page import NETWORK


class Place:
    """Where directories hear each other. What is sent arrives after a moment."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.directories: dict[Contact, Directory] = {}

    def start(
        self, identity: Identity, *, save: Callable[[NameMemory], None] | None = None
    ) -> tuple[Contact, Directory]:
        """Start one more node."""
        index = len(self.directories) + 1
        own = Contact(identity.public_key, Address(f"10.3.0.{index}", 6174))
        machine = DhtMachine(own, NETWORK, DhtSettings(), Random(index))
        directory = Directory(
            machine, network=NETWORK, send=lambda send: self._carry(own, send), save=save
        )
        self.directories[own] = directory
        self.nursery.start_soon(directory.run)
        return own, directory

    def stop(self, contact: Contact) -> None:
        """Let nothing reach a node any more."""
        del self.directories[contact]

    def _carry(self, sender: Contact, send: Send) -> None:
        self.nursery.start_soon(self._deliver, sender, send)

    async def _deliver(self, sender: Contact, send: Send) -> None:
        await trio.sleep(0.001)
        there = self.directories.get(send.recipient)
        if there is not None:
            there.receive(Received(sender, send.message))


@asynccontextmanager
async def place(count: int) -> AsyncIterator[tuple[Place, list[Directory]]]:
    """A mesh of so many nodes that have all met."""
    async with trio.open_nursery() as nursery:
        here = Place(nursery)
        made = [here.start(Identity.from_seed(bytes([n]) * 32)) for n in range(1, count + 1)]
        for _, directory in made[1:]:
            directory.join((made[0][0],))
        await trio.sleep(30.0)
        yield here, [directory for _, directory in made]
        nursery.cancel_scope.cancel()
