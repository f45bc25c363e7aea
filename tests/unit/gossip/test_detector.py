"""Detector: bounds and rarities of the ping traffic; the common way is in test_machine."""

from meshnode.gossip.detector import Detector
from meshnode.gossip.probing import PROBES_MAX
from meshnode.gossip.settings import GossipSettings, without_lifeguard
from meshnode.gossip.speaker import Speaker
from meshnode.gossip.table import MemberTable
from meshnode.ids import Address, Contact, PublicKey
from meshnode.machine import Random
from meshnode.wire.messages import Nack, Ping, PingRequest
from tests.unit.gossip.people import (
    ALIVE,
    ANN,
    BOB,
    CID,
    DEAD,
    DOT,
    GUS,
    LEFT,
    OWN,
    SUSPECT,
    accusation,
    own_self,
    update,
)

SETTINGS = GossipSettings()


def detector(table: MemberTable, settings: GossipSettings = SETTINGS) -> Detector:
    own = own_self()
    rng = Random(1)
    speaker = Speaker(own, table, settings=settings, rng=rng)
    return Detector(own, table, speaker, clock=lambda own_now: own_now, settings=settings, rng=rng)


def table_of(*contacts: Contact, state: int = ALIVE) -> MemberTable:
    table = MemberTable(SETTINGS)
    for contact in contacts:
        table.apply(update(contact), 0.0)
        if state == LEFT:
            table.apply(update(contact, LEFT), 0.0)
        if state in (SUSPECT, DEAD):
            table.accuse(accusation(contact, GUS), 0.0, 0.0)
        if state == DEAD:
            table.expired(0.0, 1000.0)
    return table


def test_a_dead_member_is_pinged_now_and_then_and_told_why() -> None:
    made = detector(table_of(ANN, state=DEAD))
    made.start(0.0)
    pings = [(t, s) for t in range(61) for s in made.probe(float(t))]
    assert 15 < len(pings) < 40  # each 2.5 s on average
    ping = pings[0][1].message
    assert isinstance(ping, Ping)
    assert [u.contact for u in ping.updates] == [OWN, ANN]
    assert ping.accusations == (accusation(ANN, OWN),)


def test_all_members_together_do_not_flood_one_that_is_gone() -> None:
    assert SETTINGS.dead_probe_s(present=2000, dead=1) == 500.0
    assert SETTINGS.dead_probe_s(present=1000, dead=1000) == 2.5


def test_unanswered_pings_are_bounded() -> None:
    made = detector(table_of())
    sends = []
    for i in range(PROBES_MAX + 10):
        contact = Contact(PublicKey(i.to_bytes(32, "big")), Address("10.0.0.1", 1))
        sends += made.introduce(contact, 0.0)
    assert len(sends) == PROBES_MAX


def test_bad_health_gives_others_more_time() -> None:
    made = detector(table_of(ANN))
    made.start(0.0)
    made.awareness.worse()
    made.probe(1.0)
    assert made.next_deadline() == 2.0  # asks others after twice the half second
    assert made.failed(2.5)[0] == []
    assert made.failed(2.6)[0] == [ANN.node_id]


def failing(made: Detector, nacks: int) -> int:
    """Let one probe fail of which so many helpers answered; return the health after it."""
    made.start(0.0)
    ((ping,)) = [s for s in made.probe(1.0) if isinstance(s.message, Ping)]
    requests = made.ask_others(2.0)
    for send in requests[:nacks]:
        assert isinstance(send.message, PingRequest)
        made.nacked(send.recipient, send.message.sequence)
    assert made.failed(3.0)[0] == [ping.recipient.node_id]
    return made.awareness.score


def test_our_health_is_in_doubt_as_far_as_helpers_are_silent_too() -> None:
    everybody = (ANN, BOB, CID, DOT)
    assert failing(detector(table_of(*everybody)), nacks=3) == 0
    assert failing(detector(table_of(*everybody)), nacks=1) == 2
    assert failing(detector(table_of(ANN)), nacks=0) == 1
    assert failing(detector(table_of(*everybody), without_lifeguard(SETTINGS)), nacks=0) == 0


def test_an_asker_hears_that_nothing_came_if_its_address_is_proved() -> None:
    made = detector(table_of(ANN, BOB))
    for proved, nacks in ((True, [Nack(sequence=7)]), (False, [])):
        made.ping_for(ANN, PingRequest(sequence=7, target=BOB), 1.0, proved=proved)
        assert [s.message for s in made.probe(1.3)] == nacks


def test_two_members_are_probed_in_each_period_and_half_as_many_in_bad_health() -> None:
    made = detector(table_of(ANN))
    made.start(0.0)
    at = made.next_deadline()
    assert len(made.probe(at)) == 1
    made.failed(at + 0.8)
    made.awareness.score = 1
    assert made.probe(at + 0.49) == []
    assert len(made.probe(at + 0.5)) == 1
    made.failed(at + 2.2)
    assert made.probe(at + 1.49) == []
    assert len(made.probe(at + 1.5)) == 1


def test_who_just_left_is_not_greeted_but_later_is() -> None:
    made = detector(table_of(ANN, state=LEFT))
    assert made.greet(ANN, 3.0) == []
    assert len(made.greet(ANN, 6.0)) == 1
    assert made.greet(ANN, 6.0) == []  # one greeting is on its way


def test_members_that_live_need_no_greeting() -> None:
    assert detector(table_of(ANN)).greet(ANN, 1.0) == []
    assert len(detector(table_of(ANN)).greet(BOB, 1.0)) == 1
