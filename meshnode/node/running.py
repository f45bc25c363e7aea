"""Running: the tasks of a node, all visible in one place.

`building.py` makes the parts; this starts them, hands each datagram to its machine, and keeps
what has to be kept going: bootstrap, the peer cache, pinned modules, announcements.
"""

import logging

import trio

from meshnode.dht.records import NodeRecord
from meshnode.errors import StoreError
from meshnode.ids import Contact
from meshnode.node.building import Building
from meshnode.node.clock import unix_now
from meshnode.node.driver import deliver_safely
from meshnode.node.library import ModuleInfo
from meshnode.node.membership import rejoin_lost
from meshnode.node.memory import Remembered, remember
from meshnode.wire.messages import (
    Ack,
    Gossip,
    LoadRecord,
    MembershipWord,
    Ping,
    PingRequest,
    Received,
)

_log = logging.getLogger(__name__)
SAVE_EVERY_S = 10.0
"""The peer cache is written this often, and whenever the mesh has changed: a node that is killed
a moment after it met its first peer must find it again."""
SAVE_GATHER_S = 0.5
"""Changes come in crowds; so much later one write holds them all."""
REJOIN_EVERY_S = 5.0
BOOTSTRAP_EVERY_S = 120.0
NODE_RECORD_TTL_S = 3600
WITHDRAW_S = 1.0
"""A node that stops says so to those who would send others here; not at any cost."""


class Running:
    """A built node's tasks."""

    def __init__(self, parts: Building) -> None:
        self._parts = parts

    def start(self, nursery: trio.Nursery) -> None:
        """Start every task in the node's nursery."""
        deliver = deliver_safely(self._deliver)
        self._parts.reach.tunnel.deliver = deliver
        nursery.start_soon(self._parts.datagrams.run, deliver)
        nursery.start_soon(self._parts.listener.run)
        self._parts.upkeep.start(nursery)
        nursery.start_soon(self._parts.membership.run)
        nursery.start_soon(self._parts.directory.run)
        nursery.start_soon(self._parts.announcing.run)
        nursery.start_soon(self._parts.load.run, self._publish_load)
        nursery.start_soon(
            rejoin_lost, self._parts.membership, self._known_contacts, REJOIN_EVERY_S
        )
        nursery.start_soon(self._parts.reach.standing.run)
        nursery.start_soon(self._parts.reach.upgrading().run)
        if self._parts.discovery is not None:
            nursery.start_soon(self._parts.discovery.run)
        nursery.start_soon(self._keep_bootstrapped)
        nursery.start_soon(self._keep_saved)
        self._parts.library.on_held = self._held
        nursery.start_soon(self._parts.pins.run)
        nursery.start_soon(self._parts.lanes.unload_idle)
        nursery.start_soon(self._parts.requests.run)
        nursery.start_soon(self._parts.idling.run)
        nursery.start_soon(self._announce_names)
        self._parts.directory.keep_announced(
            b"node", self._node_record, self._parts.identity, NODE_RECORD_TTL_S / 2
        )
        for info in self._parts.library.modules:
            self._parts.announcing.held(info)

    async def _announce_names(self) -> None:
        """Say again what this user's publisher means by its names, as a restart forgot them."""
        signer = self._parts.publisher()
        for info in self._parts.library.modules:
            if signer is not None and info.publisher == signer.public_key:
                await self._parts.announcing.name(info, signer)

    def _deliver(self, received: Received) -> None:
        """Give a datagram to the machine whose language it speaks; a seed speaks only the DHT's."""
        heard = self._parts.upkeep.expelled.without_expelled(received)
        if heard is None:
            return
        received = heard
        if isinstance(received.message, Ping | Ack | PingRequest | Gossip | MembershipWord):
            if received.sender.public_key not in self._parts.datagrams.seeds:
                self._parts.membership.receive(received)
        elif self._parts.reach.standing.lets_in(received):
            self._parts.directory.receive(received)

    def _publish_load(self, record: LoadRecord) -> None:
        self._parts.library.drop_evicted()
        self._parts.library.set_warm(self._parts.lanes.warm)
        self._parts.membership.set_load(record)

    def _known_contacts(self) -> list[Contact]:
        known = dict.fromkeys((*self._parts.directory.contacts(), *self._parts.saved.contacts))
        nobody = self._parts.datagrams.seeds | self._parts.book.expelled
        own = self._parts.contact.public_key
        return [c for c in known if c.public_key not in nobody and c.public_key != own]

    async def _keep_bootstrapped(self) -> None:
        """Ask the peer cache and every seed, now and again, so that two half-meshes heal."""
        while True:
            nobody = self._parts.book.expelled | {self._parts.contact.public_key}
            saved = self._parts.saved.contacts
            contacts = tuple(c for c in saved if c.public_key not in nobody)
            self._parts.directory.join((*self._parts.mesh.seeds, *contacts))
            self._parts.membership.join(contacts)
            await trio.sleep(BOOTSTRAP_EVERY_S)

    async def _keep_saved(self) -> None:
        while True:
            changed = self._parts.mesh_changed = trio.Event()
            await trio.to_thread.run_sync(self._save)
            with trio.move_on_after(SAVE_EVERY_S):
                await changed.wait()
                await trio.sleep(SAVE_GATHER_S)

    def _held(self, info: ModuleInfo) -> None:
        """A module has come here whole."""
        self._parts.announcing.held(info)
        self._parts.pins.came()

    def _save(self) -> None:
        """Write the peer cache; those known before and not met again are kept behind the living.

        A disk that is full, or gone, must not end a node that serves.
        """
        expelled = self._parts.book.expelled
        members = self._parts.membership.members()
        alive = [m.contact for m in members if m.contact.public_key not in expelled]
        known = tuple(dict.fromkeys((*alive, *self._known_contacts())))
        latest = {c.public_key: c for c in reversed(known)}
        state = Remembered(
            self._parts.membership.incarnation,
            self._parts.contact.address.port,
            tuple(reversed(latest.values())),
        )
        try:
            remember(self._parts.home.state_file, state)
        except StoreError as error:
            _log.warning("the peer cache is not kept: %s", error)

    def _node_record(self) -> NodeRecord:
        return NodeRecord(
            network=self._parts.mesh.network,
            public_key=self._parts.identity.public_key,
            addresses=(self._parts.contact.address,),
            name=self._parts.config.node.name,
            caps=self._parts.caps,
            seq=int(unix_now() * 1000),
            ttl_s=NODE_RECORD_TTL_S,
        )

    async def close(self) -> None:
        """Say goodbye and keep what is to be remembered."""
        self._parts.lanes.stop_taking()
        self._parts.membership.leave()
        with trio.move_on_after(WITHDRAW_S):
            await self._parts.announcing.withdraw_all()
        await self._parts.lanes.close_all()
        await self._parts.directory.save()
        self._save()
