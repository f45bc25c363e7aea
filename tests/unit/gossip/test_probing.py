"""Rounds visit everybody; probes end by the ack of who was asked, or in time."""

from collections import Counter
from math import inf

from meshnode.gossip.probing import RELAYS_MAX, Probe, ProbeOrder, Probes, Relay
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.table import MemberTable
from meshnode.ids import Contact
from meshnode.machine import Random
from tests.unit.gossip.people import ANN, BOB, CID, tag, update


def probe(ask_at: float | None = 1.2, fails_at: float = 1.8) -> Probe:
    return Probe(target=ANN, sent_at=1.0, ask_at=ask_at, fails_at=fails_at, accuses=True)


def table_of(*contacts: Contact) -> MemberTable:
    table = MemberTable(GossipSettings())
    for contact in contacts:
        table.apply(update(contact), 0.0)
    return table


def test_each_round_meets_everybody_once() -> None:
    table = table_of(ANN, BOB, CID)
    order = ProbeOrder(Random(1))
    for _ in range(5):
        met = Counter(m.contact for _ in range(3) if (m := order.next(table)) is not None)
        assert met == Counter((ANN, BOB, CID))


def test_the_gone_are_skipped_and_a_newcomer_joins_the_round() -> None:
    order = ProbeOrder(Random(1))
    order.next(table_of(ANN, BOB))
    order.insert(tag(CID))
    found = order.next(table_of(CID))
    assert found is not None
    assert found.contact == CID
    assert order.next(table_of()) is None


def test_only_who_was_asked_can_ack() -> None:
    probes = Probes()
    probes.add(7, probe())
    assert probes.acked(8, ANN.node_id) is None
    assert probes.acked(7, BOB.node_id) is None
    assert probes.acked(7, ANN.node_id) is not None
    assert probes.acked(7, ANN.node_id) is None


def test_a_helper_can_ack_in_the_targets_place() -> None:
    probes = Probes()
    probes.add(7, probe())
    ((sequence, asking),) = probes.asking(1.2)
    asking.helpers.add(BOB.node_id)
    assert sequence == 7
    assert probes.asking(1.3) == []
    assert probes.acked(7, BOB.node_id) is asking


def test_a_probe_fails_once() -> None:
    probes = Probes()
    probes.add(7, probe())
    assert probes.next_deadline() == 1.2
    assert probes.failed(1.7) == []
    assert len(probes.failed(1.8)) == 1
    assert probes.failed(1.8) == []
    assert probes.next_deadline() == inf


def test_a_hint_hurries_a_probe_and_never_slows_it() -> None:
    hurried = probe()
    hurried.hurry(1.1, 0.5)
    assert (hurried.ask_at, hurried.fails_at) == (1.1, 1.6)
    hurried.hurry(1.5, 0.5)
    assert hurried.fails_at == 1.6


def test_helpers_that_are_not_heard_of_are_counted() -> None:
    probes = Probes()
    probes.add(7, probe())
    ((_, asking),) = probes.asking(1.2)
    assert asking.missing == 1  # nobody could be asked
    asking.helpers |= {BOB.node_id, CID.node_id}
    probes.nacked(7, BOB.node_id)
    probes.nacked(7, BOB.node_id)
    probes.nacked(7, ANN.node_id)
    probes.nacked(8, CID.node_id)
    assert asking.missing == 1


def test_probes_are_found_by_target_and_kind() -> None:
    probes = Probes()
    probes.add(7, probe())
    assert probes.out_to(ANN.node_id, accusing=True) is not None
    assert probes.out_to(ANN.node_id, accusing=False) is None
    assert probes.out_to(BOB.node_id, accusing=True) is None


def relay(ends_at: float = 3.0, nack_at: float | None = None) -> Relay:
    return Relay(asker=BOB, asked_sequence=70, target=ANN.node_id, ends_at=ends_at, nack_at=nack_at)


def test_an_asker_is_told_once_that_nothing_came() -> None:
    probes = Probes()
    probes.add_relay(1, relay(nack_at=1.5))
    assert probes.next_deadline() == 1.5
    assert probes.nacking(1.4) == []
    assert [r.asked_sequence for r in probes.nacking(1.5)] == [70]
    assert probes.nacking(1.6) == []
    assert probes.relayed(1, ANN.node_id, 2.0) is not None


def test_a_relay_is_answered_by_its_target_in_time() -> None:
    probes = Probes()
    assert probes.add_relay(1, relay())
    assert probes.relayed(1, CID.node_id, 2.0) is None
    assert probes.relayed(1, ANN.node_id, 2.0) == relay()
    assert probes.relayed(1, ANN.node_id, 2.0) is None
    probes.add_relay(2, relay())
    assert probes.relayed(2, ANN.node_id, 3.0) is None


def test_relays_are_bounded() -> None:
    probes = Probes()
    assert all(probes.add_relay(i, relay()) for i in range(RELAYS_MAX))
    assert not probes.add_relay(-1, relay())
    probes.forget_relays(3.0)
    assert probes.add_relay(-1, relay())
