"""SwimMachine: one input, the time, the expected effects. Whole meshes are in tests/sim."""

from typing import TypeVar

from meshnode.caps import Caps
from meshnode.gossip.machine import (
    HearLoad,
    Join,
    Leave,
    LoadHeard,
    MemberChanged,
    SetLoad,
    Suspect,
    SwimEffect,
    SwimMachine,
)
from meshnode.gossip.settings import GossipSettings
from meshnode.ids import Address, Contact
from meshnode.machine import Random
from meshnode.wire.messages import (
    Ack,
    Datagram,
    FindNode,
    Gossip,
    MemberUpdate,
    Ping,
    PingRequest,
    Received,
    Send,
)
from tests.unit.gossip.people import (
    ALIVE,
    ANN,
    BOB,
    CID,
    DEAD,
    DOT,
    LEFT,
    OWN,
    SUSPECT,
    load,
    tag,
    update,
)

T = TypeVar("T", bound=Datagram)


def swim(*others: Contact) -> SwimMachine:
    machine = SwimMachine(
        OWN, name="own", caps=Caps.CPU, incarnation=1, settings=GossipSettings(), rng=Random(1)
    )
    for contact in others:
        machine.handle(Received(contact, Gossip(updates=(update(contact),))), now=1.0)
    return machine


def sent(effects: list[SwimEffect] | object, kind: type[T]) -> list[tuple[Contact, T]]:
    assert isinstance(effects, list)
    return [
        (e.recipient, e.message)
        for e in effects
        if isinstance(e, Send) and isinstance(e.message, kind)
    ]


def until_ping(machine: SwimMachine) -> tuple[float, Contact, Ping]:
    """Tick until a probe goes out."""
    while True:
        now = machine.next_timer()
        assert now is not None
        for recipient, ping in sent(machine.tick(now), Ping):
            return now, recipient, ping


def states(machine: SwimMachine) -> dict[Contact, int]:
    return {m.contact: m.state for m in machine.members()}


OWN_CLAIM = update(OWN, ALIVE, 1, name="own")


def test_nothing_happens_before_the_first_input() -> None:
    machine = swim()
    assert machine.next_timer() is None
    assert machine.tick(5.0) == []


def test_joining_introduces_us_to_each_contact_but_ourselves() -> None:
    pings = sent(swim().handle(Join((ANN, OWN, BOB)), now=1.0), Ping)
    assert [contact for contact, _ in pings] == [ANN, BOB]
    assert all(ping.updates == (OWN_CLAIM,) for _, ping in pings)


def test_an_unanswered_introduction_is_repeated() -> None:
    machine = swim()
    machine.handle(Join((ANN,)), now=1.0)
    now, recipient, ping = until_ping(machine)
    assert (now, recipient) == (1.5, ANN)
    assert ping.updates == (OWN_CLAIM,)


def test_a_newcomer_that_introduces_itself_gets_our_claim_and_the_others() -> None:
    machine = swim(BOB, CID)
    machine.tick(1.02)
    effects = machine.handle(Received(ANN, Ping(sequence=9, updates=(update(ANN),))), now=1.5)
    assert MemberChanged(machine.members()[-1]) in effects
    ((to, ack),) = sent(effects, Ack)
    assert (to, ack.sequence) == (ANN, 9)
    assert OWN_CLAIM in ack.updates
    told: set[Contact] = set()
    while not told >= {BOB, CID}:
        now = machine.next_timer()
        assert now is not None
        assert now < 2.5
        for recipient, gossip in sent(machine.tick(now), Gossip):
            told |= {u.contact for u in gossip.updates if recipient == ANN}


def test_an_unproved_address_gets_a_bare_ack() -> None:
    machine = swim(BOB)
    machine.handle(SetLoad(load(OWN)), now=1.0)
    ping = Ping(sequence=9, updates=(update(ANN),))
    effects = machine.handle(Received(ANN, ping, proved=False), now=1.5)
    assert sent(effects, Ack) == [(ANN, Ack(sequence=9))]
    assert sent(effects, Ping) == []
    assert states(machine)[ANN] is ALIVE


def test_the_ack_of_a_stranger_is_answered_with_an_introduction() -> None:
    machine = swim()
    ((_, ping),) = sent(machine.handle(Join((ANN,)), now=1.0), Ping)
    effects = machine.handle(Received(ANN, Ack(sequence=ping.sequence)), now=1.001)
    ((to, again),) = sent(effects, Ping)
    assert to == ANN
    assert again.updates == (OWN_CLAIM,)


def test_a_direct_ack_measures_the_round_trip() -> None:
    machine = swim(ANN)
    now, recipient, ping = until_ping(machine)
    assert recipient == ANN
    machine.handle(Received(ANN, Ack(sequence=ping.sequence)), now + 0.004)
    (member,) = machine.members()
    assert member.rtt_ms is not None
    assert abs(member.rtt_ms - 4.0) < 1e-6


