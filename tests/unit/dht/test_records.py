import re
from dataclasses import replace
from pathlib import Path

import pytest

from meshnode.caps import Caps
from meshnode.dht import records
from meshnode.dht.records import (
    NameRecord,
    NodeRecord,
    ProviderRecord,
    Record,
    VersionEntry,
    key_of,
    name_key,
    node_key,
    open_record,
    provider_key,
    sign,
)
from meshnode.errors import LocalProtocolError, RemoteProtocolError
from meshnode.identity.certificates import network_of
from meshnode.identity.cose import sign1, split1
from meshnode.identity.keys import Identity
from meshnode.ids import Address, ContentHash, NetworkId
from meshnode.wire import cbor
from tests.unit.dht.page import ALICE, BLOB, BOB, NETWORK, name, node, provider

ALL = [node(ALICE), provider(ALICE), provider(ALICE, withdrawn=True, size=0), name(ALICE)]


@pytest.mark.parametrize("record", ALL)
def test_a_signed_record_opens_as_it_was(record: Record) -> None:
    data = sign(ALICE, record)
    assert open_record(data, network=NETWORK) == record
    assert sign(ALICE, record) == data


def test_keys_are_apart_by_type_network_and_content() -> None:
    other = NetworkId(b"o" * 16)
    keys = {
        node_key(NETWORK, ALICE.node_id),
        node_key(other, ALICE.node_id),
        provider_key(NETWORK, BLOB),
        provider_key(other, BLOB),
        name_key(NETWORK, ALICE.public_key, "detect"),
        name_key(NETWORK, BOB.public_key, "detect"),
        name_key(NETWORK, ALICE.public_key, "detect2"),
    }
    assert len(keys) == 7
    assert all(len(key) == 32 for key in keys)
    assert key_of(node(ALICE)) == node_key(NETWORK, ALICE.node_id)
    assert key_of(provider(BOB)) == key_of(provider(ALICE)) == provider_key(NETWORK, BLOB)
    assert key_of(name(ALICE)) == name_key(NETWORK, ALICE.public_key, "detect")


def test_a_record_of_another_mesh_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="another mesh"):
        open_record(sign(ALICE, node(ALICE)), network=NetworkId(b"o" * 16))


def test_only_the_key_in_the_record_can_sign_it() -> None:
    with pytest.raises(LocalProtocolError):
        sign(BOB, node(ALICE))
    payload, _ = split1(sign(ALICE, node(ALICE)))
    forged = sign1(BOB, payload, aad=b"meshnode/record/node/1")
    with pytest.raises(RemoteProtocolError, match="signature"):
        open_record(forged, network=NETWORK)


def test_a_signature_for_one_type_is_worth_nothing_for_another() -> None:
    payload, _ = split1(sign(ALICE, provider(ALICE)))
    as_node = sign1(ALICE, payload, aad=b"meshnode/record/node/1")
    with pytest.raises(RemoteProtocolError, match="signature"):
        open_record(as_node, network=NETWORK)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, 4),
        (0, 0),
        (1, b"n"),
        (2, -1),
        (2, 2**63 + 1),
        (3, 0),
        (4, b"short"),
        (6, [["10.0.0.1", 0]]),
        (6, [["", 1]]),
        (6, [["h", 1]] * 5),
        (6, [["h", 1, 2]]),
        (7, 2**40),
        (8, b"r"),
        (9, 1),
        (10, "more"),
    ],
)
def test_a_payload_out_of_its_bounds_is_refused(place: int, value: object) -> None:
    payload, _ = split1(sign(ALICE, provider(ALICE)))
    fields = cbor.loads(payload, bytes_max=1000)
    fields[place : place + 1] = [value]
    data = sign1(ALICE, cbor.dumps(fields), aad=b"meshnode/record/provider/1")
    with pytest.raises(RemoteProtocolError):
        open_record(data, network=NETWORK)


def test_the_highest_sequence_number_is_accepted() -> None:
    record = provider(ALICE, seq=2**63)
    assert open_record(sign(ALICE, record), network=NETWORK) == record


def test_what_no_reader_would_open_is_not_signed() -> None:
    for bad in (
        provider(ALICE, seq=2**63 + 1),
        provider(ALICE, addresses=(Address("10.0.0.1", 1),) * 5),
        provider(ALICE, root=b"r"),
        replace(node(ALICE), name="a\nb"),
    ):
        with pytest.raises(LocalProtocolError):
            sign(ALICE, bad)


def test_a_name_with_more_versions_than_fit_is_refused_when_signed() -> None:
    entry = VersionEntry(module=BLOB, size=9, root=b"r" * 32, caps=Caps.CPU)
    record: NameRecord = replace(
        name(ALICE), versions={f"1.0.{n}": replace(entry, size=n) for n in range(14)}
    )
    with pytest.raises(LocalProtocolError, match="fewer versions"):
        sign(ALICE, record)


def test_one_version_listed_twice_is_refused() -> None:
    entry = ["1.0.0", ContentHash(BLOB), 9, b"r" * 32, 1, False]
    payload = cbor.dumps([3, NETWORK, 1, 60, ALICE.public_key, "detect", [entry, entry]])
    data = sign1(ALICE, payload, aad=b"meshnode/record/name/1")
    with pytest.raises(RemoteProtocolError, match="twice"):
        open_record(data, network=NETWORK)


def test_the_largest_record_fits_beside_an_answers_envelope() -> None:
    assert records.PAYLOAD_BYTES_MAX + 75 + 3 + 64 <= 1128


def test_the_page_shows_what_is_signed() -> None:
    """docs/protocol-records.md: keys and records of Alice's made-up life, byte by byte."""
    page = (Path(__file__).parents[3] / "docs" / "protocol-records.md").read_text()
    boxes = re.findall(r"```text vector: (\w+)-record\nkey    (\w+)\nrecord ([\w\s]+?)```", page)
    identity = Identity.from_seed(bytes(range(32)))
    network = network_of(identity.public_key)
    kinds = {"node": NodeRecord, "provider": ProviderRecord, "name": NameRecord}
    assert {kind for kind, _, _ in boxes} == set(kinds)
    for kind, key, text in boxes:
        data = bytes.fromhex("".join(text.split()))
        record = open_record(data, network=network)
        assert isinstance(record, kinds[kind])
        assert key_of(record).hex() == key
        assert sign(identity, record) == data
