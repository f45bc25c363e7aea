"""Signed records: one form of COSE_Sign1, readable by other implementations."""

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.errors import LocalProtocolError, RemoteProtocolError
from meshnode.identity.cose import PROTECTED, sign1, split1, verify1
from meshnode.identity.keys import Identity, verify_raw
from meshnode.wire.limits import RECORD_PAYLOAD_BYTES_MAX
from tests.unit.identity.page import vector

ALICE, BOB = Identity.from_seed(b"a" * 32), Identity.from_seed(b"b" * 32)
AAD = b"meshnode/test/1"


def test_the_page_shows_this_record() -> None:
    page = vector("record")
    identity = Identity.from_seed(page["seed"])
    signed = cbor2.dumps(["Signature1", PROTECTED, page["external"], page["payload"]])
    assert signed == page["signed bytes"]
    assert sign1(identity, page["payload"], aad=page["external"]) == page["record"]
    protected, unprotected, payload, signature = cbor2.loads(page["record"])
    assert (protected, unprotected, payload) == (PROTECTED, {}, page["payload"])
    assert verify_raw(identity.public_key, signed, signature)


@given(st.binary(max_size=RECORD_PAYLOAD_BYTES_MAX))
@settings(max_examples=40, deadline=None)
def test_what_is_signed_is_read_back(payload: bytes) -> None:
    record = sign1(ALICE, payload, aad=AAD)
    assert verify1(record, ALICE.public_key, aad=AAD) == payload
    assert split1(record)[0] == payload
    assert len(record) - len(payload) <= 85


def test_another_key_or_purpose_does_not_verify() -> None:
    record = sign1(ALICE, b"payload", aad=AAD)
    for key, aad in [(BOB.public_key, AAD), (ALICE.public_key, b"other"), (b"", AAD)]:
        with pytest.raises(RemoteProtocolError, match="does not match"):
            verify1(record, key, aad=aad)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_no_flipped_bit_is_accepted(data: st.DataObject) -> None:
    record = bytearray(sign1(ALICE, b"some payload", aad=AAD))
    bit = data.draw(st.integers(0, len(record) * 8 - 1))
    record[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RemoteProtocolError):
        verify1(bytes(record), ALICE.public_key, aad=AAD)


def variant(**parts: object) -> bytes:
    whole = {"protected": PROTECTED, "unprotected": {}, "payload": b"p", "signature": bytes(64)}
    return cbor2.dumps(list((whole | parts).values()))


@pytest.mark.parametrize(
    "record",
    [
        variant(protected=b""),
        variant(protected=bytes.fromhex("a1013820")),
        variant(protected=bytes.fromhex("a2012704") + b"\x41k"),
        variant(unprotected={4: b"kid"}),
        variant(unprotected=[]),
        variant(payload=None),
        variant(payload="p"),
        variant(payload=bytes(RECORD_PAYLOAD_BYTES_MAX + 1)),
        variant(signature=bytes(63)),
        variant(signature=None),
        cbor2.dumps([PROTECTED, {}, b"p"]),
        cbor2.dumps([PROTECTED, {}, b"p", bytes(64), b""]),
        cbor2.dumps(cbor2.CBORTag(18, [PROTECTED, {}, b"p", bytes(64)])),
        cbor2.dumps({}),
        variant() + b"\0",
        b"",
        bytes(2000),
    ],
)
def test_only_the_one_form_is_read(record: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        split1(record)


def test_a_payload_that_nobody_would_read_is_not_signed() -> None:
    with pytest.raises(LocalProtocolError, match="too long"):
        sign1(ALICE, bytes(RECORD_PAYLOAD_BYTES_MAX + 1), aad=AAD)


def test_pycose_reads_ours_and_we_read_its() -> None:
    messages = pytest.importorskip("pycose.messages")
    keys = pytest.importorskip("pycose.keys")
    key = keys.OKPKey(crv="ED25519", x=ALICE.public_key, d=ALICE.seed)
    theirs = messages.Sign1Message.from_cose_obj(
        cbor2.loads(sign1(ALICE, b"ours", aad=AAD)), allow_unknown_attributes=False
    )
    theirs.key, theirs.external_aad = key, AAD
    assert theirs.verify_signature()
    assert theirs.payload == b"ours"
    theirs.external_aad = b"other"
    assert not theirs.verify_signature()

    made = messages.Sign1Message(phdr={1: -8}, payload=b"theirs", external_aad=AAD)
    made.key = key
    record = made.encode(tag=False)
    assert verify1(record, ALICE.public_key, aad=AAD) == b"theirs"
    assert record == sign1(ALICE, b"theirs", aad=AAD)
