"""One-time psks: a connection that was arranged with one node shows by its psk what it is for.

A relay gives the two ends of a circuit a token each; a node that wants to know whether it can be
reached gives one to whoever is to try. A token is good once, for one key, for a few seconds.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from meshnode.errors import Overloaded, RemoteProtocolError
from meshnode.identity.keys import Identity, random_bytes
from meshnode.identity.static_keys import StaticKeys
from meshnode.ids import NetworkId, PublicKey
from meshnode.net.channel import ChannelKeys, Standing, prologue_of
from meshnode.net.transport import Transport

TOKEN_BYTES = 32
TOKENS_MAX = 256
"""Tokens that are out: each costs a handshake of somebody else two hashes."""
TOKEN_S = 10.0

Taker = Callable[[Transport], Awaitable[None]]
"""What is done with a connection that came with a token; the connection ends when it returns."""


@dataclass(frozen=True, slots=True)
class _Out:
    key: PublicKey
    until: float
    take: Taker


class Tokens:
    """The tokens that are out."""

    def __init__(self) -> None:
        self._out: dict[bytes, _Out] = {}

    def __len__(self) -> int:
        return len(self._out)

    def make(self, key: PublicKey, take: Taker) -> bytes:
        """Return a token for the node with this key; raises Overloaded if too many are out."""
        self._expire()
        if len(self._out) >= TOKENS_MAX:
            raise Overloaded("too many connections are being arranged here")
        token = random_bytes(TOKEN_BYTES)
        self._out[token] = _Out(key, trio.current_time() + TOKEN_S, take)
        return token

    def drop(self, token: bytes) -> None:
        """Nobody is to come with this one any more."""
        self._out.pop(token, None)

    def psks(self) -> list[bytes]:
        """Return the tokens that are good now."""
        self._expire()
        return list(self._out)

    def is_for(self, token: bytes, key: PublicKey) -> bool:
        """Return whether this node may come with this token."""
        out = self._out.get(token)
        return out is not None and out.key == key

    def take(self, token: bytes) -> Taker | None:
        """Return what to do with the one who came; the token is used up."""
        out = self._out.pop(token, None)
        return None if out is None else out.take

    def _expire(self) -> None:
        now = trio.current_time()
        for token in [token for token, out in self._out.items() if now >= out.until]:
            del self._out[token]


class TokenChannel:
    """A listener's channel keys, and the tokens that are out."""

    def __init__(self, inner: ChannelKeys, tokens: Tokens) -> None:
        self.identity = inner.identity
        self.statics = inner.statics
        self._inner = inner
        self._tokens = tokens

    def prologue(self) -> bytes:
        """See `ChannelKeys.prologue`."""
        return self._inner.prologue()

    def psks(self) -> list[bytes]:
        """See `ChannelKeys.psks`."""
        return [*self._inner.psks(), *self._tokens.psks()]

    def offers(self) -> tuple[bytes, ...]:
        """See `ChannelKeys.offers`."""
        return self._inner.offers()

    def payload(self) -> bytes:
        """See `ChannelKeys.payload`."""
        return self._inner.payload()

    def check(self, peer_key: PublicKey, payload: bytes, psk: bytes) -> Standing:
        """See `ChannelKeys.check`: who comes with another's token is cut off."""
        if psk in self._inner.psks():
            return self._inner.check(peer_key, payload, psk)
        if payload or not self._tokens.is_for(psk, peer_key):
            raise RemoteProtocolError("a token that is not for this node")
        return Standing(certificate=None, invite=None, token=psk)


class ArrangedChannel:
    """The connecting side of a connection that was arranged: a token, and nothing shown."""

    def __init__(self, identity: Identity, network: NetworkId, token: bytes) -> None:
        self.identity = identity
        self.statics = StaticKeys()
        self._network = network
        self._token = token

    def prologue(self) -> bytes:
        """See `ChannelKeys.prologue`: that of the listener's channel."""
        return prologue_of(self._network)

    def psks(self) -> list[bytes]:
        """See `ChannelKeys.psks`."""
        return [self._token]

    def offers(self) -> tuple[bytes, ...]:
        """See `ChannelKeys.offers`."""
        return (self._token,)

    def payload(self) -> bytes:
        """See `ChannelKeys.payload`."""
        return b""

    def check(self, peer_key: PublicKey, payload: bytes, psk: bytes) -> Standing:
        """See `ChannelKeys.check`: whose key it is was checked against the expected one."""
        return Standing(certificate=None, invite=None, token=psk)