def test_silence_is_checked_with_others_and_then_suspected() -> None:
    machine = swim(ANN, BOB, CID, DOT)
    now, victim, ping = until_ping(machine)
    helpers: list[Contact] = []
    while states(machine)[victim] is ALIVE:
        timer = machine.next_timer()
        assert timer is not None
        effects = machine.tick(timer)
        for helper, request in sent(effects, PingRequest):
            assert (request.sequence, request.target) == (ping.sequence, victim)
            helpers.append(helper)
        for recipient, other in sent(effects, Ping):
            if recipient != victim:
                machine.handle(Received(recipient, Ack(sequence=other.sequence)), timer)
    assert sorted(helpers, key=str) == sorted({ANN, BOB, CID, DOT} - {victim}, key=str)
    assert abs(timer - now - 0.8) < 1e-6
    # The suspect itself is the first to be told.
    ((_, told),) = [(to, p) for to, p in sent(effects, Ping) if to == victim]
    assert update(victim, SUSPECT) in told.updates


def test_a_helpers_ack_saves_the_target() -> None:
    machine = swim(ANN, BOB)
    now, victim, ping = until_ping(machine)
    helper = BOB if victim == ANN else ANN
    machine.tick(now + 0.5)
    machine.handle(Received(helper, Ack(sequence=ping.sequence)), now + 0.6)
    machine.tick(now + 0.8)
    assert states(machine)[victim] is ALIVE


def test_a_hint_pings_at_once_and_eight_hints_ping_once() -> None:
    machine = swim(ANN, BOB, CID, DOT)
    effects = machine.handle(Suspect(ANN.node_id), now=1.1)
    assert [to for to, _ in sent(effects, Ping)] == [ANN]
    assert len(sent(effects, PingRequest)) == 3
    for _ in range(7):
        assert machine.handle(Suspect(ANN.node_id), now=1.1) == []
    assert machine.handle(Suspect(OWN.node_id), now=1.1) == []


def test_we_ping_for_others_only_members_and_where_we_know_them() -> None:
    machine = swim(ANN, BOB)
    elsewhere = Contact(BOB.public_key, Address("203.0.113.7", 53))
    effects = machine.handle(Received(ANN, PingRequest(sequence=7, target=elsewhere)), now=1.1)
    ((to, ping),) = sent(effects, Ping)
    assert to == BOB
    effects = machine.handle(Received(BOB, Ack(sequence=ping.sequence)), now=1.2)
    assert sent(effects, Ack) == [(ANN, Ack(sequence=7))]
    assert machine.handle(Received(ANN, PingRequest(sequence=8, target=DOT)), now=1.3) == []


def test_a_claim_that_we_are_dead_is_refuted_in_the_answer() -> None:
    machine = swim(ANN)
    ping = Ping(sequence=1, updates=(update(OWN, DEAD, 4),))
    ((_, ack),) = sent(machine.handle(Received(ANN, ping), now=1.1), Ack)
    assert update(OWN, ALIVE, 5, name="own") in ack.updates
    assert machine.incarnation == 5


def test_who_speaks_to_us_while_suspected_is_told_so() -> None:
    machine = swim(ANN, BOB)
    machine.handle(
        Received(BOB, Gossip(updates=(update(ANN, SUSPECT, accuser=tag(BOB)),))), now=1.1
    )
    effects = machine.handle(Received(ANN, Gossip()), now=1.2)
    ((to, ping),) = sent(effects, Ping)
    assert to == ANN
    assert update(ANN, SUSPECT) in ping.updates


def test_time_we_slept_through_is_given_back() -> None:
    machine = swim(ANN, BOB)
    now, victim, ping = until_ping(machine)
    machine.tick(now + 5.0)  # both the direct and the indirect time are long over
    assert states(machine)[victim] is ALIVE
    machine.handle(Received(victim, Ack(sequence=ping.sequence)), now + 5.01)
    machine.tick(now + 6.0)
    assert states(machine)[victim] is ALIVE


def test_a_load_is_told_once_and_only_of_members() -> None:
    machine = swim(ANN)
    newer = load(ANN, 2, age_ms=5)
    said = Gossip(loads=(newer, load(ANN, 1), load(DOT, 9), load(OWN, 9)))
    assert machine.handle(Received(ANN, said), now=1.1) == [LoadHeard(newer, 1.1)]
    assert machine.handle(HearLoad(newer), now=1.2) == []
    assert machine.handle(HearLoad(load(ANN, 3)), now=1.2) == [LoadHeard(load(ANN, 3), 1.2)]


def test_senseless_claims_are_ignored() -> None:
    machine = swim(ANN)
    strange: list[MemberUpdate] = [
        update(BOB, 9),
        update(BOB, name="\x07"),
        update(ANN, ALIVE, 2**40),
        update(CID, DEAD),
    ]
    assert machine.handle(Received(ANN, Gossip(updates=tuple(strange))), now=1.1) == []
    assert states(machine) == {ANN: ALIVE}


def test_our_own_echo_and_the_dhts_messages_are_ignored() -> None:
    machine = swim(ANN)
    assert machine.handle(Received(OWN, Ping(sequence=1)), now=1.1) == []
    assert machine.handle(Received(ANN, FindNode(rpc=1, target=bytes(32))), now=1.1) == []


def test_leaving_says_so_and_ends_everything() -> None:
    machine = swim(ANN, BOB)
    gossips = sent(machine.handle(Leave(), now=1.1), Gossip)
    assert {to for to, _ in gossips} == {ANN, BOB}
    assert all(update(OWN, LEFT, 1, name="own") in g.updates for _, g in gossips)
    assert machine.next_timer() is None
    assert machine.handle(Received(ANN, Ping(sequence=1)), now=1.2) == []
