from dataclasses import replace

import pytest

from meshnode.caps import Caps
from meshnode.errors import LocalProtocolError, RemoteProtocolError
from meshnode.ids import Address, Contact, ContentHash, NodeId, PublicKey, RequestId
from meshnode.wire import cbor, codec, limits, messages
from meshnode.wire.codec import Envelope
from meshnode.wire.tensor import TensorHeader

FULL = {"network": bytes(16), "issued": bytes(8), "returned": bytes(8)}
RPC_MAX = 2**64 - 1
IMAGE = TensorHeader(name="image", dtype="float32", shape=(3, 1), size=12)
PREDICT = messages.Predict(
    request_id=RequestId(bytes(16)),
    module=ContentHash(bytes(32)),
    source="",
    budget_ms=1000,
    hops_left=1,
    tensors=(IMAGE,),
    body=(bytes(12), bytes(4)),
)


def contacts(host: str, count: int = 16) -> tuple[Contact, ...]:
    return tuple(
        Contact(PublicKey(bytes([i] * 32)), Address(host.format(i), 65535)) for i in range(count)
    )


def tensor(**changes: object) -> messages.Predict:
    return replace(PREDICT, tensors=(replace(IMAGE, **changes),))


@pytest.mark.parametrize(
    ("host", "bytes_max"), [("198.51.100.{}", 737), ("2001:db8:1:2:3:4:5:{:x}", 929)]
)
def test_sixteen_contacts_and_the_whole_envelope_fit(host: str, bytes_max: int) -> None:
    found = messages.FoundNodes(rpc=RPC_MAX, contacts=contacts(host))
    data = codec.encode_datagram(Envelope(message=found, **FULL))
    assert len(data) == bytes_max <= 1128 == limits.MESSAGE_BYTES_MAX
    assert codec.decode_datagram(data).message == found


def test_a_full_record_fits_an_answer_with_the_whole_envelope() -> None:
    signed = bytes(limits.RECORD_PAYLOAD_BYTES_MAX - 24 + 75)
    found = messages.FoundRecords(rpc=RPC_MAX, records=(signed,), contacts=(), more=True)
    assert len(codec.encode_datagram(Envelope(message=found, **FULL))) <= 1128


def test_what_is_too_long_for_a_datagram_is_not_sent() -> None:
    found = messages.FoundNodes(rpc=1, contacts=contacts("a" * 60 + "{}.example"))
    with pytest.raises(LocalProtocolError, match=r"FoundNodes takes .* limit 1128"):
        codec.encode_datagram(Envelope(message=found))


def test_padding_reaches_its_length_or_one_byte_more() -> None:
    ask = Envelope(message=messages.FindNode(rpc=RPC_MAX, target=bytes(32)))
    bare = len(codec.encode_datagram(ask))
    over = []
    for wanted in range(bare, 1129):
        data = codec.encode_datagram(ask, pad_to=wanted)
        assert codec.decode_datagram(data) == ask
        if len(data) != wanted:
            assert len(data) == wanted + 1
            over.append(wanted - bare)
    assert over == [24, 257], "where a CBOR head grows by a byte"
    assert len(codec.encode_datagram(ask, pad_to=1128)) == 1128


def test_padding_beyond_a_datagram_is_our_bug() -> None:
    with pytest.raises(LocalProtocolError):
        codec.encode_datagram(Envelope(message=messages.Gossip()), pad_to=1129)


@pytest.mark.parametrize("field", ["network", "issued", "returned"])
def test_cookies_and_network_have_their_lengths(field: str) -> None:
    with pytest.raises(LocalProtocolError, match=f"Gossip: {field} "):
        codec.encode_datagram(Envelope(message=messages.Gossip(), **{field: b"123"}))


@pytest.mark.parametrize(
    "plain",
    [
        None,
        {},
        [],
        [1, 4, b"", b"", b""],
        [1, "4", b"", b"", b"", b"", [], [], []],
        [1, True, b"", b"", b"", b"", [], [], []],
        [True, 4, b"", b"", b"", b"", [], [], []],
        [2, 4, b"", b"", b"", b"", [], [], []],
        [1, 0, b"", b"", b"", b"", [], [], []],
        [1, 4, None, b"", b"", b"", [], [], []],
        [1, 4, b"", "", b"", b"", [], [], []],
        [1, 4, b"", b"", bytes(9), b"", [], [], []],
        [1, 4, b"", b"", b"", 0, [], [], []],
        [1, 4, b"", b"", b"", b"", [], []],
        [1, 4, b"", b"", b"", b"", [], [], [], []],
        [1, 4, b"", b"", b"", b"", [[]], [], []],
    ],
    ids=repr,
)
def test_what_is_no_datagram_of_ours_is_refused(plain: object) -> None:
    assert codec.decode_datagram(cbor.dumps([1, 4, b"", b"", b"", b"", [], [], []]))
    with pytest.raises(RemoteProtocolError):
        codec.decode_datagram(cbor.dumps(plain))


