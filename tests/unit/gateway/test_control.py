"""The control socket: every operation, and what it does with what is not one."""

import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from meshnode.errors import AlreadyRunning, NoCandidate
from meshnode.gateway.control import refuse_second, serve_control
from meshnode.wire.control import REQUEST_HEADER_BYTES_MAX, frame
from tests.unit.gateway.fake_node import FakeNode

X = {"name": "x", "dtype": "float32", "shape": [1, 3]}
ROW = np.array([1, 2, 3], np.float32).tobytes() + b"\0" * 4


class Talk:
    """A client that writes frames and reads answers."""

    def __init__(self, stream: trio.SocketStream, stopped: list[bool]) -> None:
        self.stream = stream
        self.stopped = stopped

    async def ask(self, op: str, body: bytes = b"", **args: Any) -> tuple[dict[str, Any], bytes]:
        await self.stream.send_all(frame({"op": op, "args": args}, len(body)) + body)
        return await self.answer()

    async def answer(self) -> tuple[dict[str, Any], bytes]:
        with trio.fail_after(20):
            (size,) = struct.unpack(">I", await self.exactly(4))
            fields = json.loads(await self.exactly(size))
            return fields, await self.exactly(fields["body"])

    async def exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            some = await self.stream.receive_some(count - len(data))
            assert some, "the node closed the connection"
            data += some
        return data


def mode(path: Path) -> int | None:
    return path.stat().st_mode & 0o777 if path.exists() else None


@asynccontextmanager
async def talking(path: Path, node: FakeNode | None = None) -> AsyncIterator[Talk]:
    stopped: list[bool] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(
            lambda task_status: serve_control(
                node or FakeNode(), path, stop=lambda: stopped.append(True), task_status=task_status
            )
        )
        async with await trio.open_unix_socket(str(path)) as stream:
            yield Talk(stream, stopped)
        nursery.cancel_scope.cancel()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


async def test_the_socket_is_private_and_goes_with_the_node(path: Path) -> None:
    async with talking(path):
        assert mode(path) == 0o600
    assert mode(path) is None


async def test_requests_of_a_connection_are_answered_in_order(path: Path) -> None:
    async with talking(path) as talk:
        raw = b"".join(frame({"op": op}) for op in ("ping", "status", "peers", "modules"))
        await talk.stream.send_all(raw)
        results = [(await talk.answer())[0]["result"] for _ in range(4)]
    assert results[0]["name"] == results[1]["name"] == "fake"
    assert [results[2][0]["name"], results[3][0]["name"]] == ["nas", "double"]


async def test_a_predict_carries_tensors_beside_the_header(path: Path) -> None:
    async with talking(path) as talk:
        fields, body = await talk.ask(
            "predict",
            ROW,
            module="double",
            inputs=[X],
            source="cam-7",
            deadline_ms=50,
            explain=True,
        )
    result = fields["result"]
    assert result["outputs"] == [{"name": "y", "dtype": "float32", "shape": [1, 3]}]
    assert body == np.array([2, 4, 6], np.float32).tobytes() + b"\0" * 4
    assert result["explain"]["candidates"][0]["name"] == "nas"
    assert result["timing"]["total_ms"] == 4.0


async def test_the_other_operations_reach_the_node(path: Path) -> None:
    async with talking(path) as talk:
        described = (await talk.ask("describe", module="double"))[0]["result"]
        assert described["inputs"][0] == {**X, "shape": [-1, 3], "layout": ""}
        explained = (await talk.ask("explain", module="double", inputs=[X]))[0]["result"]
        assert explained["excluded"][0]["reason"] == "draining"
        published = (await talk.ask("publish", b"abcde", sizes=[3, 2], replicas=2))[0]["result"]
        assert (published["size"], published["replicas"][0]["detail"]) == (3, "1 weights")
        invited = (await talk.ask("invite", uses=2, ttl_s=60, role="worker"))[0]["result"]
        assert (invited["uses"], invited["role"]) == (2, "worker")
        assert (await talk.ask("trust"))[0]["result"][0]["name"] == "lab"
        assert (await talk.ask("trust", add="KEY", name="me"))[0]["result"]["name"] == "me"
        assert "pid" in (await talk.ask("stop"))[0]["result"]
        assert talk.stopped == [True]


