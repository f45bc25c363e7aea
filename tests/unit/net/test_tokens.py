"""Tokens: for one node, once, for a while."""

import pytest
import trio
from trio.testing import MockClock

from meshnode.errors import Overloaded, RemoteProtocolError
from meshnode.net.tokens import TOKEN_S, TOKENS_MAX, TokenChannel, Tokens
from meshnode.net.transport import Transport
from tests.unit.net.mesh import ALICE, BOB, EVE, channel_of


async def take(transport: Transport) -> None:
    return


async def test_a_token_is_for_one_key_and_once(autojump_clock: MockClock) -> None:
    tokens = Tokens()
    channel = TokenChannel(channel_of(ALICE), tokens)
    token = tokens.make(BOB.public_key, take)
    assert channel.psks()[-1] == token
    assert channel.check(BOB.public_key, b"", token).token == token
    for key, payload in ((EVE.public_key, b""), (BOB.public_key, b"payload")):
        with pytest.raises(RemoteProtocolError):
            channel.check(key, payload, token)
    assert tokens.take(token) is take
    assert tokens.take(token) is None
    with pytest.raises(RemoteProtocolError):
        channel.check(BOB.public_key, b"", token)


async def test_tokens_fade_and_are_bounded(autojump_clock: MockClock) -> None:
    tokens = Tokens()
    for _ in range(TOKENS_MAX):
        tokens.make(BOB.public_key, take)
    with pytest.raises(Overloaded):
        tokens.make(BOB.public_key, take)
    await trio.sleep(TOKEN_S)
    assert tokens.psks() == []
    dropped = tokens.make(BOB.public_key, take)
    tokens.drop(dropped)
    assert len(tokens) == 0
