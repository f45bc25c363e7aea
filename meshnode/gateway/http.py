"""One HTTP/1.1 request's head, parsed by httptools and checked; and responses. No sockets.

A body is framed by Content-Length alone, so that its size is known before a byte of it is
received. Each head is given to a fresh parser, whole: what follows it is never interpreted by
guesswork, which leaves no room for request smuggling.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from math import ceil
from typing import Any
from urllib.parse import parse_qsl, unquote

import httptools

from meshnode.errors import MeshnodeError, UsageError
from meshnode.wire.control import VERSION, error_fields

HEAD_BYTES_MAX = 16 * 1024
"""Request line and headers; what Apache and nginx allow by default is 8 KiB."""
HEADERS_MAX = 64
QUERY_FIELDS_MAX = 16


class Refused(Exception):
    """A request that is answered with an error status before a route sees it."""

    def __init__(self, status: int, error: MeshnodeError, **headers: str) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """Everything before the body."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Lower-case names; a name that came twice has its values joined by a comma."""
    body_bytes: int
    keep_alive: bool

    @property
    def expects_continue(self) -> bool:
        """The client waits for 100 Continue before it sends the body, as curl does."""
        return self.headers.get("expect", "").lower() == "100-continue"


@dataclass(slots=True)
class Response:
    """A status, a body and its headers."""

    status: int
    body: bytes | bytearray | memoryview
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    def head(self, *, keep_alive: bool) -> bytes:
        """Return the status line and headers; the body follows as it is."""
        reason = HTTPStatus(self.status).phrase
        lines = [
            f"HTTP/1.1 {self.status} {reason}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {memoryview(self.body).nbytes}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            *(f"{name}: {_clean(value)}" for name, value in self.headers.items()),
            *([] if keep_alive else ["Connection: close"]),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def parse_head(head: bytes) -> RequestHead:
    """Return the request whose head this is, ending with its empty line; or raise Refused."""
    seen = _Seen()
    parser = seen.parser = httptools.HttpRequestParser(seen)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade as error:
        raise _bad("no other protocol is spoken here") from error
    except httptools.HttpParserError as error:
        raise _bad("not an HTTP/1.1 request", str(error)) from error
    if not seen.complete or seen.body_seen or seen.messages != 1:
        raise _bad("not one HTTP/1.1 request head")
    headers = _fold(seen.headers)
    if "transfer-encoding" in headers:
        raise Refused(411, UsageError("send a Content-Length: chunked bodies are not taken"))
    path, query = _target(seen.url)
    return RequestHead(
        method=parser.get_method().decode("ascii", "replace"),
        path=path,
        query=query,
        headers=headers,
        body_bytes=_length(headers),
        keep_alive=seen.keep_alive,
    )


def json_response(status: int, fields: Mapping[str, Any], **headers: str) -> Response:
    """Return a JSON object with the schema version in it."""
    body = json.dumps({"v": VERSION, **fields}, separators=(",", ":"), allow_nan=False).encode()
    return Response(status, body, headers={k.replace("_", "-"): v for k, v in headers.items()})


def error_response(error: MeshnodeError, status: int | None = None) -> Response:
    """Return an error as every door shows it, with Retry-After where that is known.

    The header counts whole seconds (RFC 9110 section 10.2.3); the body has milliseconds.
    """
    status = error.http_status if status is None else status
    fields = {"error": error_fields(error)}
    if error.retry_after_ms is None:
        return json_response(status, fields)
    after_s = max(1, ceil(error.retry_after_ms / 1000))
    return json_response(status, fields, Retry_After=str(after_s))


class _Seen:
    """What httptools calls back with."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.messages = 0
        self.complete = False
        self.keep_alive = False
        self.body_seen = False
        self.parser: httptools.HttpRequestParser

    def on_message_begin(self) -> None:
        self.messages += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True
        # The parser forgets this when the message is complete.
        self.keep_alive = bool(self.parser.should_keep_alive())

    def on_body(self, body: bytes) -> None:
        self.body_seen = True


def _fold(listed: list[tuple[bytes, bytes]]) -> dict[str, str]:
    if len(listed) > HEADERS_MAX:
        raise Refused(431, UsageError(f"more than {HEADERS_MAX} headers"))
    folded: dict[str, str] = {}
    for raw_name, raw_value in listed:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1").strip()
        if name in ("host", "content-length", "authorization") and name in folded:
            raise _bad(f"the header {name} came twice")
        folded[name] = f"{folded[name]}, {value}" if name in folded else value
    return folded


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "0")
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise _bad(f"a Content-Length of '{text[:40]}'")
    return int(text)


def _target(url: bytes) -> tuple[str, dict[str, str]]:
    try:
        parsed = httptools.parse_url(url)
        path = unquote((parsed.path or b"/").decode("ascii"), errors="strict")
        pairs = parse_qsl(
            (parsed.query or b"").decode("ascii"),
            keep_blank_values=True,
            max_num_fields=QUERY_FIELDS_MAX,
            errors="strict",
        )
    except (httptools.HttpParserError, ValueError) as error:
        raise _bad("the address cannot be read", str(error)) from error
    query = dict(pairs)
    if len(query) != len(pairs):
        raise _bad("a query field came twice")
    return path, query


def _bad(message: str, *because: str) -> Refused:
    return Refused(400, UsageError(message, because=because))


def _clean(value: str) -> str:
    """Keep a value on its own line, whatever it is made of."""
    return "".join(c if c.isprintable() else "?" for c in value)
