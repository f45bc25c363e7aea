"""Request heads: what is understood, and what is refused with which status."""

import json

import pytest

from meshnode.errors import NoCandidate, Overloaded, OverShare, TooLate, WrongShape
from meshnode.gateway.http import Refused, Response, error_response, json_response, parse_head


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def status_of(raw: bytes) -> int:
    with pytest.raises(Refused) as raised:
        parse_head(raw)
    return raised.value.status


def test_a_request_head_is_taken_apart() -> None:
    found = parse_head(
        head(
            "POST /predict?module=detect%401.2&source=cam%2007&empty= HTTP/1.1",
            "Host: localhost:6180",
            "Content-Length: 12",
            "X-Shape: 1,2",
            "X-Shape: 3",
            "Expect: 100-continue",
        )
    )
    assert (found.method, found.path, found.body_bytes) == ("POST", "/predict", 12)
    assert found.query == {"module": "detect@1.2", "source": "cam 07", "empty": ""}
    assert found.headers["x-shape"] == "1,2, 3"
    assert found.keep_alive
    assert found.expects_continue


def test_keep_alive_follows_the_version_and_the_header() -> None:
    assert not parse_head(head("GET / HTTP/1.0", "Host: a")).keep_alive
    assert not parse_head(head("GET / HTTP/1.1", "Host: a", "Connection: close")).keep_alive
    assert parse_head(head("GET / HTTP/1.0", "Host: a", "Connection: keep-alive")).keep_alive


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (head("GET"), 400),
        (head("GET / HTTP/9.9"), 400),
        (head("GET / HTTP/1.1", "Host : a"), 400),
        (head("GET / HTTP/1.1", "Host: a", "Host: b"), 400),
        (head("GET / HTTP/1.1", "Content-Length: 1", "Content-Length: 2"), 400),
        (head("GET / HTTP/1.1", "Content-Length: -1"), 400),
        (head("GET / HTTP/1.1", "Content-Length: 99999999999999999999"), 400),
        (head("POST / HTTP/1.1", "Transfer-Encoding: chunked"), 411),
        (head("POST / HTTP/1.1", "Transfer-Encoding: chunked", "Content-Length: 5"), 400),
        (head("GET / HTTP/1.1", "Connection: upgrade", "Upgrade: h2c"), 400),
        (head("PRI * HTTP/2.0"), 400),
        (head("GET /%ff HTTP/1.1"), 400),
        (head("GET /?a=1&a=2 HTTP/1.1"), 400),
        (head("GET /?" + "&".join(f"k{i}=1" for i in range(40)) + " HTTP/1.1"), 400),
        (head("GET / HTTP/1.1", *(f"H{i}: 1" for i in range(80))), 431),
        (head("GET / HTTP/1.1", "", "GET / HTTP/1.1"), 400),
        (b"GET / HTTP/1.1\n\nGET / HTTP/1.1\r\n\r\n", 400),
        (head("CONNECT a:1 HTTP/1.1"), 400),
    ],
)
def test_hostile_heads_are_refused(raw: bytes, status: int) -> None:
    assert status_of(raw) == status


def test_errors_carry_their_code_status_and_when_to_come_again() -> None:
    shape = error_response(WrongShape("tensor 'x'", because=["a"], try_="b"))
    assert shape.status == 400
    error = json.loads(shape.body)["error"]
    assert (error["code"], error["because"], error["try"]) == ("MN-302", ["a"], "b")
    nobody = error_response(NoCandidate("nobody"))
    assert (nobody.status, "Retry-After" in nobody.headers) == (503, False), "who knows when?"
    full = Overloaded("full")
    full.retry_after_ms = 1200
    busy = error_response(full)
    assert (busy.status, busy.headers["Retry-After"]) == (503, "2")
    assert json.loads(busy.body)["error"]["retry_after_ms"] == 1200


@pytest.mark.parametrize(
    ("kind", "status"), [(Overloaded, 503), (TooLate, 503), (OverShare, 429)], ids=lambda k: str(k)
)
@pytest.mark.parametrize(("ms", "header"), [(1, "1"), (1000, "1"), (1001, "2"), (30_000, "30")])
def test_overload_says_whose_it_is_and_never_too_early_when_to_return(
    kind: type[Overloaded], status: int, ms: int, header: str
) -> None:
    error = kind("no room")
    error.retry_after_ms = ms
    response = error_response(error)
    assert (response.status, response.headers["Retry-After"]) == (status, header)
    reason = b"429 Too Many Requests" if status == 429 else b"503 Service Unavailable"
    assert reason in response.head(keep_alive=True)


def test_a_response_cannot_be_split_by_a_header() -> None:
    raw = Response(200, b"{}", headers={"X-Node": "a\r\nSet-Cookie: b"}).head(keep_alive=False)
    assert b"\r\nSet-Cookie" not in raw
    assert b"Connection: close" in raw
    assert json.loads(json_response(200, {"ok": True}).body) == {"v": 1, "ok": True}
