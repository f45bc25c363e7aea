"""HTTP over real loopback sockets: framing, limits, time-outs and what a client sees."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO

import numpy as np
import pytest
import trio

from meshnode.constraints import Constraints, Scope
from meshnode.errors import NoCandidate, PortTaken
from meshnode.gateway import server
from meshnode.gateway.access import Access
from meshnode.gateway.server import serve_http
from meshnode.ids import Address
from meshnode.labels import labels_of
from tests.unit.gateway.fake_node import FakeNode

ROW = np.array([[1, 2, 3]], np.float32)
JSON = json.dumps({"inputs": {"x": [[1, 2, 3]]}}).encode()


class Talk:
    """A client that writes bytes and reads whole responses."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.buffer = b""

    async def send(self, method: str, target: str, body: bytes = b"", **headers: str) -> None:
        lines = [f"{method} {target} HTTP/1.1", f"Content-Length: {len(body)}"]
        named = {"Host": "localhost"} | {k.replace("_", "-"): v for k, v in headers.items()}
        lines += [f"{name}: {value}" for name, value in named.items()]
        await self.stream.send_all("\r\n".join([*lines, "", ""]).encode() + body)

    async def read(self, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        with trio.fail_after(20):
            while b"\r\n\r\n" not in self.buffer:
                self.buffer += await self._more()
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            length = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
            while len(self.buffer) < length:
                self.buffer += await self._more()
            body, self.buffer = self.buffer[:length], self.buffer[length:]
            return int(first.split()[1]), headers, body

    async def ended(self) -> bool:
        with trio.fail_after(20):
            return await self.stream.receive_some(1) == b""

    async def _more(self) -> bytes:
        some = await self.stream.receive_some(65536)
        assert some, "the server closed"
        return bytes(some)


@asynccontextmanager
async def talking(node: FakeNode, access: Access | None = None) -> AsyncIterator[Talk]:
    async with trio.open_nursery() as nursery:
        rule = access or Access(loopback=True)

        async def serve(task_status: trio.TaskStatus[Address]) -> None:
            await serve_http(node, Address("127.0.0.1", 0), rule, task_status=task_status)

        address = await nursery.start(serve)
        async with await trio.open_tcp_stream(address.host, address.port) as stream:
            yield Talk(stream)
        nursery.cancel_scope.cancel()


async def test_several_requests_share_a_connection() -> None:
    async with talking(FakeNode()) as talk:
        await talk.send("GET", "/healthz")
        await talk.send("GET", "/api/v1/status")
        await talk.send("HEAD", "/healthz")
        await talk.send("GET", "/api/v1/modules")
        assert (await talk.read())[0] == 200
        assert json.loads((await talk.read())[2])["status"]["name"] == "fake"
        assert (await talk.read("HEAD"))[2] == b""
        assert json.loads((await talk.read())[2])["modules"][0]["name"] == "double"


async def test_readiness_waits_for_what_is_pinned() -> None:
    node = FakeNode()
    async with talking(node) as talk:
        await talk.send("GET", "/v2/health/ready")
        status, _, body = await talk.read()
        assert (status, json.loads(body)["ready"]) == (200, True)
        node.pinned = ["ocr"]
        await talk.send("GET", "/v2/health/ready")
        status, _, body = await talk.read()
        assert (status, json.loads(body)["waiting"]) == (503, ["ocr: looking"])


async def test_a_predict_answers_json_and_says_where_it_ran() -> None:
    node = FakeNode()
    async with talking(node) as talk:
        await talk.send("POST", "/predict?module=double&source=cam-7&deadline_ms=90", JSON)
        status, headers, body = await talk.read()
    answer = json.loads(body)
    assert status == 200
    assert answer["outputs"]["y"]["data"] == [[2.0, 4.0, 6.0]]
    assert answer["node"]["name"] == headers["x-meshnode-node"] == "nas"
    assert headers["x-meshnode-module"] == "sha256:" + "11" * 32
    assert "run;dur=2.0" in headers["server-timing"]
    assert answer["timing"]["net_ms"] == pytest.approx(1.4)
    assert node.asked == [{"source": "cam-7", "deadline_ms": 90, "explain": False}]


async def test_a_predict_may_ask_for_labels_and_bound_its_data_in_query_and_headers() -> None:
    node = FakeNode()
    target = "/predict?module=double&require=site=hall-3,rack=7&tier=edge&data=site"
    headers = {"X-Meshnode-Require": "line=4", "X-Meshnode-Data": "node"}
    async with talking(node) as talk:
        await talk.send("POST", target, JSON)
        assert (await talk.read())[0] == 200
        await talk.send("POST", target, JSON, **headers)
        assert (await talk.read())[0] == 200
    labels = {"rack": "7", "site": "hall-3", "tier": "edge"}
    assert node.asked[0]["constraints"] == Constraints(labels_of(labels), Scope.SITE)
    strict = Constraints(labels_of({**labels, "line": "4"}), Scope.NODE)
    assert node.asked[1]["constraints"] == strict


async def test_a_large_npy_comes_and_goes_whole() -> None:
    array = np.arange(600_000, dtype=np.float32).reshape(-1, 3)
    file = BytesIO()
    np.save(file, array)
    async with talking(FakeNode()) as talk:
        await talk.send(
            "POST", "/predict?module=double", file.getvalue(), Accept="application/x-npy"
        )
        status, headers, body = await talk.read()
        assert (status, headers["content-type"]) == (200, "application/x-npy")
        np.testing.assert_array_equal(np.load(BytesIO(body)), array * 2)


@pytest.mark.parametrize(
    ("target", "body", "status", "code"),
    [
        ("/predict?module=duoble", JSON, 404, "MN-510"),
        ("/predict", JSON, 400, "MN-005"),
        ("/predict?module=double", b"{", 400, "MN-304"),
        ("/predict?module=double", b'{"inputs":{"x":[[1,2]]}}', 400, "MN-302"),
        ("/predict?module=double&deadline_ms=soon", JSON, 400, "MN-005"),
        ("/predict?module=double&deadline_ms=0", JSON, 400, "MN-005"),
        ("/predict?module=double&require=hall-3", JSON, 400, "MN-005"),
        ("/predict?module=double&require=site=a&tier=two+words", JSON, 400, "MN-005"),
        ("/predict?module=double&data=planet", JSON, 400, "MN-005"),
    ],
)
async def test_a_bad_predict_is_refused_and_the_connection_stays(
    target: str, body: bytes, status: int, code: str
) -> None:
    async with talking(FakeNode()) as talk:
        await talk.send("POST", target, body)
        found, _, raw = await talk.read()
        assert (found, json.loads(raw)["error"]["code"]) == (status, code)
        await talk.send("GET", "/healthz")
        assert (await talk.read())[0] == 200


async def test_failures_of_the_mesh_and_bugs_have_their_status() -> None:
    failure = NoCandidate("nobody", because=["mac: draining"])
    failure.retry_after_ms = 300
    node = FakeNode(failure=failure)
    async with talking(node) as talk:
        await talk.send("POST", "/predict?module=double", JSON)
        status, headers, body = await talk.read()
        assert (status, headers["retry-after"]) == (503, "1")
        assert json.loads(body)["error"]["because"] == ["mac: draining"]
        node.failure = ZeroDivisionError("secret detail")
        await talk.send("POST", "/predict?module=double", JSON)
        status, _, body = await talk.read()
        assert status == 500
        assert b"secret" not in body


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("GET", "/nowhere", {}, 404),
        ("GET", "/predict", {}, 405),
        ("DELETE", "/healthz", {}, 405),
        ("GET", "/healthz", {"Host": "evil.example"}, 403),
        ("POST", "/predict", {"Transfer-Encoding": "chunked"}, 400),
    ],
)
async def test_requests_that_reach_no_route_are_answered_and_closed(
    method: str, target: str, headers: dict[str, str], status: int
) -> None:
    async with talking(FakeNode()) as talk:
        await talk.send(method, target, **headers)
        found, answer, _ = await talk.read()
        assert (found, answer["connection"]) == (status, "close")
        assert await talk.ended()


