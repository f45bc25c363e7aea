"""Detector: bounds and rarities of the ping traffic; the common way is in test_machine."""

from meshnode.caps import Caps
from meshnode.gossip.detector import Detector, unless_alive
from meshnode.gossip.probing import PROBES_MAX
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.speaker import OwnSelf, Speaker
from meshnode.gossip.table import MemberTable
from meshnode.ids import Address, Contact, PublicKey
from meshnode.machine import Random
from meshnode.wire.messages import Ping
from tests.unit.gossip.people import ALIVE, ANN, BOB, DEAD, LEFT, OWN, update

SETTINGS = GossipSettings()


def detector(table: MemberTable) -> Detector:
    own = OwnSelf(OWN, name="own", caps=Caps.CPU, incarnation=1)
    rng = Random(1)
    speaker = Speaker(own, table, settings=SETTINGS, rng=rng)
    return Detector(own, table, speaker, settings=SETTINGS, rng=rng)


def table_of(*claims: Contact, state: int = ALIVE) -> MemberTable:
    table = MemberTable(SETTINGS)
    for contact in claims:
        table.apply(update(contact), 0.0)
        table.apply(update(contact, state), 0.0)
    return table


def test_one_dead_member_is_pinged_every_half_minute_and_told_why() -> None:
    made = detector(table_of(ANN, state=DEAD))
    made.start(0.0)
    pings = [(t, s) for t in range(91) for s in made.probe(float(t))]
    assert [t for t, _ in pings] == [30, 60, 90]
    ping = pings[0][1].message
    assert isinstance(ping, Ping)
    assert [u.contact for u in ping.updates] == [OWN, ANN]
    assert ping.updates[1].state == DEAD


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
    made.failed(2.6)
    assert made.awareness.scaled(0.5) == 1.0


def test_two_members_are_probed_in_each_period_and_half_as_many_in_bad_health() -> None:
    made = detector(table_of(ANN))
    made.start(0.0)
    at = made.next_deadline()
    assert len(made.probe(at)) == 1
    made.failed(at + 0.8)
    made.awareness.worse()
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


def test_only_the_absent_are_spoken_of_to_themselves() -> None:
    alive, dead = table_of(ANN).get(ANN.node_id), table_of(ANN, state=DEAD).get(ANN.node_id)
    assert alive is not None
    assert dead is not None
    assert unless_alive(alive) == []
    assert unless_alive(dead) == [update(ANN, DEAD)]
