"""A mesh of gossip machines with real keys on a simulated network, for tests and benches.

Checked at every step: each datagram can be encoded, is within this room's budget, and is no longer
than the machine thinks; a load's sequence, and a member's incarnation, never falls. Nothing here
draws a random number that is not the seed's.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import lru_cache
from hashlib import blake2b

from meshnode.caps import Caps
from meshnode.gossip.machine import (
    Join,
    LoadHeard,
    MemberChanged,
    SwimEffect,
    SwimInput,
    SwimMachine,
)
from meshnode.gossip.member import MemberState
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.sizes import PAYLOAD_BYTES, datagram_bytes
from meshnode.gossip.table import MemberTable
from meshnode.gossip.words import Signatures, Witness
from meshnode.identity.keys import Identity
from meshnode.ids import Contact, NetworkId, NodeId, NodeTag, tag_of
from meshnode.machine import Random
from meshnode.net.datagrams import PADDED_BYTES
from meshnode.net.trimming import answer_bytes, is_question
from meshnode.wire.codec import Envelope, encode_datagram
from meshnode.wire.limits import SEALING_BYTES
from meshnode.wire.messages import Datagram, LoadRecord, Send
from tests.sim.network import Link, Network, contact_of
from tests.sim.world import World

LAN = Link(delay_s=0.0005, jitter_s=0.0002)
ROUGH = Link(delay_s=0.02, jitter_s=0.02, loss=0.2, duplicates=0.1)
NETWORK = NetworkId(b"a mesh of tests!")
ALIVE, SUSPECT, DEAD, LEFT = MemberState


@lru_cache(maxsize=4096)
def identity_of(index: int) -> Identity:
    """The keys of simulated host `index`."""
    return Identity.from_seed(blake2b(b"host%d" % index, digest_size=32).digest())


def person(index: int) -> Contact:
    """The contact of simulated host `index`, with a key that signs."""
    return contact_of(index, identity_of(index).public_key)


def witness_of(index: int) -> Signatures:
    return Signatures(identity_of(index), NETWORK)


def sealed_bytes(message: Datagram, *, cookie: bool) -> int:
    """What a message takes on the wire, with its cookies, padding and seal."""
    around = Envelope(message=message, issued=bytes(8), returned=bytes(8) if cookie else b"")
    pad = not cookie and is_question(message)
    pad_to = min(PADDED_BYTES, answer_bytes(message)) if pad else 0
    return len(encode_datagram(around, pad_to=pad_to)) + SEALING_BYTES


def fits(message: Datagram) -> None:
    """Every datagram fits with both cookies and the seeds' network id around it."""
    around = Envelope(message=message, network=bytes(16), issued=bytes(8), returned=bytes(8))
    assert len(encode_datagram(around)) <= PAYLOAD_BYTES
    for cookie in (True, False):
        assert sealed_bytes(message, cookie=cookie) <= datagram_bytes(message)


class Mesh:
    """Some nodes, and what each of them was told by its machine."""

    def __init__(
        self,
        count: int,
        *,
        seed: int = 1,
        link: Link = LAN,
        trace: bool = False,
        settings: GossipSettings | None = None,
        witness: Callable[[int], Witness] = witness_of,
        check: Callable[[Datagram], object] | None = fits,
    ) -> None:
        self.world: World[SwimInput, SwimEffect] = World()
        self.rng = Random(seed)
        self.settings = settings or GossipSettings()
        self.witness = witness
        self.network = Network(self.world, self.rng, link, check=check, trace=trace)
        self.contacts = [person(i) for i in range(count)]
        self.indices = {contact.public_key: i for i, contact in enumerate(self.contacts)}
        self.machines: dict[Contact, SwimMachine] = {}
        self.changes: dict[Contact, list[tuple[float, MemberChanged]]] = defaultdict(list)
        self.loads: dict[Contact, dict[NodeTag, tuple[float, LoadRecord]]] = defaultdict(dict)
        self.incarnations: dict[tuple[Contact, NodeId], int] = {}
        for contact in self.contacts:
            self.start(contact)

    def start(self, contact: Contact, *, incarnation: int = 1) -> SwimMachine:
        index = self.indices.setdefault(contact.public_key, len(self.indices))
        machine = SwimMachine(
            contact,
            name=f"node-{contact.address.host}",
            caps=Caps.CPU,
            incarnation=incarnation,
            settings=self.settings,
            witness=self.witness(index),
            rng=Random(self.rng.getrandbits(64)),
        )
        self.machines[contact] = machine
        self.network.join(contact, machine, self.noting(contact))
        return machine

    def noting(self, contact: Contact) -> Callable[[SwimEffect], None]:
        def note(effect: SwimEffect) -> None:
            match effect:
                case MemberChanged():
                    self.changes[contact].append((self.world.now, effect))
                    key = contact, effect.member.contact.node_id
                    assert effect.member.incarnation >= self.incarnations.get(key, 0)
                    self.incarnations[key] = effect.member.incarnation
                case LoadHeard(late=True):
                    held = self.loads[contact][effect.record.node]
                    assert effect.record.sequence < held[1].sequence
                case LoadHeard():
                    held = self.loads[contact].get(effect.record.node)
                    assert held is None or effect.record.sequence > held[1].sequence
                    self.loads[contact][effect.record.node] = (effect.heard_at, effect.record)
                case Send():
                    raise AssertionError("the network performs it")

        return note

    def form(self, seconds: float = 3.0) -> None:
        """Everybody knows the first node, as after redeeming an invite there."""
        for contact in self.contacts[1:]:
            self.network.tell(contact, Join((self.contacts[0],)))
        self.run(seconds)

    def run(self, seconds: float) -> None:
        self.world.run(self.world.now + seconds, steps_max=50_000_000)

    def kill(self, contact: Contact) -> None:
        self.network.kill(contact)
        del self.machines[contact]
        for key in [k for k in self.incarnations if k[0] == contact]:
            del self.incarnations[key]

    def states(self, of: Contact) -> list[MemberState | None]:
        """What every other node believes of one."""
        return [self.believed(by, of) for by in self.machines if by != of]

    def believed(self, by: Contact, of: Contact) -> MemberState | None:
        member = self.machines[by].member(of.node_id)
        return None if member is None else member.state

    def all_alive(self, contacts: Iterable[Contact] | None = None) -> bool:
        return all(state is ALIVE for c in (contacts or self.machines) for state in self.states(c))

    def first(self, of: Contact, state: MemberState) -> float:
        """When somebody first believed this of a node."""
        return min(
            when
            for changes in self.changes.values()
            for when, change in changes
            if change.member.contact.public_key == of.public_key and change.member.state is state
        )

    def deaths(self) -> int:
        """How often anybody declared anybody dead."""
        return sum(c.member.state is DEAD for cs in self.changes.values() for _, c in cs)


def knit(mesh: Mesh) -> None:
    """Let everybody know everybody at once, as a mesh that has stood for long.

    Forming one of thousands from nothing is another question, and would take most of a test.
    """
    full = MemberTable(mesh.settings)
    words = [machine._own.word for machine in mesh.machines.values()]
    for word in words:
        assert full.apply(word, 0.0) is not None
    for contact, machine in mesh.machines.items():
        table, tag = machine._table, tag_of(contact.node_id)
        table._members.update(full._members)
        own = table._members.pop(tag)
        table._roll = [t for t in full._roll if t != tag]
        table._listed = set(table._roll)
        table._parts._hashes = list(full._parts._hashes)
        table._parts.toggle(tag, own.incarnation)
        table.present_count = len(table._roll)
        mesh.network.tell(contact, Join(()))
