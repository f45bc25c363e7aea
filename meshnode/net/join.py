"""The joiner's side of joining: find the sponsor at one of an invite's addresses, be admitted."""

from dataclasses import dataclass, field

import trio

from meshnode.errors import (
    InviteForeign,
    InviteWrong,
    JoinUnreachable,
    MeshnodeError,
    NotAMember,
    PeerUnreachable,
    RemoteProtocolError,
)
from meshnode.identity.invites import Invite
from meshnode.identity.keys import Identity
from meshnode.ids import Address
from meshnode.net.addresses import why
from meshnode.net.channel import ChannelKeys, InviteChannel, verify_own_time
from meshnode.net.connection import Connection, Peer
from meshnode.net.failures import error_of
from meshnode.net.handshaking import Secured, initiate
from meshnode.net.settings import NetSettings
from meshnode.net.transport import SocketTransport, Transport
from meshnode.wire.messages import Admission, Failure, Join, Reply, Request

NEXT_ADDRESS_S = 0.25
"""RFC 8305's pause before the next address is tried beside the ones under way."""
ATTEMPT_S = 5.0
"""One attempt at an address: TCP connect and handshake. Where every first packet may be lost (a
quarter of them, say) one attempt in seven takes longer, so silence is tried twice more."""
ROUNDS = 3
CALL_TRIES = 2
"""Joining again after a lost answer costs the invite no further use."""


@dataclass(slots=True)
class _Race:
    """Attempts at several addresses; the first to shake hands wins, the others are cancelled."""

    cancel: trio.CancelScope
    winner: tuple[Transport, Secured] | None = None
    unreachable: dict[Address, str] = field(default_factory=dict)
    silent: list[Address] = field(default_factory=list)
    """Connected, and closed without a word: what a sponsor does to an invite it does not know."""
    refused: MeshnodeError | None = None
    timed_out: bool = False
    """Some address neither answered nor refused in time."""


async def join(
    invite: Invite, identity: Identity, *, name: str, timeout_s: float = 10.0
) -> Admission:
    """Redeem an invite and return what makes this device a member.

    Raises JoinUnreachable (a line for each address), InviteWrong (a sponsor was there and closed
    without a word), InviteForeign (another mesh's), NotAMember (the sponsor's own membership is
    not good), and what the sponsor answers, such as InviteExpired and InviteUsed. Cancelled, it
    leaves nothing open; the sponsor may have counted the use.
    """
    channel = InviteChannel(identity, invite)
    with trio.move_on_after(timeout_s):
        reply = await _join(invite, channel, name)
        return _checked(reply, invite, identity)
    raise JoinUnreachable(
        f"joining took longer than {timeout_s:g} s",
        because=[f"{address}: no answer in time" for address in invite.addresses],
        try_="is the sponsor running and reachable from here?",
    )


async def _join(invite: Invite, channel: ChannelKeys, name: str) -> Reply:
    for tried in range(CALL_TRIES):
        transport, secured = await _find_sponsor(invite, channel)
        connection = Connection(transport, secured, NetSettings())
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.run, _takes_no_calls)
                try:
                    return await connection.call(Join(name=name))
                except PeerUnreachable as error:
                    lost = error
                finally:
                    nursery.cancel_scope.cancel()
        finally:
            connection.close("joined")
        if tried == CALL_TRIES - 1:
            raise JoinUnreachable(
                f"the sponsor at {transport.address} did not finish", because=lost.because
            )
    raise AssertionError("the last try returns or raises")


async def _find_sponsor(invite: Invite, channel: ChannelKeys) -> tuple[Transport, Secured]:
    """Return a secured channel to the first sponsor that answers, or raise for all of them."""
    race = _Race(trio.CancelScope(), timed_out=True)
    for _ in range(ROUNDS):
        if not race.timed_out:
            break
        race = await _run(_Race(trio.CancelScope()), invite, channel)
        if race.winner is not None:
            return race.winner
        if race.refused is not None:
            raise race.refused
        if race.silent:
            raise InviteWrong(
                f"the sponsor at {race.silent[0]} does not know this invite",
                because=[f"{a}: closed the connection without a word" for a in race.silent]
                + [f"{a}: {reason}" for a, reason in race.unreachable.items()],
                try_="ask for a new invite: meshnode invite",
            )
    raise JoinUnreachable(
        "no address in the invite answered",
        because=[f"{a}: {reason}" for a, reason in race.unreachable.items()],
        try_="is the sponsor running and reachable from here?",
    )


async def _run(race: _Race, invite: Invite, channel: ChannelKeys) -> _Race:
    """Try every address once, each a little after the one before; return what came of it."""
    try:
        with race.cancel:
            async with trio.open_nursery() as nursery:
                for address in invite.addresses:
                    failed = trio.Event()
                    nursery.start_soon(_try_address, address, channel, race, failed)
                    with trio.move_on_after(NEXT_ADDRESS_S):
                        await failed.wait()
    except BaseException:
        if race.winner is not None:
            race.winner[0].close()
        raise
    return race


async def _try_address(
    address: Address, channel: ChannelKeys, race: _Race, failed: trio.Event
) -> None:
    settings = NetSettings()
    transport: Transport | None = None
    secured: Secured | None = None
    race.unreachable[address] = f"timed out after {ATTEMPT_S:g} s"
    attempt = trio.move_on_after(ATTEMPT_S)
    try:
        with attempt:
            transport = await SocketTransport.to(
                address, unacknowledged_ms=settings.unacknowledged_ms
            )
            race.unreachable[address] = "connected, but nothing was said in time"
            secured = await initiate(transport, channel, expect=None)
    except (InviteForeign, NotAMember) as error:
        race.refused = error
    except (RemoteProtocolError, OSError, UnicodeError, trio.BrokenResourceError) as error:
        race.unreachable[address] = why(error)
        if transport is not None:
            del race.unreachable[address]
            race.silent.append(address)
    finally:
        failed.set()
        race.timed_out = race.timed_out or attempt.cancelled_caught
        if transport is not None and secured is not None and race.winner is None:
            race.winner = (transport, secured)
            race.cancel.cancel()
        elif transport is not None:
            transport.close()


def _checked(reply: Reply, invite: Invite, identity: Identity) -> Admission:
    """Return the admission if it is one for this mesh and this key."""
    if isinstance(reply, Failure):
        raise error_of(reply)
    if not isinstance(reply, Admission):
        raise RemoteProtocolError(f"the sponsor answered with {type(reply).__name__}")
    verify_own_time(
        reply.chain,
        subject=identity.public_key,
        root_key=reply.root_key,
        network=invite.network,
    )
    return reply


async def _takes_no_calls(peer: Peer, request: Request) -> Reply:
    raise NotAMember("a joiner answers no calls")
