"""The one call of a member whose keys were all retired while it slept: give me the present ones.

It is made on a channel of its own, under what both sides have kept of a retired key. The member
proves itself by its certificate as on any channel; nothing else is answered there.
"""

from collections.abc import Sequence

import trio

from meshnode.errors import MeshnodeError, NotAMember, PeerUnreachable, RemoteProtocolError
from meshnode.identity.keys import Identity
from meshnode.ids import Contact, PublicKey
from meshnode.net.channel import MeshChannel, Standing
from meshnode.net.connection import Peer
from meshnode.net.failures import error_of
from meshnode.net.pool import connect
from meshnode.net.settings import NetSettings
from meshnode.wire.messages import Failure, Reconcile, Reconciled, Reply, Request


class LateChannel:
    """The channel of a member that knows retired keys only."""

    def __init__(self, channel: MeshChannel, late_keys: Sequence[bytes]) -> None:
        self.identity: Identity = channel.identity
        self.statics = channel.statics
        self._channel = channel
        self._late_keys = tuple(late_keys)

    def prologue(self) -> bytes:
        """See `ChannelKeys.prologue`."""
        return self._channel.prologue()

    def psks(self) -> list[bytes]:
        """See `ChannelKeys.psks`."""
        return list(self._late_keys)

    def offers(self) -> tuple[bytes, ...]:
        """See `ChannelKeys.offers`."""
        return self._late_keys

    def payload(self) -> bytes:
        """See `ChannelKeys.payload`."""
        return self._channel.payload()

    def check(self, peer_key: PublicKey, payload: bytes, psk: bytes) -> Standing:
        """See `ChannelKeys.check`: who gives the keys must be a member as well."""
        return self._channel.member(peer_key, payload)


async def catch_up(
    contact: Contact,
    channel: LateChannel,
    request: Reconcile,
    settings: NetSettings,
    *,
    timeout_s: float,
) -> Reconciled:
    """Ask one member for what this node slept through, on a connection of its own.

    Raises PeerUnreachable if there is no answer in time, NotAMember if the member does not accept
    this node or the other way round, RemoteProtocolError. Leaves nothing open.
    """
    with trio.move_on_after(timeout_s):
        try:
            connection = await connect(contact, channel, settings)
        except (OSError, trio.BrokenResourceError) as error:
            raise PeerUnreachable(f"cannot reach {contact.address}: {error}") from error
        reply: Reply | None = None
        refused: MeshnodeError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run, _takes_no_calls)
            try:
                reply = await connection.call(request)
            except MeshnodeError as error:  # raised outside, where no nursery wraps it
                refused = error
            nursery.cancel_scope.cancel()
        if refused is not None:
            raise refused
        assert reply is not None, "a call returns a reply or raises"
        return _checked(reply)
    raise PeerUnreachable(f"no answer from {contact.address} within {timeout_s:g} s")


def _checked(reply: Reply) -> Reconciled:
    if isinstance(reply, Failure):
        raise error_of(reply)
    if not isinstance(reply, Reconciled):
        raise RemoteProtocolError(f"{type(reply).__name__} is no answer to Reconcile")
    return reply


async def _takes_no_calls(peer: Peer, request: Request) -> Reply:
    raise NotAMember("a member that catches up answers no calls")
