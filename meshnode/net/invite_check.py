"""Trying an invite's addresses without using it up: who answers there, and is it the sponsor?"""

from dataclasses import dataclass

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
from meshnode.net.channel import InviteChannel
from meshnode.net.handshaking import initiate
from meshnode.net.settings import NetSettings
from meshnode.net.transport import SocketTransport, Transport

TRY_S = 5.0


@dataclass(frozen=True, slots=True)
class Tried:
    """What one address said."""

    address: Address
    error: type[MeshnodeError] | None
    """None if the sponsor answered there and knows the invite."""
    because: str = ""


async def try_addresses(invite: Invite) -> list[Tried]:
    """Return what each address of an invite says, in their order; no use of it is counted.

    The handshake shows only a key made for this; joining would be the call after it.
    """
    found: dict[Address, Tried] = {}
    channel = InviteChannel(Identity.generate(), invite)
    async with trio.open_nursery() as nursery:
        for address in invite.addresses:
            nursery.start_soon(_try, address, channel, found)
    return [found[address] for address in invite.addresses]


async def _try(address: Address, channel: InviteChannel, found: dict[Address, Tried]) -> None:
    transport: Transport | None = None
    found[address] = Tried(address, JoinUnreachable, f"no answer within {TRY_S:g} s")
    try:
        with trio.move_on_after(TRY_S):
            transport = await SocketTransport.to(
                address, unacknowledged_ms=NetSettings().unacknowledged_ms
            )
            await initiate(transport, channel, expect=None)
            found[address] = Tried(address, None)
    except (InviteForeign, NotAMember) as error:
        found[address] = Tried(address, type(error), error.message)
    except (RemoteProtocolError, PeerUnreachable, trio.BrokenResourceError):
        reason = "it closed without a word: it does not know this invite (used up, or expired?)"
        found[address] = Tried(address, InviteWrong, reason)
    except (OSError, UnicodeError) as error:
        kind = JoinUnreachable if transport is None else InviteWrong
        found[address] = Tried(address, kind, why(error))
    finally:
        if transport is not None:
            transport.close()
