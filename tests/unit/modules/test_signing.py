from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from meshnode.errors import BadMetadata, BadSignature, MalformedModule, TrustError, Unsigned
from meshnode.modules import signatures
from meshnode.modules.layout import head_of, read_head, read_module
from meshnode.modules.pack import assemble
from meshnode.modules.sections import HEADER, encode_custom
from meshnode.modules.signatures import SignatureRecord, SignedHashes
from meshnode.modules.signing import sign, unsign, verify_head, verify_module
from tests.unit.modules.samples import GUEST, MANIFEST, PUBLISHER, STRANGER, packed, signed

KEY = PUBLISHER.public_key
WASMSIGN2 = Path(__file__).parents[2] / "vectors" / "module-signed-by-wasmsign2.hex"
FLIPS = 400


def with_signature(module: bytes, data: bytes) -> bytes:
    """The signed module with other data in its signature section."""
    return HEADER + encode_custom("signature", data) + module[read_head(module).signed_from :]


def sets(module: bytes) -> tuple[SignedHashes, ...]:
    data = read_head(module).signature
    assert data is not None
    return signatures.decode(data)


def test_a_signed_module_names_its_publisher_and_its_hash() -> None:
    module = signed()
    found = verify_module(module)
    assert found.publisher == KEY
    assert found.signers == (KEY,)
    assert found.module == sha256(module).digest()
    assert found.manifest == read_head(module).manifest
    assert found.head == head_of(module)


def test_the_head_is_verified_alone() -> None:
    assert verify_head(head_of(signed())) == (KEY, read_head(signed()).manifest)


def test_what_follows_the_head_is_not_looked_at() -> None:
    assert verify_head(signed()) == verify_head(head_of(signed()) + b"\xff")


def test_signing_is_deterministic_and_replaces_what_was_there() -> None:
    assert signed() == signed()
    assert sign(signed(), PUBLISHER) == signed()
    assert verify_module(sign(signed(), STRANGER)).publisher == STRANGER.public_key


def test_unsigning_gives_the_packed_bytes_back() -> None:
    assert unsign(signed()) == packed()
    assert unsign(packed()) == packed()


def test_an_unsigned_module_is_refused_as_such() -> None:
    with pytest.raises(Unsigned):
        verify_module(packed())
    with pytest.raises(Unsigned):
        verify_head(head_of(packed()))


def test_any_flipped_bit_is_refused() -> None:
    module, rng = signed(), Random(7)
    bits = set(rng.sample(range(len(module) * 8), FLIPS)) | set(range(8 * 8, 8 * 180, 5))
    for bit in bits:
        changed = bytearray(module)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((TrustError, BadMetadata)):
            verify_module(bytes(changed))


def test_any_flipped_bit_of_the_head_is_refused_by_the_head_alone() -> None:
    head, rng = head_of(signed()), Random(8)
    for bit in rng.sample(range(len(head) * 8), FLIPS):
        changed = bytearray(head)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((TrustError, BadMetadata)):
            verify_head(bytes(changed))


def test_a_module_cut_off_at_any_byte_is_refused() -> None:
    module = signed(embed=False)
    for end in range(len(module)):
        with pytest.raises((TrustError, BadMetadata)):
            verify_module(module[:end])


def test_bytes_added_at_the_end_are_refused() -> None:
    with pytest.raises(BadSignature):
        verify_module(signed(embed=False) + encode_custom("more", b""))


# Four holes of wasmsign2 0.2.6, each reproduced with the real library.


def test_hole_1_the_header_is_pinned() -> None:
    component = b"\0asm\x0d\0\1\0" + signed()[8:]
    with pytest.raises(MalformedModule, match="another kind"):
        verify_module(component)


def test_hole_2_code_that_changed_without_delimiters_is_hashed_all_the_same() -> None:
    module = signed(embed=False)
    changed = module[:-1] + bytes([module[-1] ^ 1])
    only_head = SignedHashes(sets(module)[0].hashes[:1], sets(module)[0].records)
    for data in (changed, with_signature(changed, signatures.encode([only_head]))):
        with pytest.raises(BadSignature):
            verify_module(data)


def test_hole_3_a_module_cut_off_after_a_delimiter_is_refused() -> None:
    module = signed(embed=False)
    with pytest.raises(BadSignature):
        verify_module(head_of(module))


def test_hole_4_a_record_that_cannot_be_read_is_fatal() -> None:
    module = signed()
    good = sets(module)[0]
    short = SignedHashes(good.hashes, (*good.records, SignatureRecord(b"", b"short")))
    with pytest.raises(BadSignature, match="wrong length"):
        verify_module(with_signature(module, signatures.encode([short])))


def test_the_named_publisher_must_have_signed() -> None:
    module = signed()
    hashes = sets(module)[0].hashes
    stranger = SignatureRecord(b"", STRANGER.sign_raw(signatures.signed_message(hashes)))
    forged = with_signature(module, signatures.encode([SignedHashes(hashes, (stranger,))]))
    with pytest.raises(BadSignature) as caught:
        verify_module(forged, keys=[STRANGER.public_key])
    assert caught.value.because == ("the publisher it names did not sign it",)


def test_a_second_signature_is_found_if_its_key_is_known() -> None:
    module = signed()
    hashes, (own,) = sets(module)[0].hashes, sets(module)[0].records
    other = SignatureRecord(b"", STRANGER.sign_raw(signatures.signed_message(hashes)))
    both = with_signature(module, signatures.encode([SignedHashes(hashes, (other, own))]))
    assert verify_module(both).signers == (KEY,)
    assert verify_module(both, keys=[STRANGER.public_key]).signers == (KEY, STRANGER.public_key)


def test_a_key_id_must_be_that_of_its_key() -> None:
    module = signed()
    hashes, (own,) = sets(module)[0].hashes, sets(module)[0].records
    wrong = SignatureRecord(bytes(12), own.signature)
    with pytest.raises(BadSignature):
        verify_module(with_signature(module, signatures.encode([SignedHashes(hashes, (wrong,))])))


def test_further_delimiters_are_further_parts() -> None:
    module, _ = assemble(GUEST, MANIFEST, {}, embed=False)
    parts = sign(
        module + encode_custom("signature_delimiter", b"x" * 16) + encode_custom("producers", b"p"),
        PUBLISHER,
    )
    assert len(sets(parts)[0].hashes) == 3
    assert verify_module(parts).publisher == KEY
    ends = sign(module + encode_custom("signature_delimiter", b"x" * 16), PUBLISHER)
    assert len(sets(ends)[0].hashes) == 2
    assert verify_module(ends).publisher == KEY


def test_a_module_signed_by_wasmsign2_is_accepted() -> None:
    # Packed here, then signed by `sign_multi` of wasmsign2 0.2.6 without a key id.
    module = bytes.fromhex(WASMSIGN2.read_text())
    with pytest.raises(BadSignature) as caught:
        verify_module(module)
    assert caught.value.because == ("it does not name its publisher",)
    assert verify_module(module, keys=[KEY]).publisher == KEY
    assert verify_head(head_of(module), keys=[STRANGER.public_key, KEY])[0] == KEY


def test_embedded_weights_are_covered() -> None:
    module = bytearray(signed())
    data = read_module(signed()).weights["model"]
    at = signed().index(bytes(data))
    module[at] ^= 1
    with pytest.raises(BadSignature):
        verify_module(bytes(module))
