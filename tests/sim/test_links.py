"""What lies between nodes: loss in bursts, delays, MTU, NAT, partitions, cookies, streams."""

from dataclasses import replace
from itertools import pairwise
from statistics import mean

import pytest

from meshnode.ids import Address, Contact, ContentHash
from meshnode.machine import Random
from meshnode.sim.links import Bursts, Link, Losses, Spread, jitter_of
from meshnode.sim.nat import Nat, NatKind
from meshnode.sim.network import Network, contact_of
from meshnode.sim.streams import REFUSED, TIMED_OUT, Streams
from meshnode.sim.world import World
from meshnode.wire.messages import (
    Ack,
    AskHeld,
    FindNode,
    FoundNodes,
    Held,
    Ping,
    Received,
    Send,
)

A, B = Address("10.0.0.1", 1), Address("10.0.0.2", 1)
STEADY = Link(delay_s=0.05, jitter_s=0.0, spread=Spread.CONSTANT)


class Ear:
    """Notes what it hears, and when."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, Received]] = []

    def handle(self, event: Received, now: float) -> list[Send]:
        self.heard.append((now, event))
        return []

    def tick(self, now: float) -> list[Send]:
        return []

    def next_timer(self) -> None:
        return None


class Place:
    """Some hosts with an ear each."""

    def __init__(self, link: Link = STEADY, count: int = 3, **options) -> None:
        self.world: World = World()
        self.network = Network(self.world, Random(1), link, real=True, **options)
        self.contacts = [contact_of(n) for n in range(count)]
        self.ears = [Ear() for _ in range(count)]
        for contact, ear in zip(self.contacts, self.ears, strict=True):
            self.network.join(contact, ear)

    def ping(self, source: int, target: int, sequence: int = 1) -> None:
        to = self.contacts[target]
        self.network.send(self.contacts[source], Send(to, Ping(sequence=sequence)))

    def sequences(self, target: int) -> list[int]:
        return [r.message.sequence for _, r in self.ears[target].heard]


def test_bursts_lose_as_much_as_they_say_and_in_a_row() -> None:
    link, losses = Link(bursts=Bursts.of(0.25, packets=5.0)), Losses(Random(1))
    lost = [losses.lost(link, A, B, 100) for _ in range(40_000)]
    assert mean(lost) == pytest.approx(0.25, abs=0.02)
    after_a_loss = mean(b for a, b in pairwise(lost) if a)
    assert after_a_loss == pytest.approx(0.8, abs=0.03)


def test_independent_loss_is_independent() -> None:
    link, losses = Link(loss=0.25), Losses(Random(1))
    lost = [losses.lost(link, A, B, 100) for _ in range(40_000)]
    assert mean(b for a, b in pairwise(lost) if a) == pytest.approx(0.25, abs=0.02)


def test_delays_have_the_shape_that_is_asked_for() -> None:
    rng = Random(1)
    drawn = {
        spread: sorted(
            jitter_of(Link(jitter_s=0.01, spread=spread, sigma=1.0), rng) for _ in range(4000)
        )
        for spread in Spread
    }
    assert set(drawn[Spread.CONSTANT]) == {0.0}
    assert mean(drawn[Spread.EXPONENTIAL]) == pytest.approx(0.01, rel=0.1)
    assert drawn[Spread.LOGNORMAL][2000] == pytest.approx(0.01, rel=0.1)
    assert drawn[Spread.LOGNORMAL][3960] > drawn[Spread.EXPONENTIAL][3960]


def test_a_datagram_in_fragments_is_lost_with_one_of_them() -> None:
    losses = Losses(Random(1))
    link = Link(loss=0.1, mtu=600)
    lost = [losses.lost(link, A, B, 1200) for _ in range(20_000)]
    assert 0.18 < sum(lost) / len(lost) < 0.20
    assert all(losses.lost(replace(link, fragments=False), A, B, 601) for _ in range(9))


def test_a_datagram_longer_than_the_path_takes_is_dropped_where_fragments_are() -> None:
    place = Place(Link(delay_s=0.05, jitter_s=0.0, mtu=600, fragments=False))
    contacts = tuple(contact_of(n) for n in range(16))
    source, target = place.contacts[:2]
    place.network.send(source, Send(target, FoundNodes(rpc=1, contacts=contacts)))
    place.network.send(source, Send(target, FoundNodes(rpc=2, contacts=contacts[:3])))
    place.world.run(1.0)
    assert [r.message.rpc for _, r in place.ears[1].heard] == [2]


def test_the_two_directions_of_a_path_may_differ() -> None:
    place = Place()
    sites = place.network.routes.sites
    sites[place.contacts[0].address], sites[place.contacts[1].address] = 1, 2
    place.network.routes.between = {(1, 2): Link(delay_s=0.3, jitter_s=0.0)}
    place.ping(0, 1)
    place.ping(1, 0)
    place.world.run(1.0)
    assert place.ears[1].heard[0][0] == 0.3
    assert place.ears[0].heard[0][0] == 0.05


def test_a_cut_in_one_direction_lets_the_other_through() -> None:
    place = Place()
    place.network.cut_one_way([place.contacts[0]], [place.contacts[1]])
    place.ping(0, 1, 1)
    place.ping(1, 0, 2)
    place.ping(0, 2, 3)
    place.world.run(1.0)
    assert (place.sequences(1), place.sequences(0), place.sequences(2)) == ([], [2], [3])
    place.network.heal()
    place.ping(0, 1, 4)
    place.world.run(2.0)
    assert place.sequences(1) == [4]


def test_an_address_is_proved_by_what_came_back_from_it() -> None:
    place = Place()
    first = Send(place.contacts[1], FindNode(rpc=1, target=bytes(32)))
    place.network.send(place.contacts[0], first)
    padded = place.network.bytes_by[FindNode]
    place.world.run(1.0)
    place.network.send(place.contacts[1], Send(place.contacts[0], Ack(sequence=1)))
    place.world.run(2.0)
    place.network.send(place.contacts[0], first)
    place.world.run(3.0)
    assert [r.proved for _, r in place.ears[1].heard] == [False, True]
    bare = place.network.bytes_by[FindNode] - padded
    assert bare < 200
    assert padded > 4 * bare, "as long as its answer may be"


def test_packets_of_another_mesh_do_not_open() -> None:
    place = Place()
    stranger = contact_of(9)
    place.network.plug(place.network.host(stranger, mesh=b"another"), Ear())
    place.network.send(stranger, Send(place.contacts[0], Ping(sequence=1)))
    place.world.run(1.0)
    assert place.ears[0].heard == []
    assert place.network.strangers == 1


# ---------------------------------------------------------------- NAT


REMOTE, OTHER_PORT, OTHER_HOST = Address("9.0.0.1", 1), Address("9.0.0.1", 2), Address("9.0.0.2", 1)
LET_IN = {
    NatKind.FULL_CONE: (True, True, True),
    NatKind.RESTRICTED: (True, True, False),
    NatKind.PORT_RESTRICTED: (True, False, False),
    NatKind.SYMMETRIC: (True, False, False),
}


@pytest.mark.parametrize("kind", NatKind)
def test_each_nat_lets_in_whom_its_name_says(kind: NatKind) -> None:
    nat = Nat(kind, "8.0.0.1")
    outside = nat.outward(A, REMOTE, 0.0)
    let_in = tuple(
        nat.inward(outside, remote, 1.0) == A for remote in (REMOTE, OTHER_PORT, OTHER_HOST)
    )
    assert let_in == LET_IN[kind]
    same = nat.outward(A, OTHER_HOST, 1.0) == outside
    assert same == (kind is not NatKind.SYMMETRIC)
    assert nat.inward(outside, REMOTE, 100.0) is None, "an idle mapping is forgotten"


def test_a_host_behind_a_nat_is_seen_at_the_boxs_address_and_answered_there() -> None:
    place = Place()
    inside, ear = Contact(contact_of(8).public_key, Address("192.168.0.2", 6174)), Ear()
    nat = Nat(NatKind.PORT_RESTRICTED, "8.0.0.1")
    place.network.plug(place.network.host(inside, nat=nat), ear)
    place.network.send(inside, Send(place.contacts[0], Ping(sequence=1)))
    place.world.run(1.0)
    seen = place.ears[0].heard[0][1].sender
    assert seen.address.host == "8.0.0.1"
    for source in (0, 1):  # whom it wrote to, and a third party
        place.network.send(place.contacts[source], Send(seen, Ack(sequence=source)))
    place.network.send(place.contacts[1], Send(inside, Ack(sequence=7)))  # no such route
    place.world.run(2.0)
    assert [r.message.sequence for _, r in ear.heard] == [0]
    nat.rebind()
    place.network.send(place.contacts[0], Send(seen, Ack(sequence=8)))
    place.world.run(3.0)
    assert len(ear.heard) == 1


# ---------------------------------------------------------------- streams


class Calls:
    """One host that asks another, which answers with what it was asked."""

    def __init__(self) -> None:
        self.place = Place()
        self.streams = Streams(self.place.network, Random(2))
        self.place.network.on_kill.append(self.streams.dropped)
        self.ends: list[tuple[float, object]] = []
        self.asked: list[int] = []
        self.silent = False
        target = self.place.contacts[1]
        self.streams.doors[target.address] = self.answer

    def answer(self, peer, request, reply) -> None:
        self.asked.append(len(request.blobs))
        if not self.silent:
            reply(Held(held=(True,) * len(request.blobs)))

    def ask(self, size: int = 1, timeout_s: float = 5.0) -> None:
        source = self.place.network.hosts[self.place.contacts[0].address]
        blobs = tuple(ContentHash(bytes([n]) * 32) for n in range(size))
        self.streams.call(
            source,
            self.place.contacts[1],
            AskHeld(blobs=blobs),
            timeout_s,
            lambda end: self.ends.append((self.place.world.now, end)),
        )


def test_a_call_takes_a_handshake_once_and_then_a_round_trip() -> None:
    calls = Calls()
    calls.ask()
    calls.place.world.run(2.0)
    began = calls.place.world.now
    calls.ask(2)
    calls.place.world.run(10.0)
    assert calls.ends[0][0] == pytest.approx(0.35, abs=0.001)
    assert calls.ends[1][0] - began == pytest.approx(0.1, abs=0.001)
    assert calls.ends[1][1] == Held(held=(True, True))
    assert len(calls.ends) == 2


def test_calls_stay_in_order_and_share_the_bandwidth() -> None:
    calls = Calls()
    calls.place.network.link = Link(delay_s=0.05, jitter_s=0.05, bytes_per_s=10_000.0)
    for size in (40, 1, 20, 2):
        calls.ask(size)
    calls.place.world.run(20.0)
    assert calls.asked == [40, 1, 20, 2]
    assert calls.ends[0][0] > 0.3 + 40 * 32 / 10_000


def test_who_is_gone_refuses_and_who_is_cut_off_says_nothing() -> None:
    calls = Calls()
    calls.silent = True
    calls.ask()
    calls.place.world.run(1.0)
    calls.place.network.kill(calls.place.contacts[1])
    calls.ask()
    calls.place.world.run(2.0)
    assert [end for _, end in calls.ends] == [REFUSED, REFUSED]


def test_a_partition_holds_a_call_up_until_it_heals_or_times_out() -> None:
    calls = Calls()
    calls.place.network.partition([[calls.place.contacts[0]], [calls.place.contacts[1]]])
    calls.ask(1, timeout_s=1.0)
    calls.ask(2, timeout_s=20.0)
    calls.place.world.run(3.0)
    calls.place.network.heal()
    calls.place.world.run(30.0)
    assert [end for _, end in calls.ends] == [TIMED_OUT, Held(held=(True, True))]
