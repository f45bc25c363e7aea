"""Building: every part of a node, made from a Config bottom up. The composition root.

What connects the parts while they run is in `running.py`.
"""

import logging
from functools import partial
from hashlib import blake2b

import trio

from meshnode.config.home import Home
from meshnode.config.settings import Config
from meshnode.dht.machine import DhtMachine
from meshnode.dht.proofs import Proofs
from meshnode.dht.seq_memory import SeqMemory
from meshnode.dht.settings import DhtSettings
from meshnode.errors import PortTaken
from meshnode.gossip.machine import LoadHeard, SwimMachine
from meshnode.gossip.member import Member, MemberState
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.words import Signatures
from meshnode.identity.keys import Identity, random_bytes
from meshnode.identity.mesh import Mesh
from meshnode.ids import Address, Contact, NodeId
from meshnode.labels import MEMORY_PAGE_BYTES, Traits
from meshnode.machine import Random
from meshnode.net.addresses import primary_address
from meshnode.net.channel import MeshChannel
from meshnode.net.connection import Peer
from meshnode.net.datagrams import DatagramSocket
from meshnode.net.listener import Listener, bind_both
from meshnode.net.pool import ConnectionPool
from meshnode.net.settings import NetSettings
from meshnode.net.tokens import Tokens
from meshnode.node.announcing import Announcing
from meshnode.node.answers import Answers
from meshnode.node.catalog import Catalog
from meshnode.node.clock import unix_now
from meshnode.node.directory import Directory
from meshnode.node.fetching import Fetching
from meshnode.node.idling import Idling
from meshnode.node.keyring_parts import Upkeep, admitting
from meshnode.node.library import Library
from meshnode.node.load import LoadReporter
from meshnode.node.membership import Membership
from meshnode.node.memory import recall, recall_names, remember_names
from meshnode.node.node import Node, Parts
from meshnode.node.ordering import Ordering
from meshnode.node.pinning import build_pins
from meshnode.node.placing_building import build_places
from meshnode.node.publishing import PublisherKeys, Publishing
from meshnode.node.reach_building import build_discovery, build_reach, reach_parts
from meshnode.node.requests import Requests
from meshnode.node.runtime_building import build_lanes, build_runtime
from meshnode.node.spreading import Spreading
from meshnode.node.unfit import Unfit
from meshnode.placement.board import Scoreboard
from meshnode.placement.observe import LoadMeter
from meshnode.placement.settings import PlacementSettings
from meshnode.runtime.providers import (
    ACCELERATORS,
    described,
    detect_caps,
    survey,
    with_interfaces,
)
from meshnode.runtime.runtime import calibrate
from meshnode.storage.blobs import BlobStore
from meshnode.storage.state import read_secret
from meshnode.wire.limits import CONTACTS_PER_REPLY_MAX, MIB
from meshnode.wire.messages import LoadRecord, Reply, Request

_log = logging.getLogger(__name__)
PORT_TRIES = 20
"""A busy default port moves up, as Syncthing does; a port that was asked for does not."""


