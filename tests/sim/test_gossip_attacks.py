"""Attacks on membership (docs/threat-model.md), each also with its defence switched off.

A test here runs one scenario twice: with the defence nothing comes of the attack, without it the
attack succeeds. So a test that passes says that it was this defence that held.
"""

from collections.abc import Sequence
from dataclasses import replace

import cbor2
import pytest

from meshnode.errors import RemoteProtocolError
from meshnode.gossip.machine import Join, SwimEffect, SwimInput, SwimMachine
from meshnode.gossip.member import MemberState
from meshnode.gossip.owntime import OwnTime
from meshnode.gossip.settings import GossipSettings, without_lifeguard
from meshnode.gossip.words import Signatures
from meshnode.ids import Address, Contact, tag_of
from meshnode.sim.links import Bursts
from meshnode.wire import cbor, packed_load
from meshnode.wire.codec import Envelope, decode_datagram, encode_datagram
from meshnode.wire.messages import (
    Accusation,
    Datagram,
    Gossip,
    LoadRecord,
    MemberUpdate,
    Send,
)
from tests.sim.gossip_mesh import DEAD, SUSPECT, Mesh, sealed_bytes, witness_of
from tests.sim.network import Link

SETTINGS = GossipSettings()
ENDLESS = 10**9
SLOW = Link(delay_s=0.15, jitter_s=0.01)


class Credulous(Signatures):
    """A witness that takes everybody's word for everybody."""

    def is_own_word(self, update: MemberUpdate) -> bool:
        return True

    def is_true(self, accusation: Accusation, suspect: bytes, accuser: Contact) -> bool:
        return True


def credulous(index: int) -> Signatures:
    honest = witness_of(index)
    return Credulous(honest._identity, honest._network)


def say(mesh: Mesh, attacker: Contact, message: Datagram) -> None:
    """Let an attacker, who is a member, send a message to everybody."""
    for contact in mesh.contacts:
        if contact != attacker:
            mesh.network.send(attacker, Send(contact, message))


def changes(mesh: Mesh, of: Contact, state: MemberState, without: Sequence[Contact] = ()) -> int:
    """How often anybody, or anybody honest, came to believe this of a node."""
    return sum(
        change.member.contact.public_key == of.public_key and change.member.state is state
        for by, seen in mesh.changes.items()
        if by not in without
        for _, change in seen
    )


def formed(count: int = 12, settings: GossipSettings = SETTINGS, **others: object) -> Mesh:
    mesh = Mesh(count, seed=3, settings=settings, **others)  # type: ignore[arg-type]
    mesh.form(4.0)
    mesh.changes.clear()
    return mesh


# ---------------------------------------------------------------- one who speaks for others


@pytest.mark.parametrize("defended", [True, False])
def test_nobody_accuses_in_anothers_name(defended: bool) -> None:
    mesh = formed(witness=witness_of if defended else credulous)
    attacker, victim = mesh.contacts[1], mesh.contacts[2]
    for accuser in mesh.contacts[3:8]:
        forged = Accusation(
            suspect=tag_of(victim.node_id), incarnation=1, accuser=tag_of(accuser.node_id)
        )
        say(mesh, attacker, Gossip(accusations=(forged,)))
    mesh.run(2.0)
    assert (changes(mesh, victim, SUSPECT) == 0) is defended


@pytest.mark.parametrize("defended", [True, False])
def test_nobody_says_of_another_that_it_lives_elsewhere(defended: bool) -> None:
    mesh = formed(witness=witness_of if defended else credulous)
    attacker, victim = mesh.contacts[1], mesh.contacts[2]
    known = mesh.machines[mesh.contacts[3]].member(victim.node_id)
    assert known is not None
    elsewhere = Contact(victim.public_key, Address("203.0.113.9", 53))
    forged = replace(known.word(), contact=elsewhere, incarnation=9)
    say(mesh, attacker, Gossip(updates=(forged,)))
    mesh.run(0.05)
    seen = {
        change.member.contact.address for changed in mesh.changes.values() for _, change in changed
    }
    assert (elsewhere.address not in seen) is defended


