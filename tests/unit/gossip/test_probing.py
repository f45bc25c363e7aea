"""Rounds visit everybody; probes end by the ack of who was asked, or in time."""

from collections import Counter

from meshnode.gossip.probing import RELAYS_MAX, Probe, ProbeOrder, Probes, Relay
from meshnode.machine import Random
from tests.unit.gossip.people import ANN, BOB, CID


def probe(ask_at: float | None = 1.2, fails_at: float = 1.8) -> Probe:
    return Probe(target=ANN, sent_at=1.0, ask_at=ask_at, fails_at=fails_at, accuses=True)


def test_each_round_meets_everybody_once() -> None:
    people = [ANN.node_id, BOB.node_id, CID.node_id]
    order = ProbeOrder(Random(1))
    for _ in range(5):
        assert Counter(order.next(people) for _ in people) == Counter(people)


def test_the_gone_are_skipped_and_a_newcomer_joins_the_round() -> None:
    order = ProbeOrder(Random(1))
    order.next([ANN.node_id, BOB.node_id])
    order.insert(CID.node_id)
    assert order.next([CID.node_id]) == CID.node_id
    assert order.next([]) is None


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
    assert probes.next_deadline() is None


def test_a_hint_hurries_a_probe_and_never_slows_it() -> None:
    hurried = probe()
    hurried.hurry(1.1, 0.5)
    assert (hurried.ask_at, hurried.fails_at) == (1.1, 1.6)
    hurried.hurry(1.5, 0.5)
    assert hurried.fails_at == 1.6


def test_time_slept_through_is_given_back() -> None:
    probes = Probes()
    probes.add(7, probe())
    probes.delay(10.0)
    assert probes.next_deadline() == 11.2
    assert probes.failed(11.7) == []


def test_probes_are_found_by_target_and_kind() -> None:
    probes = Probes()
    probes.add(7, probe())
    assert probes.out_to(ANN.node_id, accusing=True) is not None
    assert probes.out_to(ANN.node_id, accusing=False) is None
    assert probes.out_to(BOB.node_id, accusing=True) is None


def relay(ends_at: float = 3.0) -> Relay:
    return Relay(asker=BOB, asked_sequence=70, target=ANN.node_id, ends_at=ends_at)


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
