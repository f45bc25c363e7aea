"""SwimMachine: one input, the time, the expected effects. Whole meshes are in tests/sim."""

from typing import TypeVar

from meshnode.caps import Caps
from meshnode.gossip.machine import (
    Expel,
    HearLoad,
    Join,
    Leave,
    LoadHeard,
    MemberChanged,
    SetLoad,
    Suspect,
    SwimEffect,
    SwimMachine,
    WantLoads,
)
from meshnode.gossip.settings import GossipSettings, without_lifeguard
from meshnode.ids import Address, Contact, NodeTag
from meshnode.machine import Random
from meshnode.wire.excerpts import excerpt
from meshnode.wire.messages import (
    Ack,
    Datagram,
    Digest,
    FindNode,
    Gossip,
    MemberUpdate,
    Ping,
    PingRequest,
    Received,
    Send,
    Subscribe,
    Summary,
    Want,
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
    WITNESSES,
    accusation,
    load,
    tag,
    update,
)

SETTINGS = GossipSettings()
T = TypeVar("T", bound=Datagram)


def swim(*others: Contact, settings: GossipSettings = SETTINGS) -> SwimMachine:
    machine = SwimMachine(
        OWN,
        name="own",
        caps=Caps.CPU,
        incarnation=1,
        settings=settings,
        witness=WITNESSES[OWN.public_key],
        rng=Random(1),
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
    assert told.accusations == (accusation(victim, OWN),)


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


def test_an_accusation_of_us_is_refuted_in_the_answer() -> None:
    machine = swim(ANN)
    ping = Ping(sequence=1, accusations=(accusation(OWN, ANN, 1),))
    ((_, ack),) = sent(machine.handle(Received(ANN, ping), now=1.1), Ack)
    assert update(OWN, ALIVE, 2, name="own") in ack.updates
    assert machine.incarnation == 2


def test_a_word_of_our_earlier_life_is_outdone_in_the_answer() -> None:
    machine = swim(ANN)
    earlier = update(OWN, LEFT, 4, name="own")
    ((_, ack),) = sent(
        machine.handle(Received(ANN, Ping(sequence=1, updates=(earlier,))), now=1.1), Ack
    )
    assert update(OWN, ALIVE, 5, name="own") in ack.updates


def test_who_lost_its_incarnation_gets_its_last_word_back() -> None:
    machine = swim()
    machine.handle(Received(ANN, Gossip(updates=(update(ANN, ALIVE, 7),))), now=1.0)
    ping = Ping(sequence=1, updates=(update(ANN, ALIVE, 0),))
    ((_, ack),) = sent(machine.handle(Received(ANN, ping), now=1.1), Ack)
    assert update(ANN, ALIVE, 7) in ack.updates


def test_who_speaks_to_us_while_suspected_is_told_so() -> None:
    machine = swim(ANN, BOB)
    machine.handle(Received(BOB, Gossip(accusations=(accusation(ANN, BOB),))), now=1.1)
    effects = machine.handle(Received(ANN, Gossip()), now=1.2)
    ((to, ping),) = sent(effects, Ping)
    assert to == ANN
    assert accusation(ANN, OWN) in ping.accusations


def test_time_we_slept_through_is_given_back() -> None:
    machine = swim(ANN, BOB)
    now, victim, ping = until_ping(machine)
    machine.tick(now + 5.0)  # both the direct and the indirect time are long over
    assert states(machine)[victim] is ALIVE
    machine.handle(Received(victim, Ack(sequence=ping.sequence)), now + 5.01)
    machine.tick(now + 6.0)
    assert states(machine)[victim] is ALIVE


def test_plain_swim_accuses_others_for_its_own_sleep() -> None:
    machine = swim(ANN, BOB, settings=without_lifeguard(SETTINGS))
    now, victim, _ = until_ping(machine)
    machine.tick(now + 5.0)
    assert states(machine)[victim] is SUSPECT


def test_a_load_is_told_once_and_only_of_members() -> None:
    machine = swim(ANN)
    newer = load(ANN, 2, age_ms=5)
    said = Gossip(loads=(newer, load(ANN, 1), load(DOT, 9), load(OWN, 9)))
    assert machine.handle(Received(ANN, said), now=1.1) == [LoadHeard(newer, 1.1)]
    assert machine.handle(HearLoad(newer), now=1.2) == []
    assert machine.handle(HearLoad(load(ANN, 3)), now=1.2) == [LoadHeard(load(ANN, 3), 1.2)]


def test_an_excerpt_that_was_overtaken_is_told_as_late() -> None:
    machine = swim(ANN)
    early, newer = excerpt(load(ANN, 2, modules=3), 0), excerpt(load(ANN, 3, modules=3), 1)
    machine.handle(HearLoad(newer), now=1.0)
    said = Gossip(loads=(early, newer))
    assert machine.handle(Received(ANN, said), now=1.1) == [LoadHeard(early, 1.1, late=True)]


def test_senseless_words_are_ignored() -> None:
    machine = swim(ANN)
    strange: list[MemberUpdate] = [
        update(BOB, 9),
        update(BOB, name="\x07"),
        update(ANN, ALIVE, 2**40),
        update(CID, DEAD),
        update(CID, LEFT),
    ]
    assert machine.handle(Received(ANN, Gossip(updates=tuple(strange))), now=1.1) == []
    assert states(machine) == {ANN: ALIVE}


def test_in_a_large_mesh_only_what_a_member_says_of_itself_counts() -> None:
    machine = swim(ANN, BOB, settings=GossipSettings(small_mesh_max=2))
    quoted = Gossip(loads=(load(BOB, 2), load(ANN, 2)))
    assert machine.handle(Received(ANN, quoted), now=1.1) == [LoadHeard(load(ANN, 2), 1.1)]


def test_loads_are_subscribed_to_and_asked_again_with_the_cookie_of_the_ack() -> None:
    machine = swim(ANN, BOB, settings=GossipSettings(small_mesh_max=2))
    asks = sent(machine.handle(WantLoads(NodeTag(b"m" * 8), Caps.CPU), now=2.0), Subscribe)
    assert {to for to, _ in asks} == {ANN, BOB}
    assert {m.contact for m in machine.candidates(NodeTag(b"m" * 8)) or ()} == {ANN, BOB}
    (to, ask), _ = asks
    again = machine.handle(Received(to, Ack(sequence=ask.sequence)), now=2.01)
    assert sent(again, Subscribe) == [(to, ask)]
    small = swim(ANN)
    assert small.handle(WantLoads(NodeTag(b"m" * 8), Caps.CPU), now=2.0) == []
    assert small.candidates(NodeTag(b"m" * 8)) is None


def test_a_subscriber_is_served_only_at_an_address_that_is_proved() -> None:
    machine = swim(ANN)
    machine.handle(SetLoad(load(OWN, 1)), now=1.1)
    ask = Subscribe(sequence=5, wanted=True)
    assert machine.handle(Received(ANN, ask, proved=False), now=1.2) == [Send(ANN, Ack(sequence=5))]
    effects = machine.handle(Received(ANN, ask), now=1.3)
    assert sent(effects, Gossip) == [(ANN, Gossip(loads=(load(OWN, 1, age_ms=200),)))]
    assert machine.handle(Received(DOT, ask), now=1.3) == []  # no member


def test_push_pull_begins_after_an_ack_and_brings_what_is_missing() -> None:
    machine, other = swim(ANN, BOB), swim_of(ANN, OWN, CID)
    digest = None
    now = 2.0
    while digest is None:
        now, recipient, ping = until_ping(machine)
        if recipient == ANN:
            effects = machine.handle(Received(ANN, Ack(sequence=ping.sequence)), now)
            digest = next(iter(sent(effects, Digest)), None)
    ((_, summary),) = sent(other.handle(Received(OWN, digest[1]), now), Summary)
    effects = machine.handle(Received(ANN, summary), now)
    ((_, want),) = sent(effects, Want)
    assert want.tags == tag(CID)
    other.handle(Received(OWN, want), now)
    assert CID in told(other, OWN)
    assert BOB in told(machine, ANN)


def test_digests_of_strangers_and_of_unproved_addresses_are_not_answered() -> None:
    machine = swim(ANN)
    assert machine.handle(Received(DOT, Digest(parts=bytes(256))), now=1.1) == []
    unproved = Received(ANN, Digest(parts=bytes(256)), proved=False)
    assert machine.handle(unproved, now=1.1) == []


def swim_of(own: Contact, *others: Contact) -> SwimMachine:
    machine = SwimMachine(
        own,
        name="other",
        caps=Caps.CPU,
        incarnation=1,
        settings=SETTINGS,
        witness=WITNESSES[own.public_key],
        rng=Random(2),
    )
    for contact in others:
        machine.handle(Received(contact, Gossip(updates=(update(contact),))), now=1.0)
    return machine


def told(machine: SwimMachine, whom: Contact) -> set[Contact]:
    """Let the machine talk for a second; return whose words it sent to one node."""
    about: set[Contact] = set()
    end = (machine.next_timer() or 0.0) + 1.0
    while (timer := machine.next_timer()) is not None and timer < end:
        for recipient, gossip in sent(machine.tick(timer), Gossip):
            if recipient == whom:
                about |= {u.contact for u in gossip.updates}
    return about


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


def test_who_is_expelled_is_gone_here_and_nothing_false_is_said_of_it() -> None:
    machine = swim(ANN, BOB)
    effects = machine.handle(Expel(ANN.node_id), now=1.5)
    assert [e.member.state for e in effects if isinstance(e, MemberChanged)] == [LEFT]
    assert machine.handle(Expel(ANN.node_id), now=1.6) == []
    for _ in range(30):
        timer = machine.next_timer()
        assert timer is not None
        for _, gossip in sent(machine.tick(timer), Gossip):
            assert all(WITNESSES[OWN.public_key].is_own_word(u) for u in gossip.updates)
