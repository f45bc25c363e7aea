"""SimNode: the machines of a whole node, joined as `node/building.py` and `node/running.py` do.

What is a task there is an action on the world's clock here, with the same periods. A crash takes
the machines away; a restart makes new ones from what was saved by then.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from meshnode.caps import Caps
from meshnode.dht.machine import (
    DhtMachine,
    Doubt,
    FindNodes,
    FindRecords,
    LookupFinished,
    Observe,
    Publish,
    PublishFinished,
)
from meshnode.dht.machine import Join as DhtJoin
from meshnode.dht.records import NodeRecord, Record, key_of, node_key, sign
from meshnode.dht.settings import DhtSettings
from meshnode.gossip.machine import Join as SwimJoin
from meshnode.gossip.machine import Leave, LoadHeard, MemberChanged, SetLoad, Suspect, SwimMachine
from meshnode.gossip.member import Member, MemberState
from meshnode.gossip.settings import GossipSettings
from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact, ContentHash, NetworkId, NodeId
from meshnode.machine import Random
from meshnode.placement.board import Scoreboard
from meshnode.sim.clocks import Clock, Pace
from meshnode.sim.gossiping import GOSSIP_KINDS, swim_machine, want_loads
from meshnode.sim.hostile import NETWORK
from meshnode.sim.nat import Nat
from meshnode.sim.network import OWN_MESH, Host, Network
from meshnode.sim.reporting import REPORT_EVERY_S, Reporting
from meshnode.sim.serving import ServiceModel, Serving
from meshnode.wire.messages import LoadRecord

REJOIN_EVERY_S = 5.0
REJOIN_AT_ONCE = 4
BOOTSTRAP_EVERY_S = 120.0
SAVE_EVERY_S = 10.0
SAVE_GATHER_S = 0.5
ANNOUNCE_AGAIN_S = 5.0
CONTACTS_SAVED_MAX = 256
NODE_RECORD_TTL_S = 3600
"""The periods of `node/running.py`, `node/load.py` and `node/memory.py`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Which machines a node has, and their settings."""

    network: NetworkId = NETWORK
    dht: DhtSettings | None = field(default_factory=DhtSettings)
    """None: no DHT."""
    gossip: GossipSettings | None = field(default_factory=GossipSettings)
    """None: no gossip."""
    announces: bool = True
    """Whether it publishes a record about itself, and again at half of its time."""
    reports: bool = True
    """Whether it tells its load four times a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What a node finds on its disk when it starts again."""

    incarnation: int = 0
    contacts: tuple[Contact, ...] = ()


@dataclass(slots=True, kw_only=True)
class Place:
    """Where and on what a node runs; it stays the same over restarts."""

    address: Address
    clock: Clock | None = None
    pace: Pace | None = None
    nat: Nat | None = None
    mesh: bytes = OWN_MESH
    site: int = 0


class SimNode:
    """One node. It is started when it is made; `crash` and `restart` may follow."""

    def __init__(
        self,
        network: Network,
        identity: Identity,
        place: Place,
        parts: Parts,
        rng: Random,
        *,
        name: str,
        caps: Caps = Caps.CPU,
    ) -> None:
        self.identity = identity
        self.place = place
        self.name = name
        self.caps = caps
        self.contact = Contact(identity.public_key, place.address)
        self.saved = Saved()
        self.alive = False
        self.lives = 0
        """How often it was started."""
        self.host: Host
        self.swim: SwimMachine | None = None
        self.dht: DhtMachine | None = None
        self.board: Scoreboard
        self.serving: Serving
        self.blobs: dict[ContentHash, bytes] = {}
        """What it holds whole, on disk."""
        self.partial: dict[ContentHash, dict[int, bytes]] = {}
        """Verified pieces of what it holds in part, on disk."""
        self.corrupts = False
        """Byzantine: it serves pieces with a bit flipped."""
        self.on_change: Callable[[SimNode, Member], None] | None = None
        """Told of every change that gossip reports; an observer, not a part."""
        self.on_start: list[Callable[[SimNode], None]] = []
        """Told of every start, after it."""
        self._network = network
        self._world = network.world
        self.parts = parts
        self._rng = rng
        self._sponsors: tuple[Contact, ...] = ()
        self._waiting: dict[int, Callable[[Any], None]] = {}
        self._tickets = 0
        self._turn = 0
        self._seq = 0
        self._holds: dict[ContentHash, ServiceModel] = {}
        self._saves_at = float("inf")

    # ------------------------------------------------------------------ life

    def start(self, sponsors: tuple[Contact, ...] = ()) -> None:
        """Start from what is saved, and join through these and whom it knew."""
        parts, place = self.parts, self.place
        self.alive = True
        self.lives += 1
        self.contact = Contact(self.identity.public_key, place.address)
        self.host = self._network.host(
            self.contact, nat=place.nat, mesh=place.mesh, site=place.site
        )
        self._sponsors = tuple(c for c in sponsors if c != self.contact)
        self._waiting.clear()
        self.board = Scoreboard()
        self.serving = Serving(
            self._world, self._rng, self.contact.node_id, lives=self.lives, clock=place.clock
        )
        for module, model in self._holds.items():
            self.serving.hold(module, model, warm=self.lives == 1)
        if parts.dht is not None:
            self.dht = DhtMachine(
                self.contact, parts.network, parts.dht, Random(self._rng.getrandbits(64))
            )
            self._dht_slot = self._plug(self.dht, self._on_dht, ())
        if parts.gossip is not None:
            self.swim = swim_machine(
                self.identity,
                parts.network,
                self.contact,
                name=self.name,
                caps=self.caps,
                incarnation=self.saved.incarnation + 1,
                settings=parts.gossip,
                rng=Random(self._rng.getrandbits(64)),
            )
            self._swim_slot = self._plug(self.swim, self._on_swim, GOSSIP_KINDS)
        self._begin_tasks()
        for started in self.on_start:
            started(self)

    def crash(self) -> Saved:
        """Stop at once, as `kill -9` does; return what is on disk."""
        self.alive = False
        self.serving.stop()
        self._network.kill(self.contact)
        return self.saved

    def hold(self, module: ContentHash, model: ServiceModel) -> None:
        """Have a module on disk, in this life and the later ones; it is warm in the first."""
        self._holds[module] = model
        if self.alive:
            self.serving.hold(module, model, warm=True)

    def jump(self, by_s: float) -> None:
        """Move this node's clock forward."""
        assert self.place.clock is not None, "it has the world's clock"
        self.place.clock.jump(by_s)
        for slot in self.host.slots:
            self._world.rearm(slot.machine)
        self.serving.rearm()

    def leave(self) -> None:
        """Say goodbye; the machines still answer until `crash`."""
        self.save()
        if self.swim is not None:
            self._world.give(self._world.now, self._swim_slot, Leave())

    def save(self) -> None:
        """Write what a restart needs."""
        known = dict.fromkeys((*self._dht_contacts(), *self.saved.contacts))
        self.saved = Saved(
            incarnation=self.swim.incarnation if self.swim else self.saved.incarnation,
            contacts=tuple(known)[:CONTACTS_SAVED_MAX],
        )

    @property
    def now(self) -> float:
        """What this node's own clock says."""
        clock = self.place.clock
        return self._world.now if clock is None else clock.local(self._world.now)

    @property
    def unix_now(self) -> float:
        """What this node takes for the time of day."""
        return (self.place.clock or Clock()).unix(self._world.now)

    # ------------------------------------------------------------------ commands

    def join(self, contacts: tuple[Contact, ...]) -> None:
        """Offer contacts to both machines, as a bootstrap does."""
        if self.dht is not None and contacts:
            self._world.give(self._world.now, self._dht_slot, DhtJoin(contacts))
        if self.swim is not None and contacts:
            self._world.give(self._world.now, self._swim_slot, SwimJoin(contacts))

    def want_loads(self, module: ContentHash) -> None:
        """A request of this module is to be placed: gossip must know whose loads matter."""
        command = want_loads(module, Caps.CPU)
        if command is not None and self.swim is not None:
            self._world.give(self._world.now, self._swim_slot, command)

    def suspect(self, node_id: NodeId) -> None:
        """A call found a node unreachable: have it probed now."""
        if self.swim is not None:
            self._world.give(self._world.now, self._swim_slot, Suspect(node_id))

    def find(
        self, key: bytes, then: Callable[[LookupFinished], None], *, all_of_them: bool = False
    ) -> int:
        """Look records up; `then` gets the end. Return the ticket."""
        ticket = self._ticket(then)
        self._tell_dht(FindRecords(ticket, key, all_of_them))
        return ticket

    def find_nodes(self, target: bytes, then: Callable[[LookupFinished], None]) -> int:
        """Look up who is nearest to a target."""
        ticket = self._ticket(then)
        self._tell_dht(FindNodes(ticket, target))
        return ticket

    def publish(self, record: Record, then: Callable[[PublishFinished], None]) -> int:
        """Sign a record and store it; `then` gets how many keep it."""
        ticket = self._ticket(then)
        self._tell_dht(Publish(ticket, key_of(record), sign(self.identity, record)))
        return ticket

    def waits_for(self, ticket: int) -> bool:
        """Return whether a command of this life has not been answered yet."""
        return ticket in self._waiting

    # ------------------------------------------------------------------ effects

    def _on_swim(self, effect: object) -> None:
        if isinstance(effect, MemberChanged):
            self._changed(effect.member)
        elif isinstance(effect, LoadHeard):
            self.board.on_record(effect.record, None, self.now, judged=not effect.late)

    def _changed(self, member: Member) -> None:
        alive = member.state is MemberState.ALIVE
        if self.dht is not None:
            self._tell_dht(Observe(member.contact) if alive else Doubt(member.contact))
        if not member.state.present:
            self.board.forget(member.contact.node_id)
        if self._saves_at == float("inf"):
            self._saves_at = self._world.now + SAVE_GATHER_S
            self._soon(SAVE_GATHER_S, self._saved_soon)
        if self.on_change is not None:
            self.on_change(self, member)

    def _on_dht(self, effect: object) -> None:
        if isinstance(effect, LookupFinished | PublishFinished):
            then = self._waiting.pop(effect.ticket, None)
            if then is not None:
                then(effect)

    # ------------------------------------------------------------------ what runs all the time

    def _begin_tasks(self) -> None:
        self._bootstrap()
        if self.swim is not None:
            if self.parts.reports:
                reporting = Reporting(self._world, self.serving, self._say_load, self._soon)
                reporting.begin(self._rng.random() * REPORT_EVERY_S)
            self._soon(REJOIN_EVERY_S, self._rejoin)
        if self.dht is not None and self.parts.announces:
            self._soon(self._rng.random(), self._announce)
        self._soon(SAVE_EVERY_S, self._save_again)

    def _bootstrap(self) -> None:
        self.join(tuple(dict.fromkeys((*self._sponsors, *self.saved.contacts))))
        self._soon(BOOTSTRAP_EVERY_S, self._bootstrap)

    def _say_load(self, record: LoadRecord) -> None:
        self._world.give(self._world.now, self._swim_slot, SetLoad(record))

    def _rejoin(self) -> None:
        """Offer gossip what the DHT knows and it does not, as `node/membership.py` does."""
        assert self.swim is not None, "started only with gossip"
        is_present, own = self.swim.is_present, self.contact.public_key
        known = dict.fromkeys((*self._dht_contacts(), *self.saved.contacts))
        missing = [c for c in known if c.public_key != own and not is_present(c.node_id)]
        if missing:
            start = self._turn % len(missing)
            chosen = (missing[start:] + missing[:start])[:REJOIN_AT_ONCE]
            self._world.give(self._world.now, self._swim_slot, SwimJoin(tuple(chosen)))
            self._turn += REJOIN_AT_ONCE
        self._soon(REJOIN_EVERY_S, self._rejoin)

    def _announce(self) -> None:
        def done(finished: PublishFinished) -> None:
            again_s = NODE_RECORD_TTL_S / 2 if finished.stored else ANNOUNCE_AGAIN_S
            self._soon(again_s, self._announce)

        self.publish(self.own_record(), done)

    def own_record(self) -> NodeRecord:
        """Return what this node says about itself now."""
        return NodeRecord(
            network=self.parts.network,
            public_key=self.identity.public_key,
            addresses=(self.contact.address,),
            name=self.name,
            caps=self.caps,
            seq=self._next_seq(),
            ttl_s=NODE_RECORD_TTL_S,
        )

    def _next_seq(self) -> int:
        """Milliseconds of the wall clock, but rising though that is set back."""
        self._seq = max(self._seq + 1, int(self.unix_now * 1000))
        return self._seq

    @property
    def own_key(self) -> bytes:
        """The DHT key of that record."""
        return node_key(self.parts.network, self.contact.node_id)

    def _save_again(self) -> None:
        self.save()
        self._soon(SAVE_EVERY_S, self._save_again)

    def _saved_soon(self) -> None:
        self._saves_at = float("inf")
        self.save()

    # ------------------------------------------------------------------ small things

    def _plug(self, machine: Any, perform: Callable[[object], None], kinds: Any) -> Any:  # noqa: ANN401  # any machine
        place = self.place
        return self._network.plug(
            self.host, machine, perform, kinds=kinds, clock=place.clock, pace=place.pace
        )

    def _tell_dht(self, command: object) -> None:
        self._world.give(self._world.now, self._dht_slot, command)

    def _ticket(self, then: Callable[[Any], None]) -> int:
        self._tickets += 1
        self._waiting[self._tickets] = then
        return self._tickets

    def _soon(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something later, unless this life is over by then."""
        life = self.lives

        def still() -> None:
            if self.alive and self.lives == life:
                act()

        self._world.call(self._world.now + seconds, still)

    def _dht_contacts(self) -> list[Contact]:
        return [] if self.dht is None else self.dht.contacts()
