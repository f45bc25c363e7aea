"""SWIM on a simulated network: forming, dying, healing, with lost, late and doubled packets.

Checked at every step: each datagram can be encoded and is within this room's budget; no member's
incarnation falls. Seeds are the tests' parameters, so they show in a failure.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from meshnode.caps import Caps
from meshnode.gossip.machine import (
    Join,
    Leave,
    LoadHeard,
    MemberChanged,
    SetLoad,
    Suspect,
    SwimEffect,
    SwimInput,
    SwimMachine,
)
from meshnode.gossip.member import MemberState
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.sizes import PAYLOAD_BYTES
from meshnode.ids import Address, Contact, NodeId, NodeTag, tag_of
from meshnode.machine import Random
from meshnode.wire.codec import Envelope, encode_datagram
from meshnode.wire.messages import Datagram, LoadRecord, ModuleLoad, Send
from tests.sim.network import Link, Network, contact_of
from tests.sim.world import World

LAN = Link(delay_s=0.0005, jitter_s=0.0002)
ROUGH = Link(delay_s=0.02, jitter_s=0.02, loss=0.2, duplicates=0.1)
ALIVE, SUSPECT, DEAD, LEFT = MemberState


def fits(message: Datagram) -> None:
    """Every datagram fits with both cookies and the seeds' network id around it."""
    around = Envelope(message=message, network=bytes(16), issued=bytes(8), returned=bytes(8))
    assert len(encode_datagram(around)) <= PAYLOAD_BYTES


class Mesh:
    """Some nodes, and what each of them was told by its machine."""

    def __init__(self, count: int, *, seed: int = 1, link: Link = LAN, trace: bool = False) -> None:
        self.world: World[SwimInput, SwimEffect] = World()
        self.rng = Random(seed)
        self.network = Network(self.world, self.rng, link, check=fits, trace=trace)
        self.contacts = [contact_of(i) for i in range(count)]
        self.machines: dict[Contact, SwimMachine] = {}
        self.changes: dict[Contact, list[tuple[float, MemberChanged]]] = defaultdict(list)
        self.loads: dict[Contact, dict[NodeTag, tuple[float, LoadRecord]]] = defaultdict(dict)
        for contact in self.contacts:
            self.start(contact)

    def start(self, contact: Contact, *, incarnation: int = 1) -> None:
        machine = SwimMachine(
            contact,
            name=f"node-{contact.address.host}",
            caps=Caps.CPU,
            incarnation=incarnation,
            settings=GossipSettings(),
            rng=Random(self.rng.getrandbits(64)),
        )
        self.machines[contact] = machine
        self.network.join(contact, machine, self.noting(contact))

    def noting(self, contact: Contact) -> Callable[[SwimEffect], None]:
        def note(effect: SwimEffect) -> None:
            match effect:
                case MemberChanged():
                    self.changes[contact].append((self.world.now, effect))
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
        self.world.run(self.world.now + seconds)
        self.world.now = max(self.world.now, 0.0)

    def kill(self, contact: Contact) -> None:
        self.network.kill(contact)
        del self.machines[contact]

    def states(self, of: Contact) -> list[MemberState | None]:
        """What every other node believes of one."""
        return [self.believed(by, of) for by in self.machines if by != of]

    def believed(self, by: Contact, of: Contact) -> MemberState | None:
        for member in self.machines[by].members():
            if member.contact.public_key == of.public_key:
                return member.state
        return None

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


@pytest.mark.parametrize("seed", range(5))
def test_a_mesh_forms_from_one_sponsor_within_two_seconds(seed: int) -> None:
    mesh = Mesh(8, seed=seed)
    mesh.form(2.0)
    assert mesh.all_alive()


@pytest.mark.parametrize("seed", range(3))
def test_a_newcomer_is_known_to_all_within_a_second_though_its_address_is_not_proved(
    seed: int,
) -> None:
    mesh = Mesh(20, seed=seed)
    heard: set[tuple[NodeId, NodeId]] = set()

    def proved(sender: Contact, recipient: Contact) -> bool:
        """As with cookies: an address is proved once it has received something from us."""
        heard.add((recipient.node_id, sender.node_id))
        return (sender.node_id, recipient.node_id) in heard

    mesh.network.proved = proved
    mesh.form(3.0)
    assert mesh.all_alive()
    late = contact_of(99)
    mesh.contacts.append(late)
    mesh.start(late)
    mesh.network.tell(late, Join((mesh.contacts[0],)))
    mesh.run(1.0)
    assert mesh.all_alive([late])
    assert len(mesh.machines[late].alive()) == 20


