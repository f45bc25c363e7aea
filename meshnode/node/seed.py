"""A seed: a rendezvous for meshes it does not belong to. `meshnode bootstrap` runs it.

It speaks only the DHT's datagrams and the calls by which members reach each other, sealed in the
seeds' own domain, so it holds no mesh's secret and sees no request. For each network that talks
to it, it keeps one passive DHT: contacts that proved their address, and signed records that expire.
Several seeds need not know each other.
"""

import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import trio

from meshnode import __version__
from meshnode.config.home import Home
from meshnode.config.settings import Config
from meshnode.dht.machine import DhtEffect, DhtInput, DhtMachine
from meshnode.dht.settings import DhtSettings
from meshnode.errors import NotAMember
from meshnode.identity.keys import Identity, random_bytes
from meshnode.ids import Address, Contact, NetworkId, short, to_text
from meshnode.machine import Random
from meshnode.net.addresses import primary_address
from meshnode.net.binding import bind_both
from meshnode.net.connection import Peer
from meshnode.net.datagrams import DatagramSocket
from meshnode.net.listener import Listener
from meshnode.net.pool import ConnectionPool
from meshnode.net.seed_channel import SeedChannel
from meshnode.net.settings import NetSettings
from meshnode.net.tokens import Tokens
from meshnode.node.clock import unix_now
from meshnode.node.driver import Driver
from meshnode.node.expelled_lists import ExpelledLists
from meshnode.node.membership_files import load_identity
from meshnode.node.opening import lock_home
from meshnode.node.reach_building import relay_settings
from meshnode.node.rendezvous import Rendezvous, RendezvousRequest
from meshnode.node.revoking_words import without
from meshnode.wire.messages import Received, Reply, Request, Send
from meshnode.wire.reach import CompareExpelled, ExpelledCompared

_log = logging.getLogger(__name__)
NETWORKS_MAX = 64
"""Meshes served at once; the one not heard from longest goes first."""


class Seed:
    """A running seed."""

    def __init__(
        self,
        contact: Contact,
        datagrams: DatagramSocket,
        rendezvous: Rendezvous,
        expelled: ExpelledLists,
        nursery: trio.Nursery,
    ) -> None:
        self.contact = contact
        self.rendezvous = rendezvous
        self.expelled = expelled
        self._datagrams = datagrams
        self._nursery = nursery
        self._networks: OrderedDict[NetworkId, _Network] = OrderedDict()
        self._rng = Random(int.from_bytes(random_bytes(8), "big"))

    @property
    def text(self) -> str:
        """The address to give to nodes: `KEY@HOST:PORT`."""
        return f"{to_text(self.contact.public_key)}@{self.contact.address}"

    def status(self) -> dict[str, Any]:
        """Return the facts about this seed."""
        return {
            "role": "seed",
            "node_id": to_text(self.contact.node_id),
            "short": short(self.contact.node_id),
            "seed": self.text,
            "version": __version__,
            "meshes": len(self._networks),
            "nodes": sum(n.machine.size for n in self._networks.values()),
            "address": str(self.contact.address),
            "relay": self.rendezvous.relay is not None,
            "places": len(self.rendezvous.places),
            "circuits": self.rendezvous.places.circuits,
            "carried_bytes": self.rendezvous.counters.carried_bytes,
        }

    def receive(self, network: NetworkId, received: Received) -> None:
        """Take a datagram of one mesh's DHT; other messages mean nothing here."""
        gone = self.expelled.keys(network)
        if received.sender.public_key in gone:
            return
        message = without(received.message, gone) if gone else received.message
        if message is None:
            return
        known = self._networks.get(network)
        if known is None:
            known = self._networks[network] = _Network(self, network)
            self._nursery.start_soon(known.run)
            while len(self._networks) > NETWORKS_MAX:
                self._networks.popitem(last=False)[1].scope.cancel()
        self._networks.move_to_end(network)
        known.driver.handle(replace(received, message=message))

    def machine(self, network: NetworkId) -> DhtMachine:
        """Return a new passive DHT for one mesh."""
        return DhtMachine(self.contact, network, DhtSettings(), self._rng, passive=True)

    def send(self, effect: Send, network: NetworkId) -> None:
        """Send one mesh's answer, in which no expelled node is named."""
        message = without(effect.message, self.expelled.keys(network))
        if message is None or effect.recipient.public_key in self.expelled.keys(network):
            return
        effect = replace(effect, message=message)
        self._datagrams.send(effect, network=network)