@pytest.mark.parametrize("defended", [True, False])
def test_nobody_drives_anothers_incarnation_up(defended: bool) -> None:
    mesh = formed(witness=witness_of if defended else credulous)
    attacker, victim = mesh.contacts[1], mesh.contacts[2]
    known = mesh.machines[mesh.contacts[3]].member(victim.node_id)
    assert known is not None
    forged = replace(known.word(), incarnation=2**16 + 1)
    mesh.network.send(attacker, Send(victim, Gossip(updates=(forged,))))
    mesh.run(1.0)
    assert (mesh.machines[victim].incarnation == 1) is defended


@pytest.mark.parametrize("defended", [True, False])
def test_who_passes_on_false_signatures_is_soon_not_read(defended: bool) -> None:
    """A signature costs 60 us to refuse: a stream of them must not cost a core."""
    mesh = formed()
    attacker, reader = mesh.contacts[1], mesh.contacts[2]
    hearing = mesh.machines[reader].hearing
    if not defended:
        hearing._liars._burst = ENDLESS
    for number in range(400):
        victim = mesh.machines[reader].members()[number % 8]
        forged = replace(victim.word(), incarnation=2 + number)
        mesh.network.send(attacker, Send(reader, Gossip(updates=(forged,))))
    mesh.run(2.0)
    assert (hearing.false_signatures <= 4) is defended


# ---------------------------------------------------------------- false suspicion


def accuse_often(mesh: Mesh, attackers: Sequence[Contact], victim: Contact, seconds: int) -> None:
    """Let members accuse one, truly signed, at each of its incarnations, four times a second."""
    for _ in range(4 * seconds):
        incarnation = mesh.machines[victim].incarnation
        for attacker in attackers:
            index = mesh.indices[attacker.public_key]
            said = witness_of(index).accuse(victim.node_id, incarnation)
            say(mesh, attacker, Gossip(accusations=(said,)))
        mesh.run(0.25)


@pytest.mark.parametrize("defended", [True, False])
def test_one_who_cries_wolf_is_soon_not_believed(defended: bool) -> None:
    mesh = formed(8, SETTINGS if defended else replace(SETTINGS, accuser_burst=ENDLESS))
    attacker, victim = mesh.contacts[1], mesh.contacts[2]
    accuse_often(mesh, [attacker], victim, seconds=20)
    observer = mesh.contacts[3]
    believed = sum(
        c.member.state is SUSPECT for _, c in mesh.changes[observer] if c.member.contact == victim
    )
    assert (believed <= 8) is defended
    assert changes(mesh, victim, DEAD) == 0


@pytest.mark.parametrize("defended", [True, False])
def test_many_who_conspire_kill_nobody_that_can_refute(defended: bool) -> None:
    mesh = formed(12)
    attackers, victim = mesh.contacts[1:6], mesh.contacts[8]
    if not defended:
        mesh.machines[victim].hearing._defend = lambda *_: None  # type: ignore[method-assign]
    accuse_often(mesh, attackers, victim, seconds=12)
    mesh.run(3.0)
    assert (changes(mesh, victim, DEAD, without=attackers) == 0) is defended


# ---------------------------------------------------------------- incarnations and storms


@pytest.mark.parametrize("defended", [True, False])
def test_an_incarnation_does_not_jump_though_it_is_signed(defended: bool) -> None:
    settings = SETTINGS if defended else replace(SETTINGS, incarnation_jump_max=2**63)
    mesh = formed(6, settings)
    attacker, observer = mesh.contacts[1], mesh.contacts[2]
    known = mesh.machines[observer].member(attacker.node_id)
    assert known is not None
    far = witness_of(1).signed(replace(known.word(), incarnation=2**62))
    say(mesh, attacker, Gossip(updates=(far,)))
    mesh.run(1.0)
    believed = mesh.machines[observer].member(attacker.node_id)
    assert believed is not None
    assert (believed.incarnation < 2**16) is defended


@pytest.mark.parametrize("defended", [True, False])
def test_a_member_that_flaps_is_damped(defended: bool) -> None:
    mesh = formed(8, SETTINGS if defended else replace(SETTINGS, word_burst=ENDLESS))
    attacker = mesh.contacts[1]
    known = mesh.machines[mesh.contacts[2]].member(attacker.node_id)
    assert known is not None
    before = sum(mesh.network.sent_by[c.public_key] for c in mesh.contacts if c != attacker)
    for incarnation in range(2, 102):
        word = witness_of(1).signed(
            replace(known.word(), incarnation=incarnation, name=f"name {incarnation}")
        )
        say(mesh, attacker, Gossip(updates=(word,)))
        mesh.run(0.1)
    heard = [c for _, c in mesh.changes[mesh.contacts[2]] if c.member.contact == attacker]
    assert (len(heard) <= 6) is defended
    assert before < sum(mesh.network.sent_by[c.public_key] for c in mesh.contacts if c != attacker)


