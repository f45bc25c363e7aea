"""Puts the parts of reach together: links, rendezvous, tunnel, standing. Part of `building.py`."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from meshnode.config.settings import MeshSettings
from meshnode.errors import MeshnodeError
from meshnode.identity.keys import Identity, random_bytes
from meshnode.identity.mesh import Mesh
from meshnode.ids import Address, Contact, NodeId
from meshnode.machine import Random
from meshnode.net.addresses import is_literal, is_loopback
from meshnode.net.connection import Peer
from meshnode.net.datagrams import DatagramSocket
from meshnode.net.listener import Listener
from meshnode.net.pool import ConnectionPool
from meshnode.net.tokens import Tokens
from meshnode.node.clock import unix_now
from meshnode.node.directory import Directory
from meshnode.node.discovery import Discovery
from meshnode.node.links import Link, Links
from meshnode.node.membership import Membership
from meshnode.node.probing import UdpProbes
from meshnode.node.reach import Reach
from meshnode.node.rendezvous import RelaySettings, Rendezvous
from meshnode.node.standing import Reachability
from meshnode.node.tunnel import Tunnel
from meshnode.reach.beacon import Beacon, BeaconMachine
from meshnode.wire.messages import Received, Reply, Request

if TYPE_CHECKING:
    from meshnode.node.building import Building

_log = logging.getLogger(__name__)
WOKEN_MAX = 4
"""Silent contacts that are connected to at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachParts:
    """What reach needs of the rest of a node."""

    identity: Identity
    mesh: Mesh
    own: Contact
    config: MeshSettings
    pool: ConnectionPool
    listener: Listener
    tokens: Tokens
    datagrams: DatagramSocket
    membership: Membership
    directory: Directory
    nursery: trio.Nursery
    mesh_keys: Callable[[], Sequence[bytes]]
    """Those in force, the one to speak under first."""


def reach_parts(node: "Building", nursery: trio.Nursery) -> ReachParts:
    """Return what reach needs of a node that is being built."""
    return ReachParts(
        identity=node.identity,
        mesh=node.mesh,
        own=node.contact,
        config=node.config.mesh,
        pool=node.pool,
        listener=node.listener,
        tokens=node.tokens,
        datagrams=node.datagrams,
        membership=node.membership,
        directory=node.directory,
        nursery=nursery,
        mesh_keys=node.book.ring.accepted_keys,
    )


def build_reach(parts: ReachParts) -> Reach:
    """Make the parts and connect them with the node's own."""
    waking = _Waking(parts)
    tunnel = Tunnel(
        own=parts.own,
        pool=parts.pool,
        nursery=parts.nursery,
        open_packet=parts.datagrams.open_carried,
        deliver=_nowhere,
        wake=waking.wake,
    )

    async def answer_seed(link: Link, peer: Peer, request: Request) -> Reply:
        return await reach.answer_seed(link, peer, request)

    links = Links(
        parts.identity,
        parts.mesh,
        parts.pool,
        parts.nursery,
        members=lambda: _alive(parts.membership),
        contact_of=parts.membership.contact_of,
        answer_seed=answer_seed,
    )
    rendezvous = Rendezvous(
        identity=parts.identity,
        pool=parts.pool,
        tokens=parts.tokens,
        rng=Random(int.from_bytes(random_bytes(8), "big")),
        nursery=parts.nursery,
        unix_now=unix_now,
        heard_s=tunnel.heard_s,
        relay=relay_settings(parts.config),
    )
    standing = Reachability(
        own=parts.own,
        links=links,
        pool=parts.pool,
        tokens=parts.tokens,
        rng=Random(int.from_bytes(random_bytes(8), "big")),
        seeds=parts.datagrams.seeds,
        alive=lambda: _alive(parts.membership),
        met=lambda contact: parts.membership.join((contact,)),
    )
    probes = UdpProbes(parts.datagrams)
    reach = Reach(
        probes=probes,
        identity=parts.identity,
        own=parts.own,
        pool=parts.pool,
        listener=parts.listener,
        links=links,
        rendezvous=rendezvous,
        tunnel=tunnel,
        standing=standing,
        nursery=parts.nursery,
        other_addresses=lambda node_id: _dht_addresses(parts.directory, node_id),
    )
    parts.datagrams.detour = tunnel.takes
    parts.datagrams.on_heard = _both(tunnel.heard, probes.heard)
    parts.pool.reach_by(reach)
    parts.pool.on_change = _noting(parts.datagrams, rendezvous)
    return reach


def build_discovery(parts: ReachParts) -> Discovery | None:
    """Make the beacon, unless it is switched off or this node is on loopback only."""
    if not parts.config.lan or is_loopback_only(parts.config):
        return None
    own = Beacon(
        network=parts.mesh.network,
        public_key=parts.identity.public_key,
        port=parts.own.address.port,
        mesh_name=parts.mesh.name,
    )
    machine = BeaconMachine(
        own,
        mesh_keys=parts.mesh_keys,
        rng=Random(int.from_bytes(random_bytes(8), "big")),
        now=trio.current_time(),
    )

    def greet(contact: Contact) -> None:
        parts.membership.join((contact,))
        parts.directory.heard_of(contact, alive=True)

    host = parts.own.address.host
    return Discovery(machine, greet, mdns_host=host if is_literal(host) else "")


def is_loopback_only(config: MeshSettings) -> bool:
    """Return whether a node listens where no other host can reach it."""
    host = config.listen.host
    return host == "localhost" or (is_literal(host) and is_loopback(host))


def relay_settings(config: MeshSettings) -> RelaySettings | None:
    """Return what this node gives as a relay; None if it is none."""
    if not config.relay_bytes_per_s:
        return None
    return RelaySettings(
        bytes_per_s=config.relay_bytes_per_s, circuit_bytes_max=config.relay_circuit_bytes
    )


class _Waking:
    """Connects to contacts that are silent, a few at once."""

    def __init__(self, parts: ReachParts) -> None:
        self._parts = parts
        self._waking = 0

    def wake(self, contact: Contact) -> None:
        if self._waking < WOKEN_MAX:
            self._waking += 1
            self._parts.nursery.start_soon(self._connect, contact)

    async def _connect(self, contact: Contact) -> None:
        try:
            await self._parts.pool.connect(contact)
        except MeshnodeError as error:
            _log.debug("a silent contact stays silent: %s", error)
        finally:
            self._waking -= 1


def _noting(datagrams: DatagramSocket, rendezvous: Rendezvous) -> Callable[[Peer, bool], None]:
    def changed(peer: Peer, here: bool) -> None:
        if not here:
            rendezvous.gone(peer.node_id)
        elif peer.certificate is not None and not peer.relayed:
            datagrams.vouched.note(peer.address.host, peer.public_key, trio.current_time())

    return changed


def _alive(membership: Membership) -> Sequence[Contact]:
    return [member.contact for member in membership.alive()]


def _dht_addresses(directory: Directory, node_id: NodeId) -> Sequence[Address]:
    return [c.address for c in directory.contacts() if c.node_id == node_id]


def _both(
    first: Callable[[Received], None], second: Callable[[Received], None]
) -> Callable[[Received], None]:
    def heard(received: Received) -> None:
        first(received)
        second(received)

    return heard


def _nowhere(received: Received) -> None:
    """Nothing is delivered before the node runs."""
