"""Any bytes at the HTTP door give a request or a refusal, never anything else."""

import contextlib

from hypothesis import example, given, settings
from hypothesis import strategies as st

from meshnode.errors import MeshnodeError
from meshnode.gateway.http import Refused, parse_head
from meshnode.gateway.tensors import read_tensors
from meshnode.modules.manifest import TensorSpec

SPECS = (TensorSpec(name="x", dtype="float32", shape=(-1, 3)),)
LINES = st.sampled_from(
    [
        b"Host: localhost",
        b"Content-Length: 5",
        b"Content-Length: +5",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding : chunked",
        b"Connection: upgrade",
        b"X: \x00",
        b" folded",
        b":",
        b"\xff: \xff",
    ]
)
FIRST = st.sampled_from(
    [b"GET / HTTP/1.1", b"POST /predict?module=%00 HTTP/1.1", b"GET //a:b@c HTTP/1.0", b"\x00", b""]
)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
@example(b"GET / HTTP/1.1\r\n\r\n")
def test_any_bytes_are_a_head_or_refused(data: bytes) -> None:
    with contextlib.suppress(Refused):
        parse_head(data + b"\r\n\r\n")


@settings(max_examples=200, deadline=None)
@given(FIRST, st.lists(LINES | st.binary(max_size=20), max_size=6))
def test_heads_that_nearly_hold_are_framed_by_content_length_alone(
    first: bytes, lines: list[bytes]
) -> None:
    with contextlib.suppress(Refused):
        head = parse_head(b"\r\n".join([first, *lines]) + b"\r\n\r\n")
        assert "transfer-encoding" not in head.headers
        assert head.body_bytes == int(head.headers.get("content-length", "0"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=200)
    | JSON.map(lambda v: __import__("json").dumps({"inputs": {"x": v}}).encode())
)
@example(b"\x93NUMPY\x01\x00\x05\x00{1:1}")
def test_any_body_is_tensors_or_an_input_error(data: bytes) -> None:
    for kind in ("application/json", "application/octet-stream"):
        headers = {"content-type": kind, "x-dtype": "uint8", "x-shape": str(len(data))}
        with contextlib.suppress(MeshnodeError):
            heads, body = read_tensors(bytearray(data), headers, SPECS, "")
            assert sum(h.size for h in heads) <= sum(len(b) for b in body)
