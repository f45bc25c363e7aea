"""Joining over real loopback sockets: each way an invite can fail has its own error."""

from dataclasses import replace

import pytest
import trio

from meshnode.errors import (
    InviteExpired,
    InviteForeign,
    InviteUsed,
    InviteWrong,
    JoinUnreachable,
)
from meshnode.identity.certificates import Role, network_of
from meshnode.identity.invites import Invite, Ledger
from meshnode.identity.mesh import admit
from meshnode.ids import Address, NetworkId
from meshnode.net.channel import InviteChannel, MeshChannel
from meshnode.net.connection import Connection, Peer
from meshnode.net.handshaking import initiate
from meshnode.net.join import join
from meshnode.net.transport import SocketTransport
from meshnode.wire.messages import (
    Admission,
    AskHeld,
    Failure,
    Held,
    Join,
    Reply,
    Request,
)
from tests.integration.listening import QUICK, node
from tests.unit.net.mesh import (
    ALICE,
    BLOB,
    BOB,
    EVE,
    NETWORK,
    NOW,
    mesh_of,
    says_yes,
)

pytestmark = pytest.mark.integration
ASK, YES = AskHeld(blobs=(BLOB,)), Held(held=(True,))


class Sponsor:
    """A member that redeems invites with a real ledger."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.now = NOW
        self.channel = MeshChannel(
            ALICE,
            mesh_of(ALICE),
            invites=lambda: [psk for _, psk in self.ledger.psks(self.now)],
            unix_now=lambda: NOW,
        )

    def invite(self, *addresses: Address, network: NetworkId = NETWORK, uses: int = 1) -> Invite:
        self.ledger.open(
            secret=b"s" * 16, uses=uses, expires_at=int(NOW) + 60, roles=Role.WORKER, now_unix=NOW
        )
        return Invite(network, b"s" * 16, addresses, int(NOW) + 60, uses)

    async def answer(self, peer: Peer, request: Request) -> Reply:
        assert isinstance(request, Join)
        assert peer.invite is not None
        roles = self.ledger.redeem(peer.invite, peer.public_key, self.now)
        mesh = mesh_of(ALICE)
        chain = admit(
            ALICE, mesh.chain, peer.public_key, name=request.name, roles=roles, now_unix=NOW
        )
        return Admission(
            mesh_name=mesh.name,
            root_key=mesh.root_key,
            mesh_key=mesh.mesh_key,
            chain=chain,
            members=(),
            seeds=(),
        )


async def test_joining_with_a_good_invite() -> None:
    sponsor = Sponsor()
    async with node(ALICE, sponsor.answer, channel=sponsor.channel) as a:
        dead = Address("127.0.0.1", 1)
        admission = await join(sponsor.invite(dead, a.contact.address), EVE, name="eve")
        assert network_of(admission.root_key) == NETWORK
        assert len(a.pool) == 0, "a joiner is no peer to call"


async def test_a_way_that_swallows_the_first_attempt_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sponsor = Sponsor()
    (door,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    monkeypatch.setattr("meshnode.net.join.ATTEMPT_S", 0.2)
    async with door, node(ALICE, sponsor.answer, channel=sponsor.channel) as a:
        invite = sponsor.invite(Address(*door.socket.getsockname()[:2]))

        async def swallow_the_first() -> None:
            lost = await door.accept()
            monkeypatch.setattr("meshnode.net.join.ATTEMPT_S", 5.0)
            near, port = await door.accept(), a.contact.address.port
            far = await trio.open_tcp_stream("127.0.0.1", port)
            async with lost, near, far, trio.open_nursery() as pipes:
                pipes.start_soon(pipe, near, far)
                pipes.start_soon(pipe, far, near)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(swallow_the_first)
            assert (await join(invite, EVE, name="eve")).mesh_name == mesh_of(ALICE).name
            nursery.cancel_scope.cancel()


async def pipe(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    async for data in source:
        await sink.send_all(data)


async def test_used_and_expired_invites_are_told_apart() -> None:
    sponsor = Sponsor()
    async with node(ALICE, sponsor.answer, channel=sponsor.channel) as a:
        invite = sponsor.invite(a.contact.address)
        await join(invite, EVE, name="eve")
        await join(invite, EVE, name="eve")  # a lost answer can be asked for again
        with pytest.raises(InviteUsed):
            await join(invite, BOB, name="bob")
        sponsor.now = NOW + 100
        with pytest.raises(InviteExpired):
            await join(invite, BOB, name="bob")


@pytest.mark.parametrize("changed", [{"secret": b"x" * 16}, {"network": NetworkId(bytes(16))}])
async def test_an_invite_the_sponsor_does_not_know(changed: dict[str, bytes]) -> None:
    sponsor = Sponsor()
    async with node(ALICE, sponsor.answer, channel=sponsor.channel) as a:
        invite = replace(sponsor.invite(a.contact.address), **changed)
        with pytest.raises(InviteWrong, match="does not know this invite") as caught:
            await join(invite, EVE, name="eve")
        assert str(a.contact.address) in caught.value.message


async def test_a_sponsor_of_another_mesh_than_the_invites_is_foreign() -> None:
    other = network_of(EVE.public_key)
    sponsor = Sponsor()
    invite = sponsor.invite(network=other)
    lying = sponsor.channel
    lying.prologue = lambda: b"meshnode/channel/1\0" + other  # type: ignore[method-assign]  # an impostor
    async with node(ALICE, sponsor.answer, channel=lying) as a:
        with pytest.raises(InviteForeign):
            await join(replace(invite, addresses=(a.contact.address,)), EVE, name="eve")


async def test_nobody_at_any_address_gives_a_line_for_each() -> None:
    addresses = (Address("127.0.0.1", 1), Address("127.0.0.1", 2))
    with pytest.raises(JoinUnreachable) as caught:
        await join(Sponsor().invite(*addresses), EVE, name="eve")
    assert [line.split(": ")[0] for line in caught.value.because] == [str(a) for a in addresses]
    assert all("refused" in line for line in caught.value.because)


async def test_a_sponsor_that_says_nothing_is_unreachable_in_time() -> None:
    listening = trio.socket.socket()
    await listening.bind(("127.0.0.1", 0))
    listening.listen()
    address = Address("127.0.0.1", listening.getsockname()[1])
    with pytest.raises(JoinUnreachable) as caught:
        await join(Sponsor().invite(address), EVE, name="eve", timeout_s=0.3)
    assert str(address) in caught.value.because[0]
    listening.close()


async def test_a_joiner_can_do_nothing_but_join() -> None:
    sponsor = Sponsor()
    async with node(ALICE, sponsor.answer, channel=sponsor.channel) as a:
        invite = sponsor.invite(a.contact.address)
        stream = await trio.open_tcp_stream("127.0.0.1", a.contact.address.port)
        transport = SocketTransport(stream.socket, unacknowledged_ms=1000)
        secured = await initiate(transport, InviteChannel(EVE, invite), expect=None)
        connection = Connection(transport, secured, QUICK)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run, says_yes)
            reply = await connection.call(ASK)
            assert isinstance(reply, Failure)
            assert "only join" in reply.message
            nursery.cancel_scope.cancel()
