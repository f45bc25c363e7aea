"""Meetings half-way at a seed, and attacks on them, with their defences and without."""

from pathlib import Path

import pytest
import trio

from meshnode.errors import PeerUnreachable
from meshnode.identity.sealing import SEED_NETWORK
from meshnode.ids import Address, Contact, PublicKey
from meshnode.net import meeting
from meshnode.net.tokens import Tokens
from meshnode.net.transport import SocketTransport
from meshnode.node import meetings as meetings_module
from meshnode.node import reach as reach_module
from meshnode.node.links import Link
from meshnode.node.meetings import MEETINGS_MAX, Meetings
from meshnode.node.rendezvous import Rendezvous
from meshnode.wire.messages import Reply, Request
from meshnode.wire.reach import Circuit, Meet, OfferMeeting, Seen, WhereIs
from tests.integration.rendezvous import NET, Field, Member, field, refused
from tests.integration.test_reach import seeded, two_members, up
from tests.unit.net.mesh import ALICE, BOB, CAROL

pytestmark = pytest.mark.integration
DEFENDED = pytest.mark.parametrize("defended", [True, False])


async def arranged(place: Field) -> tuple[Member, Member, bytes, bytes]:
    """A caller, whom it wants to meet, and the token of each."""
    a, b = await place.member(), await place.member()
    await b.reserve()
    reply = await a.ask(Meet(target=b.identity.node_id))
    assert isinstance(reply, Circuit)
    (offer,) = (asked for asked in b.asked if isinstance(asked, OfferMeeting))
    assert offer.caller == a.identity.public_key
    return a, b, reply.token, offer.token


async def test_each_is_told_where_the_other_one_is_seen(tmp_path: Path) -> None:
    async with field(tmp_path) as place:
        a, b, token_a, token_b = await arranged(place)
        shown_a, shown_b = await a.enter(token_a), await b.enter(token_b)
        for asker, token, other, shown in (
            (a, token_a, b, shown_b),
            (b, token_b, a, shown_a),
        ):
            seen = await asker.ask(WhereIs(token=token))
            assert isinstance(seen, Seen)
            assert seen.contact.public_key == other.identity.public_key
            assert seen.contact.address.port == shown._socket.getsockname()[1]
        for pipe in (shown_a, shown_b):
            pipe.close()


async def test_who_comes_alone_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meetings_module, "COME_S", 0.05)
    async with field(tmp_path) as place:
        a, _, token, _ = await arranged(place)
        pipe = await a.enter(token)
        with pytest.raises(PeerUnreachable, match="did not come"):
            await a.ask(WhereIs(token=token))
        pipe.close()


@DEFENDED
async def test_no_meeting_leads_into_another_mesh(
    tmp_path: Path, defended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not defended:
        monkeypatch.setattr(Rendezvous, "_check_connected", lambda *_: None)
    async with field(tmp_path) as place:
        a, b = await place.member("home"), await place.member("other")
        await b.reserve()
        assert await refused(a.ask(Meet(target=b.identity.node_id))) is defended


@DEFENDED
async def test_only_those_who_meet_are_told_where_they_are(
    tmp_path: Path, defended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third member has the caller's token, stolen from it."""
    if not defended:
        monkeypatch.setattr(Meetings, "other", tell_anybody)
    async with field(tmp_path) as place:
        a, b, token_a, token_b = await arranged(place)
        thief = await place.member()
        pipes = [await a.enter(token_a), await b.enter(token_b)]
        assert await refused(thief.ask(WhereIs(token=token_a))) is defended
        for pipe in pipes:
            pipe.close()


async def tell_anybody(self: Meetings, asker: PublicKey, token: bytes) -> Contact:
    _, meeting = self._open[token]
    await meeting.both.wait()
    return Contact(meeting.keys[1], meeting.seen[meeting.keys[1]])


@DEFENDED
async def test_a_meeting_leads_to_no_internal_address_elsewhere(
    tmp_path: Path, defended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rendezvous that lies names a service on another block of loopback, as on another LAN."""
    if not defended:
        monkeypatch.setattr(reach_module, "may_dial", lambda *_, **__: True)
    await two_members(tmp_path, "a", "b")
    async with seeded(tmp_path) as (seed, stack):
        a = await up(tmp_path, "a", seed, stack)
        (service,) = await trio.open_tcp_listeners(0, host="127.77.0.1")
        inside = Address("127.77.0.1", service.socket.getsockname()[1])
        reach = a.parts.reach
        (link,) = reach.links.seeds
        now = trio.current_time()
        token, _ = seed.rendezvous._meetings.arrange(a.identity.public_key, BOB.public_key, now)

        class Liar(Link):
            async def ask(self, request: Request) -> Reply:
                return Seen(contact=Contact(BOB.public_key, inside))

        liar = Liar(link.contact, SEED_NETWORK, link.pool)
        try:
            (await reach._meet(liar, token, BOB.public_key)).close()
            visited = True
        except PeerUnreachable:
            visited = False
        assert visited is not defended
        await service.aclose()


async def test_the_meetings_are_bounded_and_end() -> None:
    meetings = Meetings(Tokens())
    for _ in range(MEETINGS_MAX):
        meetings.arrange(ALICE.public_key, BOB.public_key, now=0.0)
    assert len(meetings) == MEETINGS_MAX
    assert await refused(arrange(meetings, now=1.0))
    meetings.tokens._out.clear()
    assert not await refused(arrange(meetings, now=meetings_module.LASTS_S))
    assert len(meetings) == 1


async def arrange(meetings: Meetings, *, now: float) -> None:
    meetings.arrange(ALICE.public_key, CAROL.public_key, now)


async def test_two_that_connect_at_once_have_one_connection() -> None:
    """On loopback nothing drops a first packet, so one side listens as a NAT's memory would."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    own = ("127.0.0.1", 0)
    port = listener.socket.getsockname()[1]
    sock = await meeting._open_together(listener.socket.family, own, Address("127.0.0.1", port))
    transport = SocketTransport(sock, unacknowledged_ms=NET.unacknowledged_ms)
    assert transport.address.port == port
    transport.close()
    await listener.aclose()
    with pytest.raises(PeerUnreachable) as refusal:
        await meeting._open_together(listener.socket.family, own, Address("127.0.0.1", port))
    assert refusal.value.because[0].count("refused") == meeting.TRIES
