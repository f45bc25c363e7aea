"""Messages to bytes and back: datagrams with their envelope, calls with their body.

A datagram is one positional list, `[version, number, network, issued, returned, padding,
fields...]`; the header of a call is `[number, body bytes, fields...]`. The layouts are in
`table`. Decoding is total: any bytes give a message or `RemoteProtocolError` naming the message
and the field. Encoding applies the same bounds and raises `LocalProtocolError`.
"""

from dataclasses import dataclass

from meshnode.errors import LocalProtocolError, RemoteProtocolError
from meshnode.wire import cbor
from meshnode.wire.cbor import Plain
from meshnode.wire.limits import HEADER_BYTES_MAX, MESSAGE_BYTES_MAX
from meshnode.wire.messages import Datagram, StreamMessage
from meshnode.wire.schema import Bytes, Misfit
from meshnode.wire.table import CALL_NUMBERS, CALLS, DATAGRAM_NUMBERS, DATAGRAMS, Call
from meshnode.wire.tensor import Body, Buffer

VERSION = 1
NETWORK_BYTES = 16
COOKIE_BYTES = 8
_ENVELOPE_FIELDS = 6
_PADDING_AT = 5
_CALL_FIELDS = 2
_PADDING = Bytes(0, MESSAGE_BYTES_MAX)


@dataclass(slots=True, kw_only=True)  # made for each datagram; a frozen one takes twice as long
class Envelope:
    """What travels around a datagram's message."""

    message: Datagram
    network: bytes = b""
    """16 bytes in traffic with seeds, which serve many meshes; else empty."""
    issued: bytes = b""
    """8 bytes: send them back as `returned` with your next datagram; or empty."""
    returned: bytes = b""
    """8 bytes: the cookie you gave me, which proves my address; or empty."""


def encode_datagram(envelope: Envelope, *, pad_to: int = 0) -> bytes:
    """Return a datagram's plaintext of at least `pad_to` bytes, or raise LocalProtocolError.

    Padding makes a request as long as the answer it may get (decision 0004). Where CBOR has no
    string that fills the gap exactly, the result is one byte longer than asked for.
    """
    message = envelope.message
    number = DATAGRAM_NUMBERS.get(type(message))
    if number is None:
        raise LocalProtocolError(f"{type(message).__name__} is no datagram")
    try:
        plain: list[Plain] = [
            VERSION,
            number,
            _either(envelope.network, NETWORK_BYTES, "network"),
            _either(envelope.issued, COOKIE_BYTES, "issued"),
            _either(envelope.returned, COOKIE_BYTES, "returned"),
            b"",
            *DATAGRAMS[number].pack(message),
        ]
    except Misfit as misfit:
        raise LocalProtocolError(f"{type(message).__name__}: {misfit}") from None
    data = cbor.dumps(plain)
    if len(data) < pad_to:
        plain[_PADDING_AT] = bytes(_padding(pad_to - len(data)))
        data = cbor.dumps(plain)
    if len(data) > MESSAGE_BYTES_MAX:
        name = type(message).__name__
        raise LocalProtocolError(f"{name} takes {len(data)} bytes, limit {MESSAGE_BYTES_MAX}")
    return data


def decode_datagram(data: Buffer) -> Envelope:
    """Return the message and its envelope, or raise RemoteProtocolError."""
    plain = cbor.loads(data, bytes_max=MESSAGE_BYTES_MAX)
    if type(plain) is not list or len(plain) < _ENVELOPE_FIELDS or type(plain[1]) is not int:
        raise RemoteProtocolError("a datagram that is no envelope")
    if type(plain[0]) is not int or plain[0] != VERSION:
        raise RemoteProtocolError(f"a datagram of another protocol version than {VERSION}")
    record = DATAGRAMS.get(plain[1])
    if record is None:
        raise RemoteProtocolError(f"a datagram of the unknown number {plain[1]}")
    try:
        _PADDING.unpack(plain[_PADDING_AT])
        return Envelope(
            network=_either(plain[2], NETWORK_BYTES, "network"),
            issued=_either(plain[3], COOKIE_BYTES, "issued"),
            returned=_either(plain[4], COOKIE_BYTES, "returned"),
            message=record.unpack(plain[_ENVELOPE_FIELDS:]),
        )
    except Misfit as misfit:
        raise RemoteProtocolError(f"{record.kind.__name__}: {misfit}") from None


