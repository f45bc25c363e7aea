"""A seed on loopback and members that are no more than their channels, for attacks on both."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import trio

from meshnode.config import home_dir
from meshnode.config.load import load
from meshnode.errors import MeshnodeError
from meshnode.identity.certificates import MEMBER
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import Mesh, admit, found
from meshnode.identity.sealing import SEED_NETWORK
from meshnode.ids import Address, Contact
from meshnode.net.channel import MeshChannel
from meshnode.net.connection import Connection, Peer
from meshnode.net.listener import Listener
from meshnode.net.pool import ConnectionPool, secure
from meshnode.net.relay import arrange
from meshnode.net.seed_channel import ToSeedChannel
from meshnode.net.settings import NetSettings
from meshnode.net.tokens import Tokens
from meshnode.node.clock import unix_now
from meshnode.node.seed import Seed, open_seed
from meshnode.wire.messages import Held, Reply, Request
from meshnode.wire.reach import Circuit, OfferCircuit, OpenCircuit, Passed, Reserve

NET = NetSettings()


class Member:
    """A member with a listener, and a place at the seed if it wants one."""

    def __init__(self, mesh: Mesh, identity: Identity, nursery: trio.Nursery, seed: Seed) -> None:
        self.identity = identity
        self.mesh = mesh
        self.channel = MeshChannel(identity, mesh, invites=None, unix_now=unix_now)
        self.seed = seed.contact
        self.to_seed = ConnectionPool(
            ToSeedChannel(identity, mesh, seed.contact.public_key), NET, nursery
        )
        self.to_seed.answer_with(self.answer_seed)
        self.tokens = Tokens()
        self.pool = ConnectionPool(self.channel, NET, nursery)
        self.listener = Listener(self.channel, NET, self.answer, pool=self.pool, tokens=self.tokens)
        self.asked: list[Request] = []
        self.offered = trio.Event()
        self.sinks = False
        """Only counts what comes through a circuit."""
        self.sunk = 0
        self._nursery = nursery

    async def listen(self) -> None:
        port = await self.listener.bind("127.0.0.1", 0)
        self.contact = Contact(self.identity.public_key, Address("127.0.0.1", port))
        self._nursery.start_soon(self.listener.run)

    async def answer(self, peer: Peer, request: Request) -> Reply:
        return Held(held=(True,))

    async def answer_seed(self, peer: Peer, request: Request) -> Reply:
        self.asked.append(request)
        if isinstance(request, OfferCircuit):
            self._nursery.start_soon(self.serve_circuit, request.token)
        return Passed()

    async def serve_circuit(self, token: bytes) -> None:
        transport = await self.enter(token)
        self.offered.set()
        if not self.sinks:
            await self.listener.serve(transport)
            return
        buffer = memoryview(bytearray(65536))
        try:
            while True:
                await transport.wait()
                count = transport.receive_into(buffer)
                if count == 0:
                    break
                self.sunk += count
        except OSError:
            pass
        finally:
            transport.close()

    async def enter(self, token: bytes):
        return await arrange(self.seed, token, self.identity, SEED_NETWORK, NET)

    async def ask(self, request: Request) -> Reply:
        return await self.to_seed.call(self.seed, request, timeout_s=10)

    async def reserve(self) -> Reply:
        return await self.ask(Reserve(contact=self.contact))

    async def through(self, target: Contact) -> Connection:
        """Open a circuit and shake hands through it."""
        reply = await self.ask(OpenCircuit(target=target.node_id))
        assert isinstance(reply, Circuit)
        return await secure(await self.enter(reply.token), target, self.channel, NET)


class Field:
    """A seed, and members of several meshes round it."""

    def __init__(self, seed: Seed, nursery: trio.Nursery) -> None:
        self.seed = seed
        self._nursery = nursery
        self.meshes: dict[str, tuple[Mesh, Identity]] = {}

    async def member(self, mesh_name: str = "home") -> Member:
        if mesh_name not in self.meshes:
            founder = Identity.generate()
            self.meshes[mesh_name] = (found(founder, mesh_name, unix_now())[0], founder)
        mesh, founder = self.meshes[mesh_name]
        return await self._admitted(mesh, founder)

    async def member_of(self, sponsor: Member) -> Member:
        """Return a member that another member admitted."""
        return await self._admitted(sponsor.mesh, sponsor.identity)

    async def _admitted(self, mesh: Mesh, sponsor: Identity) -> Member:
        identity = Identity.generate()
        chain = admit(
            sponsor,
            mesh.chain,
            identity.public_key,
            name="member",
            roles=MEMBER,
            now_unix=unix_now(),
        )
        own = Mesh(name=mesh.name, root_key=mesh.root_key, mesh_key=mesh.mesh_key, chain=chain)
        member = Member(own, identity, self._nursery, self.seed)
        await member.listen()
        return member


@asynccontextmanager
async def field(root: Path, **over: object) -> AsyncIterator[Field]:
    home = home_dir(root / "seed")
    settings = {"mesh.listen": "127.0.0.1:0", "mesh.relay": "50MB", **over}
    async with AsyncExitStack() as stack:
        seed = await stack.enter_async_context(open_seed(load(home, settings), home))
        nursery = await stack.enter_async_context(trio.open_nursery())
        yield Field(seed, nursery)
        nursery.cancel_scope.cancel()


async def refused(what: object) -> bool:
    """Whether an awaitable raises an error of the house; True too if nothing comes of it."""
    try:
        with trio.fail_after(10):
            await what  # type: ignore[misc]
    except (MeshnodeError, OSError, trio.BrokenResourceError, trio.TooSlowError):
        return True
    return False