class _Network:
    """One mesh's passive DHT."""

    def __init__(self, seed: Seed, network: NetworkId) -> None:
        self.machine = seed.machine(network)
        self.scope = trio.CancelScope()
        self._seed = seed
        self._network = network
        self.driver: Driver[DhtInput, DhtEffect] = Driver(self.machine, self._perform)

    async def run(self) -> None:
        with self.scope:
            await self.driver.run()

    def _perform(self, effect: DhtEffect) -> None:
        if isinstance(effect, Send):
            self._seed.send(effect, self._network)


@asynccontextmanager
async def open_seed(config: Config, home: Home) -> AsyncIterator[Seed]:
    """Run a seed. Raises AlreadyRunning, PortTaken or IdentityError."""
    home.prepare()
    with lock_home(home):
        identity, _ = load_identity(home.identity_key)
        async with trio.open_nursery() as nursery:
            door = _Door(config, home, identity, nursery)
            listen = config.mesh.listen
            port = await bind_both(door.datagrams, door.listener, listen.host, listen.port)
            advertise = config.mesh.advertise
            host = primary_address() if listen.host in ("0.0.0.0", "::") else listen.host
            address = advertise[0] if advertise else Address(host, port)
            contact = Contact(identity.public_key, address)
            seed = Seed(contact, door.datagrams, door.rendezvous, door.expelled, nursery)
            nursery.start_soon(door.datagrams.run_seed, seed.receive)
            nursery.start_soon(door.listener.run)
            yield seed
            nursery.cancel_scope.cancel()


class _Door:
    """A seed's sockets, and what answers there."""

    def __init__(
        self, config: Config, home: Home, identity: Identity, nursery: trio.Nursery
    ) -> None:
        net = NetSettings()
        self.expelled = ExpelledLists(home.expelled_file, unix_now)
        self.expelled.load()
        channel = SeedChannel(identity, unix_now=unix_now, expelled=self.expelled.keys)
        tokens = Tokens()
        self.datagrams = DatagramSocket(
            identity, mesh=None, settings=net, cookies_secret=_cookie_secret(identity)
        )
        pool = ConnectionPool(channel, net, nursery)
        self.rendezvous = Rendezvous(
            identity=identity,
            pool=pool,
            tokens=tokens,
            rng=Random(int.from_bytes(random_bytes(8), "big")),
            nursery=nursery,
            unix_now=unix_now,
            heard_s=lambda key: None,
            expelled=self.expelled.keys,
            relay=relay_settings(config.mesh),
        )
        self.expelled.on_expelled = self.rendezvous.expel
        pool.on_change = lambda peer, here: None if here else self.rendezvous.gone(peer.node_id)
        self.listener = Listener(channel, net, self._answer, pool=pool, tokens=tokens)

    async def _answer(self, peer: Peer, request: Request) -> Reply:
        if isinstance(request, RendezvousRequest):
            return await self.rendezvous.answer(peer, request)
        if isinstance(request, CompareExpelled) and peer.certificate is not None:
            return self._compare_expelled(peer.certificate.network, request)
        raise NotAMember("a seed does not answer this")

    def _compare_expelled(self, network: NetworkId, request: CompareExpelled) -> ExpelledCompared:
        body = b"".join(bytes(part) for part in request.body)
        if body:
            self.expelled.take(network, body, trio.current_time())
        digest = self.expelled.digest(network)
        same = digest == request.revocations
        return ExpelledCompared(
            revocations=digest, body=() if same else (self.expelled.plain(network),)
        )


def _cookie_secret(identity: Identity) -> bytes:
    return blake2b(b"cookies", key=identity.seed, digest_size=32, person=b"meshnode").digest()