def encode_call(message: StreamMessage) -> tuple[bytes, Body]:
    """Return a call's CBOR header, and the buffers of its body as they are (nothing is copied)."""
    number = CALL_NUMBERS.get(type(message))
    if number is None:
        raise LocalProtocolError(f"{type(message).__name__} is no call")
    layout = CALLS[number]
    body: Body = getattr(message, "body", ()) if layout.record.has_beside else ()
    size = sum(b.nbytes if isinstance(b, memoryview) else len(b) for b in body) if body else 0
    try:
        header = cbor.dumps([number, size, *layout.record.pack(message)])
        if size or layout.body_exact is not None:
            _check_body(layout, message, size)
    except Misfit as misfit:
        raise LocalProtocolError(f"{type(message).__name__}: {misfit}") from None
    if len(header) > HEADER_BYTES_MAX:
        name = type(message).__name__
        raise LocalProtocolError(f"{name} has a header of {len(header)} bytes")
    return header, body


def body_size_of(header: Buffer) -> int:
    """Return how many bytes of body follow a call's header, or raise RemoteProtocolError.

    Reads the first two items only: it runs before the body is allocated, `decode_call` after.
    """
    if len(header) > HEADER_BYTES_MAX:
        raise RemoteProtocolError(f"a call's header of {len(header)} bytes")
    number, size = cbor.leading_uints(header, _CALL_FIELDS)
    layout = _layout(number)
    if size > layout.body_max:
        name = layout.record.kind.__name__
        raise RemoteProtocolError(f"{name}: a body of {size} bytes, limit {layout.body_max}")
    return size


def decode_call(header: Buffer, body: memoryview | None) -> StreamMessage:
    """Return the message of a header and the body that came after it.

    The message keeps `body` as it is, as its one buffer. Raises RemoteProtocolError if a field
    breaks its bounds, or if the fields announce another body than came.
    """
    plain = cbor.loads(header, bytes_max=HEADER_BYTES_MAX)
    if type(plain) is not list or len(plain) < _CALL_FIELDS or type(plain[0]) is not int:
        raise RemoteProtocolError("a call's header that is no list of number, size and fields")
    layout = _layout(plain[0])
    came = 0 if body is None else body.nbytes
    if type(plain[1]) is not int or plain[1] != came:
        name = layout.record.kind.__name__
        raise RemoteProtocolError(f"{name}: another body than the {came} bytes that came")
    try:
        beside = (body,) if body is not None and came and layout.body_max else ()
        message: StreamMessage = layout.record.unpack(plain[_CALL_FIELDS:], beside)
        if came or layout.body_exact is not None:
            _check_body(layout, message, came)
    except Misfit as misfit:
        raise RemoteProtocolError(f"{layout.record.kind.__name__}: {misfit}") from None
    return message


def _either(value: object, size: int, name: str) -> bytes:
    """Return a byte string that is empty or of one length."""
    if type(value) is not bytes or len(value) not in (0, size):
        raise Misfit(f"is neither empty nor {size} bytes").within(name)
    return value


def _padding(gap: int) -> int:
    """Return how long a byte string is that takes `gap` bytes more of CBOR than the empty one."""
    if gap < 24:
        return gap
    return max(24, gap - 1) if gap <= 256 else max(256, gap - 2)


def _layout(number: int) -> Call:
    layout = CALLS.get(number)
    if layout is None:
        raise RemoteProtocolError(f"a call of the unknown number {number}")
    return layout


def _check_body(layout: Call, message: StreamMessage, size: int) -> None:
    """Raise Misfit unless `size` bytes of body are allowed and are what the fields announce."""
    if size > layout.body_max:
        raise Misfit(f"has a body of {size} bytes, limit {layout.body_max}")
    if layout.body_exact is not None and (announced := layout.body_exact(message)) != size:
        raise Misfit(f"announces {announced} bytes of body and has {size}")
