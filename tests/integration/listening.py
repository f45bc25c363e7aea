"""A pool and a listener on loopback, for the tests of channels and of joining."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact
from meshnode.net.channel import MeshChannel
from meshnode.net.connection import Handler
from meshnode.net.listener import Listener
from meshnode.net.pool import ConnectionPool
from meshnode.net.settings import NetSettings
from tests.unit.net.mesh import (
    channel_of,
    says_yes,
)

QUICK = NetSettings(connect_timeout_s=5, handshake_timeout_s=5)
"""Short of the defaults, and far above what a handshake takes on a machine with other work."""


@dataclass
class Node:
    contact: Contact
    pool: ConnectionPool
    listener: Listener


@asynccontextmanager
async def node(
    identity: Identity,
    handler: Handler = says_yes,
    *,
    settings: NetSettings = QUICK,
    channel: MeshChannel | None = None,
) -> AsyncIterator[Node]:
    async with trio.open_nursery() as nursery:
        channel = channel or channel_of(identity)
        pool = ConnectionPool(channel, settings, nursery)
        listener = Listener(channel, settings, handler, pool=pool)
        port = await listener.bind("127.0.0.1", 0)
        nursery.start_soon(listener.run)
        yield Node(Contact(identity.public_key, Address("127.0.0.1", port)), pool, listener)
        nursery.cancel_scope.cancel()
