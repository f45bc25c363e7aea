"""Which way a datagram goes, and what is taken in from a connection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from meshnode.errors import RemoteProtocolError
from meshnode.ids import Address, Contact, PublicKey
from meshnode.net.connection import Peer
from meshnode.node import tunnel as page
from meshnode.node.tunnel import (
    HEARD_S,
    IN_FLIGHT_MAX,
    TRY_DIRECTLY_EVERY_S,
    WAKE_AFTER_S,
    WAKE_EVERY_S,
    Tunnel,
)
from meshnode.wire.messages import Ack, Received
from meshnode.wire.reach import Carry
from tests.unit.net.mesh import ALICE, BOB, EVE

OWN = Contact(ALICE.public_key, Address("10.0.0.1", 1))
THERE = Contact(BOB.public_key, Address("10.0.0.2", 2))
DEFENDED = pytest.mark.parametrize("defended", [True, False], ids=["defended", "switched-off"])


def peer(relayed: bool = False, key: PublicKey = BOB.public_key) -> Peer:
    return Peer(
        public_key=key,
        node_id=Contact(key, THERE.address).node_id,
        certificate=None,
        invite=None,
        address=THERE.address,
        relayed=relayed,
    )


@dataclass
class Link:
    """Stands where the pool's connection would: whom it leads to is all that counts."""

    peer: Peer


@dataclass
class Wires:
    """What the tunnel would reach: a connection or none, and what was sent over it."""

    link: Link | None = None
    sent: list[Carry] = field(default_factory=list)
    stuck: bool = False

    def connection_with(self, node_id: bytes) -> Link | None:
        return self.link

    async def call_over(self, node_id: bytes, request: Carry, *, timeout_s: float) -> None:
        if self.stuck:
            await trio.sleep_forever()
        self.sent.append(request)


@dataclass
class Field:
    tunnel: Tunnel
    wires: Wires
    delivered: list[Received]
    woken: list[Contact]


@asynccontextmanager
async def tunnelled(**wires: Any) -> AsyncIterator[Field]:
    delivered: list[Received] = []
    woken: list[Contact] = []
    ends = Wires(**wires)
    async with trio.open_nursery() as nursery:
        tunnel = Tunnel(
            own=OWN,
            pool=ends,  # type: ignore[arg-type] - only two of its methods are used
            nursery=nursery,
            open_packet=lambda packet, claimed: Received(
                Contact(PublicKey(packet), claimed.address), Ack(sequence=1)
            ),
            deliver=delivered.append,
            wake=woken.append,
        )
        yield Field(tunnel, ends, delivered, woken)
        nursery.cancel_scope.cancel()


async def test_who_is_heard_is_written_to_directly(autojump_clock: MockClock) -> None:
    async with tunnelled(link=Link(peer())) as field:
        field.tunnel.heard(Received(THERE, Ack(sequence=1)))
        assert not field.tunnel.takes(THERE, b"x")
        await wait_all_tasks_blocked()
        assert field.wires.sent == []
        assert field.tunnel.heard_s(THERE.public_key) == 0
        await trio.sleep(HEARD_S)
        field.tunnel.takes(THERE, b"x")
        await wait_all_tasks_blocked()
        assert len(field.wires.sent) == 1


async def test_behind_a_relay_nothing_goes_directly_but_a_try_now_and_then(
    autojump_clock: MockClock,
) -> None:
    async with tunnelled(link=Link(peer(relayed=True))) as field:
        await trio.sleep(TRY_DIRECTLY_EVERY_S)
        assert [field.tunnel.takes(THERE, b"x") for _ in range(3)] == [False, True, True]
        await trio.sleep(TRY_DIRECTLY_EVERY_S)
        assert not field.tunnel.takes(THERE, b"x")


async def test_one_that_is_heard_and_carries_does_not_hear_us(autojump_clock: MockClock) -> None:
    async with tunnelled(link=Link(peer())) as field:
        field.tunnel.heard(Received(THERE, Ack(sequence=1)))
        field.tunnel.arrived(peer(), Carry(contact=THERE, body=(BOB.public_key,)))
        assert not field.tunnel.takes(THERE, b"x")
        await wait_all_tasks_blocked()
        assert [c.body for c in field.wires.sent] == [(b"x",)]


async def test_it_stands_in_while_members_are_heard_over_connections_only(
    autojump_clock: MockClock,
) -> None:
    async with tunnelled(link=Link(peer())) as field:
        assert not field.tunnel.stands_in, "nobody is there"
        field.tunnel.arrived(peer(), Carry(contact=THERE, body=(BOB.public_key,)))
        assert field.tunnel.stands_in
        field.tunnel.heard(Received(THERE, Ack(sequence=1)))
        assert not field.tunnel.stands_in
        await trio.sleep(HEARD_S)
        field.tunnel.arrived(peer(), Carry(contact=THERE, body=(BOB.public_key,)))
        assert field.tunnel.stands_in, "it was blocked later"
        await trio.sleep(HEARD_S)
        assert not field.tunnel.stands_in, "nobody is there any more"


async def test_who_is_silent_is_looked_for_less_and_less_often(autojump_clock: MockClock) -> None:
    async with tunnelled() as field:
        assert not field.tunnel.takes(THERE, b"x")
        assert field.woken == []
        await trio.sleep(WAKE_AFTER_S)
        for _ in range(200):
            field.tunnel.takes(THERE, b"x")
            await trio.sleep(1)
        assert len(field.woken) == 3, f"after 1, {WAKE_EVERY_S:.0f} and twice that more"


async def test_a_suspect_is_looked_for_at_once(autojump_clock: MockClock) -> None:
    async with tunnelled() as field:
        field.tunnel.doubt(THERE)
        field.tunnel.doubt(THERE)
        assert field.woken == [THERE]


async def test_packets_on_their_way_are_bounded(autojump_clock: MockClock) -> None:
    async with tunnelled(link=Link(peer()), stuck=True) as field:
        for _ in range(IN_FLIGHT_MAX + 5):
            field.tunnel.takes(THERE, b"x")
        assert field.tunnel.dropped == 5


async def test_a_packet_under_another_name_is_refused(autojump_clock: MockClock) -> None:
    async with tunnelled(link=Link(peer())) as field:
        other = Contact(EVE.public_key, THERE.address)
        for carry in (
            Carry(contact=other, body=(EVE.public_key,)),
            Carry(contact=THERE, body=(EVE.public_key,)),
            Carry(contact=Contact(BOB.public_key, Address("a.example", 1)), body=(b"",)),
        ):
            with pytest.raises(RemoteProtocolError):
                field.tunnel.arrived(peer(), carry)
        assert field.delivered == []
        field.tunnel.arrived(peer(), Carry(contact=THERE, body=(BOB.public_key,)))
        assert len(field.delivered) == 1


@DEFENDED
async def test_our_answers_cannot_be_aimed_at_a_third_party(
    defended: bool, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not defended:
        monkeypatch.setattr(page, "TRY_DIRECTLY_EVERY_S", 0.0)
    async with tunnelled(link=Link(peer())) as field:
        victim = Contact(BOB.public_key, Address("203.0.113.9", 53))
        await trio.sleep(TRY_DIRECTLY_EVERY_S)
        direct = 0
        for _ in range(100):
            field.tunnel.arrived(peer(), Carry(contact=victim, body=(BOB.public_key,)))
            direct += not field.tunnel.takes(victim, b"x" * 1000)
        assert (direct <= 1) is defended
        field.wires.link = None
        assert field.tunnel.takes(victim, b"x" * 1000), "nor when the connection is gone"
