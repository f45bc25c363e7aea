"""Member: what one node of the shipped mesh keeps: its board, meter, gate, loads and neighbours."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from meshnode.caps import Caps
from meshnode.gossip.loads import LoadTable
from meshnode.gossip.turn import Turn
from meshnode.ids import Address, Contact, ContentHash, NodeId, NodeTag, PublicKey, tag_of
from meshnode.machine import Random
from meshnode.placement.board import Scoreboard, Standing
from meshnode.placement.candidate import Candidate
from meshnode.placement.choose import Decision, choose
from meshnode.placement.field import Field
from meshnode.placement.gate import ColdGate
from meshnode.placement.idle import IdleCaller, Neighbour, neighbour
from meshnode.placement.observe import LoadMeter
from meshnode.placement.score import cold_ms
from meshnode.placement.settings import PlacementSettings
from meshnode.placement.told import Told
from meshnode.sim.fleet.fleet import Fleet
from meshnode.sim.fleet.request import Request
from meshnode.sim.fleet.server import Server
from meshnode.sim.fleet.views import by_site, views
from meshnode.wire.messages import LoadRecord

LOAD_AGE_S_MAX = 30.0
PAYLOAD_BYTES = 25_000
"""Of a frame; paths carry it in the time that the model says, and nodes know that."""


@dataclass(frozen=True, slots=True)
class Names:
    """The ids of one node."""

    contact: Contact
    node_id: NodeId
    tag: NodeTag


def names(index: int) -> Names:
    """Return a node's ids."""
    key = PublicKey(index.to_bytes(32, "big"))
    contact = Contact(key, Address("10.0.0.1", 6174))
    return Names(contact, contact.node_id, tag_of(contact.node_id))


def module_hash(module: int) -> ContentHash:
    """Return a module's hash."""
    return ContentHash(module.to_bytes(2, "big") * 16)


@dataclass(slots=True)
class Member:
    """One node's placement, and what it needs of the others."""

    index: int
    names: Names
    server: Server
    settings: PlacementSettings
    modules: list[ContentHash]
    liar: bool
    board: Scoreboard
    meter: LoadMeter
    loads: LoadTable
    gate: ColdGate
    caller: IdleCaller
    near: list[int] = field(default_factory=list)
    """On its LAN."""
    lan: list[Standing] = field(default_factory=list)
    """What the board knows of those."""
    view: list[int] = field(default_factory=list)
    fields: list[Field] = field(default_factory=list)
    others: list[Candidate] = field(default_factory=list)
    """Without their records."""
    places: dict[NodeTag, int] = field(default_factory=dict)
    """Numbers of the modules."""
    turn: Turn = field(default_factory=Turn)
    told: Told = field(default_factory=Told)
    idle_at: float | None = None
    """When its caller is due, as far as the heap knows."""

    def record(self, now: float) -> LoadRecord:
        """Return all that this node says of itself; a liar says that it is idle."""
        warm = [self.modules[m] for m in self.server.warm]
        said = self.meter.record(now, held=self.modules, warm=warm, draining=False)
        return idle(said) if self.liar else said

    def word(self, now: float, about: int | None) -> LoadRecord:
        """Return what rides on a call, with one module told; None: with none."""
        warm = [self.modules[m] for m in self.server.warm]
        module = None if about is None else self.modules[about]
        said = self.meter.word(now, module, held=self.modules, warm=warm, draining=False)
        return idle(said) if self.liar else said

    def own(self) -> Candidate:
        """Return this node as a candidate, without a record."""
        return Candidate(
            contact=self.names.contact,
            name="own",
            caps=Caps.CPU,
            rtt_ms=0.0,
            load=None,
            load_age_s=0.0,
            holds=True,
            is_self=True,
        )

    def remaining_ms(self, request: Request, now: float) -> float:
        """Return what it says a request still takes; a liar says that it is about to begin."""
        first_ms = self.meter.first_ms(self.modules[request.module]) or 0.0
        return first_ms if self.liar else self.meter.wait_ms(now) + first_ms

    def reborn(self, now: float) -> None:
        """Be a new process: the queue is gone, and its sequences are above the old ones."""
        self.meter = LoadMeter(
            self.names.node_id,
            speed=100,
            batch_max=self.server.kind.batch_max,
            started_unix_s=1 + int(now),
        )
        kept = self.server.kind
        at = now - 100.0
        for module in self.modules:
            for n in range(1, kept.batch_max + 1):
                for _ in range(n):
                    self.meter.enqueued(module, at)
                self.meter.started(module, n, at, batch_max=kept.batch_max)
                at += self.server.batch_ms(n) / 1000
                self.meter.finished(module, n, at)

    def hear(self, record: LoadRecord, rtt_ms: float, now: float) -> None:
        """Take another node's record from its own mouth."""
        self.board.on_record(record, rtt_ms, now)
        self.loads.hear(record, rtt_ms / 2, now, direct=True)

    def completion_ms(self, module: int, now: float) -> float | None:
        """Return as `node/load.py` does when a request that comes now would be done."""
        first_ms = self.meter.first_ms(self.modules[module])
        if first_ms is None:
            return None
        ready = module in self.server.warm or module == self.server.loading
        cold = 0.0 if ready else cold_ms(True, 0, self.settings)
        return self.meter.wait_ms(now) + first_ms + cold

    def decide(self, module: int, source: str, without: set[NodeId], now: float) -> Decision:
        """Rank the view as `node/view.py` does."""
        own = replace(self.own(), load=self.word(now, module))
        candidates = [own] if self.names.node_id not in without else []
        for each in self.others:
            node_id = each.contact.node_id
            if node_id not in without:
                load, age_s = self.board.record_of(node_id, now)
                candidates.append(replace(each, load=load, load_age_s=age_s))
        return choose(
            candidates,
            board=self.board,
            module=self.modules[module],
            required=Caps.CPU,
            payload_bytes=PAYLOAD_BYTES,
            source=source,
            now=now,
        )

    # ------------------------------------------------------------------ idle calls

    def neighbours(self, tags: list[NodeTag], now: float) -> Iterator[Neighbour]:
        """Yield what it believes of those on its LAN that may be worth a call."""
        if not self.lan:
            self.lan = [self.board.known(tags[i]) for i in self.near]
        warm: dict[NodeTag, float] = {}
        for module in self.server.warm:
            first_ms = self.meter.first_ms(self.modules[module])
            if first_ms is not None:
                warm[tag_of(self.modules[module])] = first_ms
        for standing in self.lan:
            found = neighbour(standing, warm, now, self.settings)
            if found is not None:
                yield found