def test_a_datagram_longer_than_the_limit_is_refused_unread() -> None:
    with pytest.raises(RemoteProtocolError, match="limit 1128"):
        codec.decode_datagram(bytes(1129))


def test_the_error_names_message_and_field() -> None:
    update = messages.MemberUpdate(
        contact=contacts("10.0.0.{}", 1)[0], state=0, incarnation=1, name="n", caps=Caps.CPU
    )
    data = codec.encode_datagram(Envelope(message=messages.Ping(sequence=1, updates=(update,))))
    plain = cbor.loads(data, bytes_max=1128)
    plain[7][0][1] = 4
    with pytest.raises(RemoteProtocolError, match=r"Ping: updates\[0\]\.state is not"):
        codec.decode_datagram(cbor.dumps(plain))


@pytest.mark.parametrize(
    "labels",
    [
        [["tier", "edge"], ["site", "b"]],
        [["site", "b"], ["site", "b"]],
        [["Site", "b"]],
        [["site", "two words"]],
        [["site", ""]],
        [["site"]],
        [[f"key{i}", "x" * 60] for i in range(4)],
        [[str(i), "x"] for i in range(9)],
        None,
    ],
)
def test_labels_have_one_order_and_their_bounds(labels: object) -> None:
    update = messages.MemberUpdate(
        contact=contacts("10.0.0.{}", 1)[0], state=0, incarnation=1, name="n", caps=Caps.CPU
    )
    data = codec.encode_datagram(Envelope(message=messages.Ping(sequence=1, updates=(update,))))
    plain = cbor.loads(data, bytes_max=1128)
    plain[7][0][5][0] = [["site", "b"], ["tier", "edge"]]
    assert codec.decode_datagram(cbor.dumps(plain))
    plain[7][0][5][0] = labels
    with pytest.raises(RemoteProtocolError, match=r"Ping: updates\[0\]\.traits\.labels"):
        codec.decode_datagram(cbor.dumps(plain))


def test_a_message_of_the_other_kind_is_our_bug() -> None:
    with pytest.raises(LocalProtocolError, match="ListModules is no datagram"):
        codec.encode_datagram(Envelope(message=messages.ListModules()))
    with pytest.raises(LocalProtocolError, match="Gossip is no call"):
        codec.encode_call(messages.Gossip())


def test_the_body_travels_beside_the_header_and_is_not_copied() -> None:
    header, body = codec.encode_call(PREDICT)
    assert body is PREDICT.body
    assert codec.body_size_of(header) == 16
    view = memoryview(bytearray(16))
    message = codec.decode_call(header, view)
    assert isinstance(message, messages.Predict)
    assert message.body[0] is view
    assert replace(message, body=PREDICT.body) == PREDICT


def test_a_memoryview_counts_in_bytes_and_not_in_elements() -> None:
    view = memoryview(bytes(16)).cast("d")
    header, _ = codec.encode_call(replace(PREDICT, body=(view,)))
    assert codec.body_size_of(header) == 16


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (tensor(size=8), "says 8 bytes"),
        (tensor(shape=(4,)), "takes 16"),
        (tensor(dtype="float64"), "takes 24"),
        (tensor(dtype="object"), "dtype"),
        (tensor(dtype=">f4"), "dtype"),
        (tensor(name=""), "name"),
        (tensor(shape=(2**40, 2**40), size=0), "shape"),
        (tensor(shape=(0, 2**26, 2**26), size=0), "impossible shape"),
        (tensor(shape=(1,) * 17, size=4), "17 items, limit 16"),
        (tensor(shape=(-3, -1)), "shape"),
        (replace(PREDICT, tensors=(IMAGE, IMAGE)), "two tensors of one name"),
        (replace(PREDICT, tensors=()), "announces 0"),
        (replace(PREDICT, body=()), "announces 16"),
        (replace(PREDICT, hops_left=2), "hops_left"),
        (replace(PREDICT, budget_ms=-1), "budget_ms"),
    ],
)
def test_tensors_agree_with_themselves_and_with_the_body(message, reason: str) -> None:
    with pytest.raises(LocalProtocolError, match="Predict: ") as sent:
        codec.encode_call(message)
    assert reason in sent.value.message
    fields = [[h.name, h.dtype, list(h.shape), h.size] for h in message.tensors]
    body = b"".join(message.body)
    plain = [1, len(body), bytes(16), bytes(32), "", message.budget_ms, message.hops_left]
    plain += [[0, 0, 0, False], [1, 0], [[], 2], None, fields]
    with pytest.raises(RemoteProtocolError, match="Predict: ") as received:
        codec.decode_call(cbor.dumps(plain), memoryview(body) if body else None)
    assert reason in received.value.message


