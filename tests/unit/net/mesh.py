"""A mesh of three members with keys from fixed seeds, and connections over memory streams."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import trio
from trio.testing import memory_stream_pair

from meshnode.errors import BlobNotFound
from meshnode.identity.certificates import (
    ALL_ROLES,
    MEMBER,
    Certificate,
    Role,
    issue,
    network_of,
)
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import Mesh
from meshnode.ids import Address, ContentHash
from meshnode.net.channel import MeshChannel, Standing
from meshnode.net.connection import Connection, Handler, Peer
from meshnode.net.handshaking import Secured
from meshnode.net.settings import NetSettings
from meshnode.net.transport import StreamTransport
from meshnode.wire.messages import AskHeld, Held, Reply, Request

ROOT, ALICE, BOB, CAROL, EVE = (Identity.from_seed(bytes([n]) * 32) for n in range(1, 6))
NETWORK = network_of(ROOT.public_key)
NOW = 1_800_000_000.0
HERE = Address("192.0.2.1", 1)
BLOB = ContentHash(b"b" * 32)


def certificate_of(identity: Identity, *, until: float = NOW + 1000, roles: Role = MEMBER) -> bytes:
    return issue(
        ROOT,
        Certificate(
            network=NETWORK,
            subject=identity.public_key,
            issuer=ROOT.public_key,
            roles=ALL_ROLES & roles,
            name="node",
            not_before=int(NOW) - 1000,
            not_after=int(until),
        ),
    )


def mesh_of(identity: Identity, **changes: float) -> Mesh:
    return Mesh(
        name="home",
        root_key=ROOT.public_key,
        mesh_key=b"m" * 32,
        chain=(certificate_of(identity, **changes),),
    )


def channel_of(identity: Identity, *psks: bytes, **changes: float) -> MeshChannel:
    mesh = mesh_of(identity, **changes)
    return MeshChannel(identity, mesh, invites=lambda: psks, unix_now=lambda: NOW)


async def says_yes(peer: Peer, request: Request) -> Reply:
    assert isinstance(request, AskHeld)
    return Held(held=(True,) * len(request.blobs))


async def says_no(peer: Peer, request: Request) -> Reply:
    raise BlobNotFound("not here")


@asynccontextmanager
async def connected(
    answer: Handler = says_yes,
    *,
    settings: NetSettings | None = None,
    member: bool = True,
) -> AsyncIterator[tuple[Connection, Connection]]:
    """Two ends of one connection that run; the second's handler is `answer`."""
    settings = settings or NetSettings()
    left, right = memory_stream_pair()
    certificate = Certificate(
        network=NETWORK,
        subject=ALICE.public_key,
        issuer=ROOT.public_key,
        roles=MEMBER,
        name="alice",
        not_before=0,
        not_after=1,
    )
    standing = Standing(certificate=certificate, invite=None)
    at_a = Secured(
        peer_key=BOB.public_key,
        standing=standing,
        send_key=b"1" * 32,
        receive_key=b"2" * 32,
        initiator=True,
    )
    at_b = replace(
        at_a,
        peer_key=ALICE.public_key,
        standing=standing if member else Standing(certificate=None, invite=b"p" * 32),
        send_key=b"2" * 32,
        receive_key=b"1" * 32,
        initiator=False,
    )
    a = Connection(StreamTransport(left, HERE), at_a, settings)
    b = Connection(StreamTransport(right, HERE), at_b, settings)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.run, says_yes)
        nursery.start_soon(b.run, answer)
        yield a, b
        nursery.cancel_scope.cancel()
