"""The handshake on a byte stream: messages of Noise, each with its length in two bytes in front.

A responder sends nothing before a valid first message, so a stranger learns nothing, not even
that something lives here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import trio

from meshnode.errors import NotAMember, PeerUnreachable, RemoteProtocolError
from meshnode.identity.handshake import Handshake
from meshnode.ids import PublicKey, node_id_of, short
from meshnode.net.channel import ChannelKeys, Standing
from meshnode.net.transport import Transport, receive_exactly
from meshnode.wire.limits import HANDSHAKE_BYTES_MAX

LENGTH_BYTES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Secured:
    """A finished handshake."""

    peer_key: PublicKey
    standing: Standing
    send_key: bytes
    receive_key: bytes
    initiator: bool
    refusal: str = ""
    """Why a peer that knows our psk is turned away all the same; it is told, sealed."""


async def initiate(
    transport: Transport,
    channel: ChannelKeys,
    *,
    expect: PublicKey | None,
    psk: bytes | None = None,
) -> Secured:
    """Shake hands as the side that connected, under `psk` or the channel's first offer.

    The peer is judged before message 3 is sent, so an impostor does not learn who we are. Raises
    PeerUnreachable if another node than `expect` answers, RemoteProtocolError if the peer closes
    or breaks the protocol, NotAMember or InviteForeign if its certificates are not good.
    """
    psk = psk or channel.offers()[0]
    handshake = Handshake(
        channel.identity,
        initiator=True,
        psks=[psk],
        prologue=channel.prologue(),
        payload=channel.payload(),
        statics=channel.statics,
    )
    await _send(transport, handshake.start())
    message_3 = handshake.receive(await _receive(transport))
    peer_key = handshake.peer_key
    if expect is not None and peer_key != expect:
        raise PeerUnreachable(
            f"{short_of(expect)} is not at {transport.address}: {short_of(peer_key)} answers there"
        )
    standing = channel.check(peer_key, handshake.peer_payload, psk)
    await _send(transport, message_3)
    send_key, receive_key = handshake.keys()
    return Secured(
        peer_key=peer_key,
        standing=standing,
        send_key=send_key,
        receive_key=receive_key,
        initiator=True,
    )


def _anyone(first_message: bytes) -> bool:
    return True


async def respond(
    transport: Transport, channel: ChannelKeys, *, admit: Callable[[bytes], bool] = _anyone
) -> Secured:
    """Shake hands as the side that was connected to; raises RemoteProtocolError: close silently.

    `admit` is asked about a first message that opened, before any public-key work is done for it.
    """
    psks = channel.psks()
    handshake = Handshake(
        channel.identity,
        initiator=False,
        psks=psks,
        prologue=channel.prologue(),
        payload=channel.payload(),
        statics=channel.statics,
    )
    if not admit(handshake.knock(await _receive(transport, waited=True))):
        raise RemoteProtocolError("a first message too many, or one that came before")
    await _send(transport, handshake.answer())
    handshake.receive(await _receive(transport))
    psk = psks[handshake.psk_index]
    refusal = ""
    try:
        standing = channel.check(handshake.peer_key, handshake.peer_payload, psk)
    except NotAMember as error:
        standing = Standing(certificate=None, invite=None)
        refusal = error.message
    send_key, receive_key = handshake.keys()
    return Secured(
        peer_key=handshake.peer_key,
        standing=standing,
        send_key=send_key,
        receive_key=receive_key,
        initiator=False,
        refusal=refusal,
    )


def short_of(public_key: PublicKey) -> str:
    """Return the short id of the node that has this key, as people see it."""
    return short(node_id_of(public_key))


async def _send(transport: Transport, message: bytes) -> None:
    data = len(message).to_bytes(LENGTH_BYTES, "big") + message
    try:
        sent = transport.send_now(data)
    except OSError as error:
        raise trio.BrokenResourceError(str(error)) from error
    if sent < len(data):
        await transport.send_all(data[sent:])


async def _receive(transport: Transport, *, waited: bool = False) -> bytes:
    """Return a message. `waited`: it may be there already, as whoever connects speaks first."""
    size = int.from_bytes(await receive_exactly(transport, LENGTH_BYTES, waited=waited), "big")
    if not 0 < size <= HANDSHAKE_BYTES_MAX:
        raise RemoteProtocolError(f"a handshake message of {size} bytes")
    return await receive_exactly(transport, size, waited=True)