def idle(said: LoadRecord) -> LoadRecord:
    """Return what a liar makes of a record."""
    rest = None if said.rest is None else replace(said.rest, waits=0)
    return replace(said, wait=0, wait_mean=0, wait_sigma=0, in_flight=0, rest=rest)


def members(fleet: Fleet, settings: PlacementSettings) -> list[Member]:
    """Return all nodes with their views: the own site, then far nodes drawn by capacity."""
    all_names = [names(spot.index) for spot in fleet.spots]
    modules = [module_hash(m) for m in range(fleet.shape.modules)]
    rng = Random(f"liars {fleet.trial.seed}")
    scopes = views(fleet)
    liars = set(rng.sample(range(len(all_names)), round(fleet.trial.liars * len(all_names))))
    sites = by_site(fleet)
    found: list[Member] = []
    for spot, named in zip(fleet.spots, all_names, strict=True):
        board = Scoreboard(settings)
        member = Member(
            index=spot.index,
            names=named,
            server=fleet.servers[spot.index],
            settings=settings,
            modules=modules,
            liar=spot.index in liars,
            board=board,
            meter=LoadMeter(named.node_id, speed=100, batch_max=spot.kind.batch_max),
            loads=LoadTable(LOAD_AGE_S_MAX),
            gate=ColdGate(settings),
            caller=IdleCaller(settings),
            near=[i for i in sites[spot.site] if i != spot.index],
            places={tag_of(m): i for i, m in enumerate(modules)},
        )
        member.view = scopes[spot.index]
        member.others = [
            Candidate(
                contact=all_names[i].contact,
                name=str(i),
                caps=Caps.CPU,
                rtt_ms=fleet.rtt_ms(spot.index, i),
                load=None,
                load_age_s=0.0,
                holds=True,
                bytes_per_ms=PAYLOAD_BYTES / (1000 * fleet.transfer_s(spot.index, i) or 0.01),
            )
            for i in member.view
        ]
        found.append(member)
    return found