async def test_a_body_beyond_the_limit_is_refused_before_it_is_read() -> None:
    async with talking(FakeNode()) as talk:
        head = "POST /predict?module=double HTTP/1.1\r\nHost: localhost\r\n"
        await talk.stream.send_all(f"{head}Content-Length: {1 << 40}\r\n\r\n".encode())
        assert (await talk.read())[0] == 413
        assert await talk.ended()


async def test_a_client_that_waits_is_told_to_go_on() -> None:
    async with talking(FakeNode()) as talk:
        await talk.send("POST", "/predict?module=double", b"", Expect="100-continue")
        assert (await talk.read())[0] == 400
        length = {"Content-Length": str(len(JSON))}
        await talk.send("POST", "/predict?module=double", **length)  # twice: refused
        assert (await talk.read())[0] == 400
    async with talking(FakeNode()) as talk:
        head = "POST /predict?module=double HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
        await talk.stream.send_all(f"{head}Content-Length: {len(JSON)}\r\n\r\n".encode())
        assert (await talk.read())[0] == 100
        await talk.stream.send_all(JSON)
        assert (await talk.read())[0] == 200


async def test_headers_without_end_are_refused() -> None:
    async with talking(FakeNode()) as talk:
        await talk.stream.send_all(b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 20_000)
        assert (await talk.read())[0] == 431
        assert await talk.ended()