@pytest.mark.parametrize("defended", [True, False])
def test_a_storm_of_news_stays_within_the_budget(defended: bool) -> None:
    """All of a mesh changes four times a second for five seconds; the other damping is off."""
    settings = replace(SETTINGS, word_burst=ENDLESS)
    if not defended:
        settings = replace(settings, bytes_per_s=1e9)
    mesh = formed(30, settings, check=None)
    mesh.run(4.0)
    sent: dict[Contact, int] = dict.fromkeys(mesh.contacts, 0)
    send = mesh.network.send

    def weigh(sender: Contact, what: Send) -> None:
        sent[sender] += sealed_bytes(what.message, cookie=True)
        send(sender, what)

    mesh.network.send = weigh  # type: ignore[method-assign]
    for _ in range(20):
        for contact, machine in mesh.machines.items():
            machine._own.rise_above(machine.incarnation)
            machine._speaker.queue.put(machine._own.word)
            mesh.network.tell(contact, Join(()))
        mesh.run(0.25)
    most = max(sent.values())
    assert (most <= 6 * SETTINGS.bytes_per_s) is defended


# ---------------------------------------------------------------- clocks


class Skewed:
    """A machine whose clock is set now and then."""

    def __init__(self, machine: SwimMachine) -> None:
        self._machine = machine
        self.offset = 5000.0

    def handle(self, event: SwimInput, now: float) -> Sequence[SwimEffect]:
        return self._machine.handle(event, now + self.offset)

    def tick(self, now: float) -> Sequence[SwimEffect]:
        return self._machine.tick(now + self.offset)

    def next_timer(self) -> float | None:
        timer = self._machine.next_timer()
        return None if timer is None else timer - self.offset


def skewed(mesh: Mesh, contact: Contact) -> Skewed:
    """Start one node anew, with a clock of its own."""
    mesh.network.kill(contact)
    machine = mesh.start(contact, incarnation=2)
    mesh.network.kill(contact)
    clock = Skewed(machine)
    mesh.network.join(contact, clock, mesh.noting(contact))
    mesh.network.tell(contact, Join((mesh.contacts[0],)))
    mesh.run(3.0)
    mesh.changes.clear()
    return clock


@pytest.mark.parametrize("defended", [True, False])
def test_a_clock_that_jumps_ahead_accuses_nobody(defended: bool) -> None:
    mesh = formed(6, SETTINGS if defended else without_lifeguard(SETTINGS), link=SLOW)
    clock = skewed(mesh, mesh.contacts[1])
    for _ in range(40):
        mesh.run(0.73)
        clock.offset += 3600.0
        mesh.network.tell(mesh.contacts[1], Join(()))
    mesh.run(5.0)
    accused = sum(c.member.state is SUSPECT for cs in mesh.changes.values() for _, c in cs)
    assert (accused == 0) is defended
    assert mesh.deaths() == 0 or not defended


class Trusting(OwnTime):
    """Time as the clock shows it, wherever it goes."""

    def read(self, now: float, due: float) -> tuple[float, bool]:
        return now, False

    def outside(self, own: float) -> float:
        return own


@pytest.mark.parametrize("defended", [True, False])
def test_a_clock_that_is_set_back_stops_nobody(defended: bool) -> None:
    mesh = formed(6)
    contact = mesh.contacts[1]
    clock = skewed(mesh, contact)
    if not defended:
        clock._machine._time = Trusting(0.1)
    mesh.run(1.0)
    clock.offset -= 3600.0
    mesh.run(1.0)
    before = mesh.network.sent_by[contact.public_key]
    for other in mesh.contacts:
        if other != contact:
            mesh.kill(other)
    mesh.run(20.0)
    # It still probes, and finds out that it is alone.
    assert (mesh.network.sent_by[contact.public_key] > before + 20) is defended


# ---------------------------------------------------------------- loads