def test_tensors_without_elements_or_dimensions_are_tensors() -> None:
    empty = TensorHeader(name="boxes", dtype="int64", shape=(0, 4), size=0)
    scalar = TensorHeader(name="t", dtype="bool", shape=(), size=1)
    message = replace(PREDICT, tensors=(empty, scalar), body=(bytes(8),))
    header, body = codec.encode_call(message)
    assert codec.decode_call(header, memoryview(body[0])) == message


@pytest.mark.parametrize(
    ("number", "body_max"),
    [
        (1, limits.BODY_BYTES_MAX),
        (2, limits.BODY_BYTES_MAX),
        (3, 0),
        (5, limits.HEAD_BYTES_MAX),
        (9, 8192 * 32),
        (11, limits.PIECE_BYTES),
        (17, 0),
    ],
)
def test_a_body_is_bounded_by_its_message_before_it_is_allocated(
    number: int, body_max: int
) -> None:
    assert codec.body_size_of(cbor.dumps([number, body_max])) == body_max
    with pytest.raises(RemoteProtocolError, match=f"limit {body_max}"):
        codec.body_size_of(cbor.dumps([number, body_max + 1]))


@pytest.mark.parametrize("header", ["", "80", "8101", "820061", "82f500", "a10100", "8218ff00"])
def test_a_header_without_number_and_size_is_refused(header: str) -> None:
    with pytest.raises(RemoteProtocolError):
        codec.body_size_of(bytes.fromhex(header))
    with pytest.raises(RemoteProtocolError):
        codec.decode_call(bytes.fromhex(header), None)


def test_a_header_is_bounded() -> None:
    with pytest.raises(RemoteProtocolError, match="65537"):
        codec.body_size_of(bytes(limits.HEADER_BYTES_MAX + 1))
    with pytest.raises(RemoteProtocolError, match="65537"):
        codec.decode_call(bytes(limits.HEADER_BYTES_MAX + 1), None)


def test_piece_hashes_are_as_many_as_the_size_has_pieces() -> None:
    reply = messages.PieceHashes(
        blob=ContentHash(bytes(32)), size=limits.PIECE_BYTES + 1, root=bytes(32), body=(bytes(64),)
    )
    assert codec.encode_call(reply)
    with pytest.raises(LocalProtocolError, match="announces 64 bytes of body and has 32"):
        codec.encode_call(replace(reply, body=(bytes(32),)))


def test_a_failure_is_told_whatever_its_words() -> None:
    failure = messages.Failure(
        code="MN-501",
        message="\x1b[31mno node" + "x" * 5000,
        because=tuple(f"node {i}:\n{'y' * 999}" for i in range(500)),
        try_="z" * 5000,
    )
    header, _ = codec.encode_call(failure)
    told = codec.decode_call(header, None)
    assert isinstance(told, messages.Failure)
    assert told.message.startswith(" [31mno node")
    assert told.because[-1] == "and 469 more"
    assert len(told.because) == limits.REASONS_MAX


def test_the_longest_failure_fits_a_header_in_any_script() -> None:
    failure = messages.Failure(
        code="MN-501", message="𐌰" * 5000, because=("𐌰" * 999,) * 99, try_="𐌰" * 5000
    )
    assert len(codec.encode_call(failure)[0]) <= limits.HEADER_BYTES_MAX


def test_the_longest_catalog_fits_a_header() -> None:
    entry = messages.CatalogEntry(
        module=ContentHash(bytes(32)),
        name="n" * 64,
        version="1" * 64,
        publisher=PublicKey(bytes(32)),
        size=limits.BLOB_BYTES_MAX,
        warm=True,
    )
    catalog = messages.Catalog(entries=(entry,) * limits.CATALOG_ENTRIES_MAX)
    assert len(codec.encode_call(catalog)[0]) < 30_000


def test_sources_keep_their_pairs() -> None:
    holding = messages.Holding(
        module=ContentHash(bytes(32)), sources=((NodeId(bytes([1] * 32)), 2**40),)
    )
    assert codec.decode_call(codec.encode_call(holding)[0], None) == holding
