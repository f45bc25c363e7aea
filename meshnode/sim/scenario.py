"""One run from one seed: a mesh forms, suffers, is left in peace, and must be whole again."""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from meshnode.dht.machine import PublishFinished
from meshnode.ids import Contact, ContentHash
from meshnode.machine import Random
from meshnode.sim.clocks import Clock, Pace
from meshnode.sim.faults import Faults
from meshnode.sim.fetching import Fetch
from meshnode.sim.gossiping import GOSSIP_KINDS
from meshnode.sim.hostile import Accuser, Hostile
from meshnode.sim.invariants import Broken, Invariants
from meshnode.sim.knobs import FORM_S, Knobs, draw
from meshnode.sim.liars import Liar
from meshnode.sim.links import Link
from meshnode.sim.mesh import SimMesh
from meshnode.sim.nat import Nat, NatKind
from meshnode.sim.node import SimNode
from meshnode.sim.placing import Load, Placing
from meshnode.sim.serving import ServiceModel

LOOKS = 3
LOOKS_APART_S = 1.0
"""Who is missed at the end is missed for so many seconds on end."""
MODULE = ContentHash(b"m" * 32)
LOOKUP_EVERY_S = 1.0
FETCH_EVERY_S = 5.0
BLOB_BYTES = 700_000
"""Three pieces."""
FINAL_LOOKUPS = 12
JOIN_EVERY_S = 0.3


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a run came to."""

    seed: int
    nodes: int
    digest: str
    """The same for the same seed on every machine."""
    steps: int
    packets: int
    knobs: str
    failure: str = ""
    """What did not hold, and when; empty if everything did."""
    facts: dict[str, float] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """What replays this run."""
        return f"python -m meshnode.sim run --seed {self.seed} --nodes {self.nodes}"


class Scenario:
    """A mesh under the knobs of a seed."""

    def __init__(self, seed: int, *, nodes: int | None = None, knobs: Knobs | None = None) -> None:
        self.seed = seed
        self.knobs = knobs or draw(seed, nodes=nodes)
        self.rng = Random(f"scenario {seed}")
        self.mesh = SimMesh(seed, link=self.knobs.link, trace=True)
        self.invariants = Invariants(self.mesh)
        self.faults = Faults(self.mesh, self.knobs, Random(f"faults {seed}"))
        self.honest: list[SimNode] = []
        self.placing = Placing(self.mesh, Random(f"requests {seed}"))
        self._hostile: list[Contact] = []
        if self.knobs.back is not self.knobs.link:
            self.mesh.network.routes.between = _both_ways(self.knobs.link, self.knobs.back)

    def run(self) -> Outcome:
        """Run it to its end, or to the first thing that does not hold."""
        failure = ""
        try:
            self._form()
            self._suffer()
            self._settle()
        except AssertionError as broken:  # an invariant, or an assertion of a machine
            failure = f"at {self.mesh.world.now:.3f} s: {str(broken) or type(broken).__name__}"
        network = self.mesh.network
        return Outcome(
            seed=self.seed,
            nodes=self.knobs.nodes,
            digest=network.digest,
            steps=self.mesh.world.steps,
            packets=network.sent,
            knobs=self.knobs.line(),
            failure=failure,
            facts={
                "lookups": self.invariants.lookups,
                "rpcs": self.invariants.rpcs,
                "false_deaths": self.invariants.false_deaths,
                "gossip_bytes_s": self.invariants.gossip.worst,
                **self.placing.facts(),
            },
        )

    # ------------------------------------------------------------------ phases

    def _form(self) -> None:
        knobs = self.knobs
        for index in range(knobs.nodes):
            node = self.mesh.add(clock=self._clock(), pace=Pace(), site=1 + index % 2)
            self.honest.append(node)
            self.invariants.members.add(node.identity.public_key)
        for index in range(knobs.hostile + knobs.liars):
            self._add_hostile(index)
        natted = [self._behind_nat(index) for index in range(knobs.natted)]
        self.invariants.watch()
        self.invariants.gossip.exempt.update(contact.public_key for contact in self._hostile)
        for node in self.honest:
            up = [other.contact for other in self.honest if other.alive]
            node.start((self.rng.choice(up),) if up else ())
            node.hold(MODULE, self._model())
            self.mesh.run(self.rng.random() * JOIN_EVERY_S)
        for node in natted:
            node.start((self.rng.choice(self.honest).contact,))
        for _ in range(knobs.strangers):
            stranger = self.mesh.add(mesh=b"another")
            stranger.start(tuple(node.contact for node in self.honest))
        self.mesh.run(FORM_S)

    def _suffer(self) -> None:
        knobs, world = self.knobs, self.mesh.world
        self._begin_lookups(until=world.now + knobs.faults_s)
        for node in self.honest:
            for hostile in self._hostile:
                node.join((hostile,))
        if knobs.requests_s:
            load = Load(
                MODULE, knobs.requests_s, until=world.now + knobs.faults_s, budget_s=knobs.budget_s
            )
            self.placing.begin(load, self.honest)
        self._begin_fetches(until=world.now + knobs.faults_s)
        self.faults.begin(self.honest)
        self.mesh.run(knobs.faults_s)
        self.faults.end()

    def _settle(self) -> None:
        """Liveness: everybody alive is seen alive by all, and what is published is found."""
        for contact in self._hostile:
            self.mesh.network.kill(contact)
        for stranger in self.mesh.nodes:
            if stranger.alive and (stranger.place.mesh or stranger.place.nat):
                stranger.crash()  # nobody need see who cannot be reached
        self.mesh.network.link = Link(delay_s=0.01, jitter_s=0.002)
        self.mesh.network.routes.between = {}
        self.mesh.run(self.knobs.settle_s)
        unseen = self.mesh.unseen()
        for _ in range(LOOKS):  # an accusation is refuted in less than a second
            if unseen:
                self.mesh.run(LOOKS_APART_S)
                still = self.mesh.unseen()
                unseen = [pair for pair in unseen if pair in still]
        if unseen:
            by, whom = unseen[0]
            raise Broken(
                f"{len(unseen)} views miss somebody alive after {self.knobs.settle_s:.0f} s of"
                f" peace, the first: {by.name} of {whom.name}"
            )
        self._find_everything()
        self._fetch_everything()
        self.placing.check_ended()

    # ------------------------------------------------------------------ what is asked of it

    def _begin_lookups(self, until: float) -> None:
        def one() -> None:
            up = [node for node in self.honest if node.alive]
            if up:
                asker, owner = self.rng.choice(up), self.rng.choice(up)
                ticket = asker.find(owner.own_key, lambda end: self.invariants.count(end.rpcs))
                self.invariants.expect_end(asker, ticket, "lookup")
            if self.mesh.world.now + LOOKUP_EVERY_S < until:
                self.mesh.world.call(self.mesh.world.now + LOOKUP_EVERY_S, one)

        self.mesh.world.call(self.mesh.world.now, one)

    def _find_everything(self) -> None:
        """Every node says where it is, and others find it."""
        found: list[tuple[str, bool]] = []

        def published(owner: SimNode, end: PublishFinished) -> None:
            if not end.stored:
                raise Broken(f"nobody keeps the record of {owner.name}")
            others = [node for node in self.honest if node is not owner]
            asker = self.rng.choice(others)
            key = owner.own_key
            asker.find(key, lambda end: found.append((owner.name, bool(end.records))))

        chosen = self.rng.sample(self.honest, min(FINAL_LOOKUPS, len(self.honest)))
        for owner in chosen:
            owner.publish(owner.own_record(), lambda end, o=owner: published(o, end))  # type: ignore[misc]
        self.mesh.run(15.0)
        missed = [name for name, ok in found if not ok]
        if missed or len(found) < len(chosen):
            raise Broken(f"{len(found)} of {len(chosen)} lookups ended, without {missed}")

    def _begin_fetches(self, until: float) -> None:
        """Two nodes hold a blob; now and then another one fetches it from whoever has it."""
        self.blob = self.rng.randbytes(BLOB_BYTES)
        self.blob_name = ContentHash(sha256(self.blob).digest())
        for node in self.honest[:2]:
            node.blobs[self.blob_name] = self.blob

        def one() -> None:
            wanting = [n for n in self.honest if n.alive and self.blob_name not in n.blobs]
            if wanting:
                self._fetch(self.rng.choice(wanting), lambda why: None)
            if self.mesh.world.now + FETCH_EVERY_S < until:
                self.mesh.world.call(self.mesh.world.now + FETCH_EVERY_S, one)

        self.mesh.world.call(self.mesh.world.now, one)

    def _fetch(self, node: SimNode, ended: Callable[[str], None]) -> None:
        holders = [n.contact for n in self.honest if self.blob_name in n.blobs]
        Fetch(self.mesh.streams, node, self.blob_name, holders, ended).start()

    def _fetch_everything(self) -> None:
        """With everybody up and the network good, who lacks the blob gets it, and it is exact."""
        failed: list[str] = []

        def ended(why: str) -> None:
            if why:
                failed.append(why)

        for node in self.honest:
            if self.blob_name not in node.blobs:
                self._fetch(node, ended)
        self.mesh.run(30.0)
        wrong = [n.name for n in self.honest if n.blobs.get(self.blob_name) != self.blob]
        if wrong:
            raise Broken(f"{wrong} have not the whole blob: {failed}")

    # ------------------------------------------------------------------ parts

    def _clock(self) -> Clock:
        drift = self.knobs.drift
        return Clock(
            offset_s=self.rng.choice((0.0, 1000.0)),
            rate=1.0 + self.rng.uniform(-drift, drift),
            unix_skew_s=self.rng.uniform(-60.0, 60.0),
        )

    def _model(self) -> ServiceModel:
        return ServiceModel(
            fixed_ms=round(self.rng.uniform(1.0, 10.0), 1),
            each_ms=round(self.rng.uniform(2.0, 40.0), 1),
        )

    def _add_hostile(self, index: int) -> None:
        """A member that answers the DHT's questions badly and accuses the others."""
        node = self.mesh.add(host=f"10.99.0.{index + 1}")
        self.invariants.members.add(node.identity.public_key)
        host = self.mesh.network.host(node.contact)
        victim = self.honest[0].contact
        rng = Random(f"hostile {self.seed} {index}")
        self.mesh.network.plug(host, Hostile(node.contact, node.identity, rng, victim))
        lies: Accuser | Liar
        if index < self.knobs.hostile:
            lies = Accuser(node.identity, self._contacts, rng)
        else:
            lies = Liar(node.contact, node.identity, self._contacts, rng)
            self.invariants.liars.add(node.identity.public_key)
        self.mesh.network.plug(host, lies, kinds=GOSSIP_KINDS)
        self._hostile.append(node.contact)

    def _contacts(self) -> list[Contact]:
        return [node.contact for node in self.honest]

    def _behind_nat(self, index: int) -> SimNode:
        """A member that cannot be reached unless it spoke first, behind a box of its own."""
        node = self.mesh.add(host=f"192.168.{index}.2", clock=self._clock(), pace=Pace())
        kind = self.rng.choice(list(NatKind))
        node.place.nat = Nat(kind, f"10.98.0.{index + 1}", idle_s=self.rng.choice((2.0, 30.0)))
        self.invariants.members.add(node.identity.public_key)
        return node


def run_seed(seed: int, *, nodes: int | None = None) -> Outcome:
    """Run the scenario of a seed."""
    return Scenario(seed, nodes=nodes).run()


def _both_ways(there: Link, back: Link) -> dict[tuple[int, int], Link]:
    return {(1, 2): there, (2, 1): back}