def load_of(contact: Contact, sequence: int, wait: int) -> LoadRecord:
    return LoadRecord(
        node=tag_of(contact.node_id),
        sequence=sequence,
        age_ms=0,
        wait=wait,
        wait_mean=wait,
        wait_sigma=0,
        in_flight=0,
        draining=False,
        speed=100,
    )


@pytest.mark.parametrize("defended", [True, False])
def test_nobody_says_how_busy_another_is_in_a_large_mesh(defended: bool) -> None:
    mesh = formed(6, replace(SETTINGS, small_mesh_max=4 if defended else 32))
    attacker, victim = mesh.contacts[1], mesh.contacts[2]
    say(mesh, attacker, Gossip(loads=(load_of(victim, 9, wait=0),)))
    mesh.run(1.0)
    quoted = [c for c in mesh.contacts[3:] if tag_of(victim.node_id) in mesh.loads[c]]
    assert (quoted == []) is defended


VICTIM = Contact(bytes(32), Address("10.0.0.1", 1))  # type: ignore[arg-type]
LOADED = cbor.loads(
    encode_datagram(Envelope(message=Gossip(loads=(load_of(VICTIM, 1, 7),)))), bytes_max=1128
)
AT = 8
"""Where the loads stand in the list: behind the envelope, the updates and the accusations."""


def read(load: object) -> LoadRecord:
    plain = [*LOADED[:AT], [load], *LOADED[AT + 1 :]]
    message = decode_datagram(cbor2.dumps(plain, canonical=True)).message
    assert isinstance(message, Gossip)
    return message.loads[0]


@pytest.mark.parametrize("defended", [True, False])
@pytest.mark.parametrize("place", range(1, 6))
def test_loads_are_whole_numbers_within_bounds(
    monkeypatch: pytest.MonkeyPatch, place: int, defended: bool
) -> None:
    """Of a packed load the numbers are whole by their form; what is left is their size."""
    assert read(LOADED[AT][0]) == load_of(VICTIM, 1, 7)
    numbers = [1, 2, 3, 4, 5, 6, 8]  # the last says: a whole record
    numbers[place] = 2**32
    packed = bytes(8) + b"".join(map(leb128, numbers))
    if defended:
        with pytest.raises(RemoteProtocolError):
            read(packed)
        return
    monkeypatch.setattr(packed_load, "HEAD_BITS", (64,) * len(numbers))
    record = read(packed)
    names = ("sequence", "age_ms", "wait", "wait_mean", "wait_sigma", "speed")
    assert [getattr(record, name) for name in names] == numbers[:6]


@pytest.mark.parametrize("number", [-1, 2**32, 0.5, float("inf"), float("nan"), True, None, [1]])
def test_what_is_no_packed_load_is_refused(number: object) -> None:
    with pytest.raises(RemoteProtocolError):
        read(number)


def leb128(number: int) -> bytes:
    """A number in the fewest bytes, seven bits in each."""
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + leb128(rest) if rest else bytes([low])


# ---------------------------------------------------------------- bad networks


@pytest.mark.parametrize("defended", [True, False])
def test_bursts_that_lose_a_quarter_of_all_packets_kill_nobody(defended: bool) -> None:
    """Attack 18; what defends is what Lifeguard adds: long suspicions, nacks, local health."""
    mesh = Mesh(10, seed=0, settings=SETTINGS if defended else without_lifeguard(SETTINGS))
    mesh.form(4.0)
    mesh.network.link = Link(delay_s=0.005, bursts=Bursts.of(0.25, packets=8.0))
    mesh.run(60.0)
    deaths = sum(changes(mesh, of, DEAD) for of in mesh.contacts)
    assert (deaths == 0) is defended


# ---------------------------------------------------------------- partition


@pytest.mark.parametrize("defended", [True, False])
def test_halves_that_were_cut_for_long_are_one_mesh_again_in_ten_seconds(defended: bool) -> None:
    mesh = formed(20, SETTINGS if defended else replace(SETTINGS, dead_probe_every_s=1e6))
    mesh.network.partition([mesh.contacts[:10], mesh.contacts[10:]])
    mesh.run(30.0)
    assert {mesh.believed(mesh.contacts[0], c) for c in mesh.contacts[10:]} == {DEAD}
    mesh.network.heal()
    mesh.run(10.0)
    assert mesh.all_alive() is defended