async def test_a_slow_sender_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_TIMEOUT_S", 0.05)
    async with talking(FakeNode()) as talk:
        await talk.stream.send_all(b"GET / HTTP/1.1\r\nX: ")
        assert (await talk.read())[0] == 408
        assert await talk.ended()


async def test_an_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE_TIMEOUT_S", 0.05)
    async with talking(FakeNode()) as talk:
        assert await talk.ended()


async def test_a_client_that_leaves_inside_a_body_harms_nobody() -> None:
    async with talking(FakeNode()) as talk:
        head = "POST /predict?module=double HTTP/1.1\r\nHost: localhost\r\n"
        await talk.stream.send_all(f"{head}Content-Length: 100000\r\n\r\nabc".encode())
        await talk.stream.send_eof()
        assert await talk.ended()


async def test_too_many_bodies_at_once_are_told_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "BODY_BYTES_FREE", 10)
    monkeypatch.setattr(server, "BODIES_BYTES_MAX", 20)
    async with talking(FakeNode()) as talk:
        await talk.send("POST", "/predict?module=double", JSON)
        assert (await talk.read())[0] == 503


async def test_a_token_guards_the_doors() -> None:
    async with talking(FakeNode(), Access(loopback=False, token="t" * 16)) as talk:
        await talk.send("GET", "/api/v1/peers", Authorization="Bearer " + "t" * 16)
        assert (await talk.read())[0] == 200
        await talk.send("GET", "/api/v1/peers")
        status, headers, _ = await talk.read()
        assert (status, headers["www-authenticate"]) == (401, "bearer")


async def test_a_taken_port_moves_up_only_if_it_may() -> None:
    taken = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = taken.socket.getsockname()[1]
    listen, rule = Address("127.0.0.1", port), Access(loopback=True)
    async with taken, trio.open_nursery() as nursery:
        with pytest.RaisesGroup(PortTaken, allow_unwrapped=True, flatten_subgroups=True):
            await nursery.start(
                lambda task_status: serve_http(FakeNode(), listen, rule, task_status=task_status)
            )
        moved = await nursery.start(
            lambda task_status: serve_http(
                FakeNode(), listen, rule, tries=20, task_status=task_status
            )
        )
        assert port < moved.port < port + 20
        nursery.cancel_scope.cancel()