@pytest.mark.parametrize(
    ("op", "body", "args", "code"),
    [
        ("describe", b"", {"module": "duoble"}, "MN-510"),
        ("describe", b"", {"module": 7}, "MN-005"),
        ("predict", ROW, {"module": "double", "inputs": [X], "deadline_ms": 0}, "MN-005"),
        ("predict", ROW, {"module": "double", "inputs": [{"name": "x"}]}, "MN-005"),
        ("predict", ROW, {"module": "double", "inputs": [X], "require": "site=b"}, "MN-005"),
        ("predict", ROW, {"module": "double", "inputs": [X], "require": ["site"]}, "MN-005"),
        ("explain", b"", {"module": "double", "inputs": [X], "data": "all"}, "MN-005"),
        ("predict", ROW, {"module": "double", "inputs": [{**X, "dtype": "object"}]}, "MN-304"),
        ("predict", b"short", {"module": "double", "inputs": [X]}, "MN-302"),
        ("predict", b"", {"module": "double", "inputs": [X] * 40}, "MN-005"),
        ("invite", b"", {"uses": 0, "ttl_s": 60}, "MN-005"),
        ("publish", b"abc", {"sizes": [1], "replicas": 1}, "MN-005"),
        ("publish", b"abc", {"sizes": "3", "replicas": 1}, "MN-005"),
        ("trust", b"", {"add": "bad"}, "MN-000"),
    ],
)
async def test_a_wrong_request_is_answered_and_the_connection_stays(
    path: Path, op: str, body: bytes, args: dict[str, Any], code: str
) -> None:
    async with talking(path) as talk:
        fields, _ = await talk.ask(op, body, **args)
        assert fields["error"]["code"] == code
        assert "result" in (await talk.ask("ping"))[0]


@pytest.mark.parametrize(
    "raw",
    [
        struct.pack(">I", REQUEST_HEADER_BYTES_MAX + 1),
        struct.pack(">I", 2) + b"[]",
        struct.pack(">I", 4) + b"\xff\xff\xff\xff",
        frame({"op": "nonsense"}),
        frame({"op": ["ping"]}),
        frame({"op": "ping"}, 1),
        frame({"op": "predict"}, 1 << 40),
        frame({"op": "publish"}, 1 << 40),
    ],
)
async def test_what_is_not_a_frame_ends_the_connection_with_a_reason(
    path: Path, raw: bytes
) -> None:
    async with talking(path) as talk:
        await talk.stream.send_all(raw)
        assert (await talk.answer())[0]["error"]["code"] == "MN-102"
        assert await talk.stream.receive_some(1) == b""


async def test_failures_and_bugs_are_answers(path: Path) -> None:
    node = FakeNode(failure=NoCandidate("nobody", because=["mac: draining"]))
    async with talking(path, node) as talk:
        error = (await talk.ask("predict", ROW, module="double", inputs=[X]))[0]["error"]
        assert (error["code"], error["because"]) == ("MN-501", ["mac: draining"])
        node.failure = ZeroDivisionError("secret")
        error = (await talk.ask("predict", ROW, module="double", inputs=[X]))[0]["error"]
        assert error["code"] == "MN-000"
        assert "secret" not in str(error)


async def test_a_second_node_is_refused_and_a_dead_ones_socket_removed(path: Path) -> None:
    async with talking(path):
        with pytest.raises(AlreadyRunning):
            refuse_second(path)
    dead = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    await dead.bind(str(path))
    dead.close()
    refuse_second(path)
    assert mode(path) is None
