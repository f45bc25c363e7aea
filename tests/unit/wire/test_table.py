"""The table, the vectors, the page and the message classes say the same."""

import json
import typing
from dataclasses import fields

import pytest

from meshnode.errors import RemoteProtocolError
from meshnode.wire import codec, limits, messages, table
from meshnode.wire.schema import Record
from tests.vectors import examples, write

RECORDS = [*table.DATAGRAMS.values(), *(call.record for call in table.CALLS.values())]
VECTORS = {
    name: vector
    for family in (*examples.DATAGRAMS, *examples.CALLS)
    for name, vector in json.loads((write.FOLDER / f"{family}.json").read_text()).items()
}
DATAGRAM_NAMES = [name for family in examples.DATAGRAMS.values() for name in family]
CALL_NAMES = [name for family in examples.CALLS.values() for name in family]


def test_every_message_has_one_number() -> None:
    assert set(table.DATAGRAM_NUMBERS) == set(typing.get_args(messages.Datagram))
    assert set(table.CALL_NUMBERS) == set(typing.get_args(messages.StreamMessage))
    assert len(table.DATAGRAM_NUMBERS) == len(table.DATAGRAMS)
    assert len(table.CALL_NUMBERS) == len(table.CALLS)


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.kind.__name__)
def test_a_layout_has_every_field_in_the_order_of_its_class(record: Record) -> None:
    named = [f.name for f in fields(record.kind) if f.name != "body"]
    assert list(record.fields) == named


@pytest.mark.parametrize("call", table.CALLS.values(), ids=lambda c: c.record.kind.__name__)
def test_a_message_has_a_body_where_its_class_has_one(call: table.Call) -> None:
    assert (call.body_max > 0) == any(f.name == "body" for f in fields(call.record.kind))
    assert call.body_max <= limits.BODY_BYTES_MAX


def test_every_message_has_an_example() -> None:
    shown = {vector["message"] for vector in VECTORS.values()}
    assert shown == {record.kind.__name__ for record in RECORDS}


@pytest.mark.parametrize("name", DATAGRAM_NAMES)
def test_a_datagram_vector_is_what_we_send_and_take(name: str) -> None:
    envelope = next(f[name] for f in examples.DATAGRAMS.values() if name in f)
    data = bytes.fromhex(VECTORS[name]["hex"])
    assert codec.encode_datagram(envelope) == data
    assert codec.decode_datagram(data) == envelope


@pytest.mark.parametrize("name", CALL_NAMES)
def test_a_call_vector_is_what_we_send_and_take(name: str) -> None:
    message = next(f[name] for f in examples.CALLS.values() if name in f)
    header, body = bytes.fromhex(VECTORS[name]["hex"]), bytes.fromhex(VECTORS[name]["body"])
    assert codec.encode_call(message) == (header, ((body,) if body else ()))
    assert codec.body_size_of(header) == len(body)
    assert codec.decode_call(header, memoryview(body) if body else None) == message


@pytest.mark.parametrize("name", examples.REFUSED_DATAGRAMS)
def test_a_bad_datagram_is_refused_for_its_reason(name: str) -> None:
    data, word = examples.REFUSED_DATAGRAMS[name]
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode_datagram(bytes.fromhex(data))
    assert word in caught.value.message


@pytest.mark.parametrize("name", examples.REFUSED_CALLS)
def test_a_bad_call_is_refused_for_its_reason(name: str) -> None:
    header, body, word = examples.REFUSED_CALLS[name]
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode_call(bytes.fromhex(header), memoryview(bytes.fromhex(body)))
    assert word in caught.value.message


def test_the_files_are_as_the_examples_say() -> None:
    for family, vectors in write.families().items():
        assert (write.FOLDER / f"{family}.json").read_text() == write.as_json(vectors), (
            "run: python -m tests.vectors.write"
        )


def test_the_page_shows_every_vector_as_it_is() -> None:
    page = write.PAGE.read_text()
    shown = {found["name"] for found in write.BLOCK.finditer(page)}
    assert shown == {*VECTORS, *examples.LAN}
    assert write.with_blocks(page) == page, "run: python -m tests.vectors.write"


def test_the_page_names_every_message_with_its_number() -> None:
    page = write.PAGE.read_text()
    for number, name in (
        *((n, r.kind.__name__) for n, r in table.DATAGRAMS.items()),
        *((n, c.record.kind.__name__) for n, c in table.CALLS.items()),
    ):
        assert f"{number} {name}" in page or f"| {number} | {name} |" in page, name
