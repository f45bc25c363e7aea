"""Signatures are remembered within a simulation only, and a wrong one never passes."""

import pytest

from meshnode.identity import cose, keys
from meshnode.identity.keys import Identity
from meshnode.sim import memo
from meshnode.sim.memo import remembered_signatures

ONE, OTHER = Identity.from_seed(bytes(32)), Identity.from_seed(bytes([1]) * 32)


def test_each_is_verified_once_and_the_real_check_is_back_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bytes] = []
    real = keys.verify_raw

    def counting(key: bytes, data: bytes, signature: bytes) -> bool:
        asked.append(data)
        return real(key, data, signature)

    for module in (memo, keys, cose):
        monkeypatch.setattr(module, "_verify" if module is memo else "verify_raw", counting)
    text = b"what nobody signs in any other test"
    signature = ONE.sign(text, domain=b"d")
    with remembered_signatures():
        with remembered_signatures():
            pass
        for _ in range(3):
            assert keys.verify(ONE.public_key, text, signature, domain=b"d")
        assert len(asked) == 1
    assert keys.verify_raw is counting
    assert cose.verify_raw is counting


def test_what_is_signed_within_is_not_verified_again_and_signing_is_as_before_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = Identity.sign_raw
    with remembered_signatures():
        with remembered_signatures():
            pass
        signature = ONE.sign(b"made here", domain=b"d")
        monkeypatch.setattr(memo, "_verify", lambda *_: False)
        assert keys.verify(ONE.public_key, b"made here", signature, domain=b"d")
        assert not keys.verify(ONE.public_key, b"made there", signature, domain=b"d")
        monkeypatch.undo()
    assert Identity.sign_raw is real
    assert signature == ONE.sign(b"made here", domain=b"d")


def test_a_check_that_was_left_out_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(keys, "verify_raw", lambda *_: True)
        with remembered_signatures():
            assert keys.verify(ONE.public_key, b"forged", bytes(64), domain=b"d")
    with remembered_signatures():
        assert not keys.verify(ONE.public_key, b"forged", bytes(64), domain=b"d")


def test_a_wrong_signature_is_wrong_though_a_right_one_is_remembered() -> None:
    signature = ONE.sign(b"what", domain=b"d")
    changed = signature[:-1] + bytes([signature[-1] ^ 1])
    with remembered_signatures():
        assert keys.verify(ONE.public_key, b"what", signature, domain=b"d")
        assert not keys.verify(ONE.public_key, b"what", changed, domain=b"d")
        assert not keys.verify(ONE.public_key, b"that", signature, domain=b"d")
        assert not keys.verify(OTHER.public_key, b"what", signature, domain=b"d")
        assert not keys.verify(ONE.public_key, b"what", signature, domain=b"e")
