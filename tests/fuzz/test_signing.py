"""No bytes but the publisher's own verify; any bytes are refused with a MeshnodeError."""

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from meshnode.errors import BadMetadata, BadSignature, TooLarge, TrustError
from meshnode.modules import signatures
from meshnode.modules.layout import head_of
from meshnode.modules.sections import HEADER
from meshnode.modules.signatures import SignatureRecord, SignedHashes
from meshnode.modules.signing import verify_head, verify_module
from tests.unit.modules.samples import PUBLISHER, signed

FEW = settings(max_examples=200, deadline=None)
MODULE = signed()
HEAD = head_of(MODULE)

records = st.builds(
    SignatureRecord,
    st.sampled_from([b"", bytes(12)]),
    st.binary(min_size=64, max_size=64),
)
sets = st.builds(
    SignedHashes,
    st.lists(st.binary(min_size=32, max_size=32), max_size=4).map(tuple),
    st.lists(records, max_size=4).map(tuple),
)


@FEW
@given(st.lists(sets, max_size=4))
def test_signature_data_comes_back(given_sets: list[SignedHashes]) -> None:
    assert signatures.decode(memoryview(signatures.encode(given_sets))) == tuple(given_sets)


@FEW
@given(st.binary(max_size=300))
def test_any_signature_data_is_read_or_refused(data: bytes) -> None:
    for raw in (data, b"\x01\x01\x01" + data):
        try:
            found = signatures.decode(memoryview(raw))
        except BadSignature:
            continue
        assert isinstance(found, tuple)


@FEW
@given(st.integers(0, len(MODULE) * 8 - 1))
def test_one_flipped_bit_is_refused(bit: int) -> None:
    changed = bytearray(MODULE)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        verify_module(bytes(changed))
    except (TrustError, BadMetadata):
        return
    raise AssertionError(f"bit {bit} may be changed")


@FEW
@given(st.integers(0, len(MODULE)), st.binary(max_size=20), st.integers(0, 20))
def test_whatever_is_spliced_in_is_refused(at: int, new: bytes, drop: int) -> None:
    changed = MODULE[:at] + new + MODULE[at + drop :]
    assume(changed != MODULE)
    try:
        verify_module(changed)
    except (TrustError, BadMetadata, TooLarge):
        return
    raise AssertionError("a changed module verifies")


@FEW
@given(st.integers(0, len(HEAD)), st.binary(max_size=20), st.integers(0, 20))
def test_a_changed_head_never_names_the_publisher(at: int, new: bytes, drop: int) -> None:
    changed = HEAD[:at] + new + HEAD[at + drop :]
    assume(not changed.startswith(HEAD))
    for wasm in (changed, HEADER + new):
        try:
            publisher, _ = verify_head(wasm)
        except (TrustError, BadMetadata):
            continue
        assert publisher != PUBLISHER.public_key