def test_a_killed_node_is_suspected_within_two_and_a_half_seconds_and_then_dead() -> None:
    suspected, dead = [], []
    for seed in range(8):
        mesh = Mesh(5, seed=seed)
        mesh.form(5.0)
        victim, killed_at = mesh.contacts[seed % 5], mesh.world.now
        mesh.kill(victim)
        mesh.run(30.0)
        assert set(mesh.states(victim)) == {DEAD}
        assert mesh.all_alive()
        suspected.append(mesh.first(victim, SUSPECT) - killed_at)
        dead.append(mesh.first(victim, DEAD) - killed_at)
    suspected.sort()
    assert suspected[len(suspected) // 2] < 1.5
    assert suspected[-1] < 2.5
    assert max(dead) < 10.0


def test_a_hint_makes_a_killed_node_suspect_in_half_a_second_and_soon_everywhere() -> None:
    for seed in range(5):
        mesh = Mesh(6, seed=seed)
        mesh.form(5.0)
        witness, victim = mesh.contacts[1], mesh.contacts[2]
        mesh.kill(victim)
        for _ in range(8):  # eight calls were in flight there
            mesh.network.tell(witness, Suspect(victim.node_id))
        mesh.run(0.55)
        assert mesh.believed(witness, victim) is SUSPECT
        mesh.run(1.0)
        assert set(mesh.states(victim)) == {SUSPECT}
        assert mesh.all_alive()


def test_a_false_hint_harms_nobody() -> None:
    mesh = Mesh(5)
    mesh.form(5.0)
    mesh.changes.clear()
    for contact in mesh.contacts[1:]:
        mesh.network.tell(contact, Suspect(mesh.contacts[0].node_id))
    mesh.run(10.0)
    assert not any(mesh.changes.values())


@pytest.mark.parametrize("seed", range(3))
def test_nobody_dies_of_a_bad_network(seed: int) -> None:
    mesh = Mesh(10, seed=seed, link=ROUGH)
    for contact in mesh.contacts[1:]:
        mesh.network.tell(contact, Join((mesh.contacts[0],)))
    mesh.run(3.0)
    for contact in mesh.contacts[1:]:  # the hall keeps offering contacts it knows
        mesh.network.tell(contact, Join((mesh.contacts[0],)))
    mesh.run(120.0)
    deaths = [c for cs in mesh.changes.values() for _, c in cs if c.member.state is DEAD]
    assert deaths == []
    mesh.network.link = LAN
    mesh.run(20.0)
    assert mesh.all_alive()


@pytest.mark.parametrize("seed", range(3))
def test_two_halves_find_each_other_again(seed: int) -> None:
    mesh = Mesh(8, seed=seed)
    mesh.form()
    mesh.network.partition([mesh.contacts[:4], mesh.contacts[4:]])
    mesh.run(60.0)
    assert {mesh.believed(mesh.contacts[0], c) for c in mesh.contacts[4:]} == {DEAD}
    assert {mesh.believed(mesh.contacts[0], c) for c in mesh.contacts[1:4]} == {ALIVE}
    mesh.network.heal()
    mesh.run(60.0)
    assert mesh.all_alive()


def test_one_way_silence_is_refuted_before_it_is_fatal() -> None:
    """A node that only one other cannot reach stays: the helpers reach it."""
    mesh = Mesh(6)
    mesh.form(5.0)
    mesh.changes.clear()
    a, b = mesh.contacts[1], mesh.contacts[2]
    send = mesh.network.send

    def cut(sender: Contact, what: Send) -> None:
        if {sender.public_key, what.recipient.public_key} != {a.public_key, b.public_key}:
            send(sender, what)

    mesh.network.send = cut  # type: ignore[method-assign]
    mesh.run(60.0)
    assert mesh.all_alive()
    assert not any(mesh.changes.values())


def test_a_restarted_node_is_alive_again_at_its_new_address() -> None:
    mesh = Mesh(5)
    mesh.form()
    old = mesh.contacts[3]
    mesh.kill(old)
    mesh.run(40.0)
    assert set(mesh.states(old)) == {DEAD}
    new = replace(old, address=Address("10.0.9.9", 6174))
    mesh.contacts[3] = new
    mesh.start(new, incarnation=2)
    mesh.network.tell(new, Join((mesh.contacts[0],)))
    mesh.run(2.0)
    assert mesh.all_alive()
    found = [
        m.contact.address
        for c in mesh.contacts[:3]
        for m in mesh.machines[c].members()
        if m.contact.public_key == old.public_key
    ]
    assert found == [new.address] * 3


def test_a_node_that_lost_its_incarnation_refutes_its_own_death() -> None:
    mesh = Mesh(5)
    mesh.form()
    old = mesh.contacts[3]
    mesh.kill(old)
    mesh.run(40.0)
    mesh.start(old, incarnation=0)
    mesh.network.tell(old, Join((mesh.contacts[0],)))
    mesh.run(3.0)
    assert mesh.all_alive()
    assert mesh.machines[old].incarnation >= 2


def test_a_node_that_leaves_is_seen_to_leave_and_nobody_suspects_it() -> None:
    mesh = Mesh(12)
    mesh.form()
    gone = mesh.contacts[4]
    mesh.network.tell(gone, Leave())
    mesh.run(1.5)
    assert set(mesh.states(gone)) == {LEFT}
    mesh.run(60.0)
    assert set(mesh.states(gone)) == {LEFT}
    assert mesh.machines[gone].next_timer() is None


def load_of(contact: Contact, sequence: int) -> LoadRecord:
    modules = tuple(
        ModuleLoad(module=NodeTag(bytes([i]) * 8), warm=True, first=120, unit=90) for i in range(8)
    )
    return LoadRecord(
        node=tag_of(contact.node_id),
        sequence=sequence,
        age_ms=0,
        wait=2**31,
        wait_mean=2**31,
        wait_sigma=2**31,
        in_flight=65535,
        draining=False,
        speed=2**31,
        modules=modules,
    )


def test_loads_reach_everybody_and_their_ages_are_true() -> None:
    mesh = Mesh(12)
    mesh.form()
    written: dict[tuple[NodeTag, int], float] = {}
    for sequence in range(1, 21):
        for contact in mesh.contacts:
            written[tag_of(contact.node_id), sequence] = mesh.world.now
            mesh.network.tell(contact, SetLoad(load_of(contact, sequence)))
        mesh.run(1.0)
    for contact in mesh.contacts:
        assert len(mesh.loads[contact]) == 11
        for heard_at, record in mesh.loads[contact].values():
            true_s = heard_at - written[record.node, record.sequence]
            assert record.age_ms / 1000 == pytest.approx(true_s, abs=0.015)
            assert mesh.world.now - heard_at + record.age_ms / 1000 < 5.0


def test_the_dead_are_not_quoted() -> None:
    mesh = Mesh(4)
    mesh.form()
    victim = mesh.contacts[3]
    mesh.network.tell(victim, SetLoad(load_of(victim, 1)))
    mesh.run(3.0)
    mesh.kill(victim)
    mesh.run(25.0)
    mesh.loads.clear()
    mesh.run(10.0)
    assert not any(tag_of(victim.node_id) in heard for heard in mesh.loads.values())


def test_same_seed_same_packets() -> None:
    digests = set()
    for _ in range(2):
        mesh = Mesh(6, seed=3, link=ROUGH, trace=True)
        mesh.form(10.0)
        digests.add(mesh.network.digest)
    assert len(digests) == 1


def test_an_idle_mesh_is_quiet() -> None:
    mesh = Mesh(20)
    mesh.form(20.0)
    before = mesh.network.sent
    mesh.run(20.0)
    each_second = (mesh.network.sent - before) / 20 / 20
    assert each_second < 7.2  # two pings, two acks, three gossips


@pytest.mark.slow
def test_two_hundred_nodes_form_and_notice_a_death() -> None:
    mesh = Mesh(200, link=Link(delay_s=0.01, jitter_s=0.005))
    mesh.form(15.0)
    assert mesh.all_alive()
    victim, killed_at = mesh.contacts[100], mesh.world.now
    mesh.kill(victim)
    mesh.run(6.0)
    print(f"first suspected after {mesh.first(victim, SUSPECT) - killed_at:.2f} s")
    assert set(mesh.states(victim)) <= {SUSPECT, DEAD}