class Building:
    """Puts the parts together, in the order in which they need each other."""

    def __init__(self, config: Config, home: Home, identity: Identity, mesh: Mesh) -> None:
        self.config = config
        self.home = home
        self.identity = identity
        self.mesh = mesh
        self.saved = recall(home.state_file)
        self.stopping = trio.Event()
        self.mesh_changed = trio.Event()
        self.unfit = Unfit()
        self.traits = Traits(
            config.node.labels,
            config.budget.memory_bytes // MIB,
            config.policy.max_memory_bytes // MEMORY_PAGE_BYTES,
        )
        self.started_at = trio.current_time()

    async def build(self, nursery: trio.Nursery, *, probe_port: bool) -> None:
        """Make and bind everything; nothing runs yet. See `open_node` for what it raises."""
        self._trust_and_admission()
        await self._network(nursery, probe_port=probe_port)
        self._machines(await self._look_at_the_machine())
        await self._modules()
        self._running(nursery)
        self._reach(nursery)
        self._placing()
        self._publishing()
        await self.library.open()
        self.unfit.on_failed = lambda module: nursery.start_soon(self.announcing.withdraw, module)

    # ------------------------------------------------------------------ the parts, bottom up

    def _trust_and_admission(self) -> None:
        self.log, self.book, self.trust, self.admissions = admitting(
            self.home,
            self.identity,
            self.mesh,
            accept_mesh=self.config.policy.publishers == "mesh",
        )

    async def _network(self, nursery: trio.Nursery, *, probe_port: bool) -> None:
        net = NetSettings()
        self.channel = channel = MeshChannel(
            self.identity,
            self.mesh,
            invites=self.admissions.psks,
            unix_now=unix_now,
            keys=self.book.ring,
            revoked=self.book.revoked,
            judged=self.book.judged,
        )
        self.datagrams = DatagramSocket(
            self.identity,
            mesh=self.book.ring,
            settings=net,
            cookies_secret=self._secret(b"cookies"),
        )
        self.datagrams.seeds.update(seed.public_key for seed in self.mesh.seeds)
        self.pool = ConnectionPool(channel, net, nursery)
        self.tokens = Tokens()
        met = self.datagrams.vouched
        self.listener = Listener(
            channel, net, self._answer, pool=self.pool, tokens=self.tokens, vouched=met
        )
        port = await self._bind(probe_port=probe_port)
        self.contact = Contact(self.identity.public_key, self._own_address(port))

    async def _bind(self, *, probe_port: bool) -> int:
        """Bind UDP and TCP: the last run's port if the choice is ours, so that peers find us."""
        listen = self.config.mesh.listen
        if self.saved.port and (probe_port or listen.port == 0):
            try:
                return await bind_both(self.datagrams, self.listener, listen.host, self.saved.port)
            except PortTaken:
                _log.info("port %d of the last run is taken; moving", self.saved.port)
        tries = PORT_TRIES if probe_port else 1
        return await bind_both(self.datagrams, self.listener, listen.host, listen.port, tries=tries)

    async def _look_at_the_machine(self) -> int:
        claimed = self.config.caps.use
        wanted = ACCELERATORS if claimed is None else claimed
        found, self.verdicts, speed = await trio.to_thread.run_sync(
            lambda: (detect_caps(wanted), survey(wanted), calibrate())
        )
        offered = with_interfaces(found) & self.config.policy.caps
        # What policy refuses is not advertised: peers would send requests here for nothing.
        self.caps = offered if claimed is None else claimed & offered
        return round(speed * self.config.simulate.slowdown)

    def _machines(self, speed: int) -> None:
        config = self.config
        rng = Random(int.from_bytes(random_bytes(8), "big"))
        self.meter = LoadMeter(
            self.contact.node_id,
            speed=speed,
            batch_max=config.batch.max,
            started_unix_s=int(unix_now()),
        )
        self.board = Scoreboard(
            PlacementSettings(sticky_ms=5.0 if config.placement.sticky else 0.0)
        )
        swim = SwimMachine(
            self.contact,
            name=config.node.name,
            caps=self.caps,
            incarnation=self.saved.incarnation + 1,
            traits=self.traits,
            settings=GossipSettings(),
            witness=Signatures(self.identity, self.mesh.network),
            rng=rng,
        )
        self.membership = Membership(
            swim,
            send=self.datagrams.send,
            on_load=self._judged_load,
            on_change=self._member_changed,
        )
        names = recall_names(self.home.names_file)
        dht = DhtMachine(
            self.contact,
            self.mesh.network,
            DhtSettings(),
            rng,
            seeds=self.mesh.seeds,
            seqs=SeqMemory(names.seqs),
            proofs=Proofs(names.proofs),
        )
        self.directory = Directory(
            dht,
            network=self.mesh.network,
            send=self.datagrams.send,
            save=partial(remember_names, self.home.names_file),
        )

    async def _modules(self) -> None:
        self.blobs = await trio.to_thread.run_sync(
            lambda: BlobStore(self.home.store, bytes_max=self.config.budget.store_bytes)
        )
        fetching = Fetching(
            blobs=self.blobs,
            pool=self.pool,
            membership=self.membership,
            directory=self.directory,
        )
        self.library = Library(self.home.data / "modules.cbor", self.blobs, self.trust, fetching)
        self.catalog = Catalog(
            library=self.library,
            directory=self.directory,
            membership=self.membership,
            pool=self.pool,
            trust=self.trust,
            own_name=self.config.node.name,
        )

    def _running(self, nursery: trio.Nursery) -> None:
        self.runtime = build_runtime(
            self.config,
            aot_cache=self.home.aot_cache,
            mac_key=self._secret(b"aot"),
            caps=self.caps,
        )
        self.lanes = build_lanes(
            self.config,
            self.library,
            self.runtime,
            self.meter,
            nursery=nursery,
            unfit=self.unfit,
        )
        self.load = LoadReporter(
            self.meter,
            held=lambda: tuple(i.module for i in self.library.modules),
            warm=lambda: self.lanes.ready,
            draining=self.stopping.is_set,
        )

    def _reach(self, nursery: trio.Nursery) -> None:
        parts = reach_parts(self, nursery)
        self.reach = build_reach(parts)
        self.discovery = build_discovery(parts)

    def _placing(self) -> None:
        self.view, self.local = build_places(self)
        self.requests = Requests(
            local=self.local,
            view=self.view,
            board=self.board,
            pool=self.pool,
            membership=self.membership,
            ordering=Ordering(self.board, Random(int.from_bytes(random_bytes(8), "big"))),
            on_load=self._heard_in_a_call,
        )
        self.idling = Idling(
            lanes=self.lanes,
            load=self.load,
            board=self.board,
            membership=self.membership,
            pool=self.pool,
            on_load=self._heard_in_a_call,
        )

    def _publishing(self) -> None:
        own_id, own_name = self.contact.node_id, self.config.node.name
        self.announcing = Announcing(
            identity=self.identity,
            mesh=self.mesh,
            address=self.contact.address,
            blobs=self.blobs,
            directory=self.directory,
            unix_now=unix_now,
            rng=Random(int.from_bytes(random_bytes(8), "big")),
        )
        self.publishing = Publishing(
            own_caps=self.caps,
            keys=PublisherKeys(
                self.identity, self.mesh, self.admissions, self.trust, self.publisher, unix_now
            ),
            trust=self.trust,
            library=self.library,
            catalog=self.catalog,
            lanes=self.lanes,
            announcing=self.announcing,
            spreading=Spreading(own_id, own_name, self.membership, self.pool),
        )
        self.pins = build_pins(self)
        self.upkeep = Upkeep(self)
        self.answers = Answers(
            requests=self.requests,
            library=self.library,
            admissions=self.admissions,
            members=self._members_for_a_joiner,
            hold=self.publishing.hold,
            reconcile=self.upkeep.reconciling.answer,
            reach=self.reach.answer,
            idling=self.idling,
        )

    # ------------------------------------------------------------------ what parts tell each other

    async def _answer(self, peer: Peer, request: Request) -> Reply:
        return await self.answers.answer(peer, request)

    def _judged_load(self, heard: LoadHeard) -> None:
        self.board.on_record(heard.record, None, trio.current_time(), judged=not heard.late)

    def _heard_in_a_call(self, speaker: NodeId, record: LoadRecord) -> None:
        heard = self.board.on_word(speaker, record, trio.current_time())
        if heard is not None:
            self.membership.hear_load(heard)

    def _member_changed(self, member: Member) -> None:
        self.mesh_changed.set()
        self.view.forget_fields()
        self.directory.heard_of(member.contact, alive=member.state is MemberState.ALIVE)
        if member.state is MemberState.SUSPECT:
            self.reach.tunnel.doubt(member.contact)
        if member.state is MemberState.ALIVE:
            self.upkeep.reconciling.met(member.contact)
        else:
            self.requests.on_doubt(member.contact.node_id)
        if member.state in (MemberState.DEAD, MemberState.LEFT):
            self.board.forget(member.contact.node_id)
            self.pool.drop(member.contact.node_id)

    def _members_for_a_joiner(self) -> tuple[Contact, ...]:
        members = (self.contact, *(m.contact for m in self.membership.alive()))
        return members[:CONTACTS_PER_REPLY_MAX]

    # ------------------------------------------------------------------ small things

    def _secret(self, purpose: bytes) -> bytes:
        """Return 32 bytes only this node can compute, the same after a restart."""
        return blake2b(purpose, key=self.identity.seed, digest_size=32, person=b"meshnode").digest()

    def _own_address(self, port: int) -> Address:
        if self.config.mesh.advertise:
            return self.config.mesh.advertise[0]
        host = self.config.mesh.listen.host
        return Address(primary_address() if host in ("0.0.0.0", "::", "") else host, port)

    def publisher(self) -> Identity | None:
        """Return this user's publisher key, which `meshnode pack` makes when it first signs."""
        seed = read_secret(self.home.publisher_key)
        return None if seed is None else Identity.from_seed(seed)

    def node(self) -> Node:
        """Return the facade that the doors use."""
        return Node(
            Parts(
                config=self.config,
                identity=self.identity,
                mesh=self.mesh,
                contact=self.contact,
                caps=self.caps,
                membership=self.membership,
                directory=self.directory,
                board=self.board,
                trust=self.trust,
                library=self.library,
                catalog=self.catalog,
                lanes=self.lanes,
                pins=self.pins,
                load=self.load,
                requests=self.requests,
                publishing=self.publishing,
                admissions=self.admissions,
                upkeep=self.upkeep,
                log=self.log,
                reach=self.reach,
                discovery=self.discovery,
                started_at=self.started_at,
                stopping=self.stopping,
                accelerators=lambda: described(self.verdicts, self.runtime.fallbacks),
            )
        )
