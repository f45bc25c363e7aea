"""The Noise XX pattern, against the vectors that cacophony and snow publish."""

import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.errors import LocalProtocolError, RemoteProtocolError
from meshnode.identity.noise import NAME_XX, NONCE_MAX, CipherState, NoiseXX, hkdf

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "noise.json").read_text())
KEY = b"k" * 32


def sides(vector: dict[str, str]) -> tuple[NoiseXX, NoiseXX]:
    made = [
        NoiseXX(
            psk=None,
            prologue=bytes.fromhex(vector[f"{role}_prologue"]),
            static=bytes.fromhex(vector[f"{role}_static"]),
            ephemeral=bytes.fromhex(vector[f"{role}_ephemeral"]),
        )
        for role in ("init", "resp")
    ]
    return made[0], made[1]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["source"])
def test_every_message_of_the_published_vectors_matches(vector: dict) -> None:
    assert vector["protocol_name"].encode() == NAME_XX
    initiator, responder = sides(vector)
    messages = [
        (bytes.fromhex(m["payload"]), bytes.fromhex(m["ciphertext"])) for m in vector["messages"]
    ]
    steps = [
        (initiator.write_1, responder.read_1),
        (responder.write_2, initiator.read_2),
        (initiator.write_3, responder.read_3),
    ]
    for (write, read), (payload, ciphertext) in zip(steps, messages[:3], strict=True):
        assert write(payload) == ciphertext
        assert read(ciphertext) == payload
    assert initiator.state.hash == responder.state.hash
    if vector["handshake_hash"]:
        assert initiator.state.hash.hex() == vector["handshake_hash"]
    assert initiator.state.split() == responder.state.split()
    by_initiator, by_responder = (CipherState(key) for key in initiator.state.split())
    for number, (payload, ciphertext) in enumerate(messages[3:], start=3):
        sender = by_initiator if number % 2 == 0 else by_responder
        assert sender.encrypt(b"", payload) == ciphertext


def test_with_another_psk_or_none_the_first_message_does_not_open() -> None:
    message = NoiseXX(psk=KEY, prologue=b"").write_1(b"")
    for psk in (None, b"x" * 32):
        reader = NoiseXX(psk=psk, prologue=b"")
        if psk is None:
            assert reader.read_1(message) != b"", "plain XX seals nothing yet"
        else:
            with pytest.raises(RemoteProtocolError):
                reader.read_1(message)


def test_a_failed_open_does_not_move_the_nonce() -> None:
    ours, theirs = CipherState(KEY), CipherState(KEY)
    first = ours.encrypt(b"", b"one")
    with pytest.raises(RemoteProtocolError):
        theirs.decrypt(b"", first[:-1] + bytes([first[-1] ^ 1]))
    assert theirs.nonce == 0
    assert theirs.decrypt(b"", first) == b"one"
    assert theirs.nonce == 1


def test_a_key_is_never_used_past_its_last_nonce() -> None:
    state = CipherState(KEY)
    state.nonce = NONCE_MAX
    with pytest.raises(LocalProtocolError, match="used up"):
        state.encrypt(b"", b"x")
    with pytest.raises(RemoteProtocolError, match="used up"):
        state.decrypt(b"", bytes(16))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.sampled_from([2, 3]))
def test_hkdf_is_that_of_the_standard_library(key: bytes, material: bytes, outputs: int) -> None:
    secret = hmac.digest(key, material, "sha256")
    expected: list[bytes] = []
    for number in range(1, outputs + 1):
        last = expected[-1] if expected else b""
        expected.append(hmac.digest(secret, last + bytes([number]), "sha256"))
    assert hkdf(key, material, outputs) == tuple(expected)


def test_a_cut_message_does_not_open() -> None:
    sealed = CipherState(KEY).encrypt(b"", b"x")
    for cut in (b"", sealed[:1], sealed[:-1]):
        with pytest.raises(RemoteProtocolError):
            CipherState(KEY).decrypt(b"", cut)
