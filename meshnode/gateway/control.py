"""The control socket: client verbs and the Python client speak to the node here.

Requests of one connection are answered in order; several connections run side by side. Who may
use it is decided by the file: the socket is 0600.
"""

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from meshnode.constraints import Constraints
from meshnode.errors import AlreadyRunning, MeshnodeError, RemoteProtocolError, TooLarge, UsageError
from meshnode.gateway.constraints import read_constraints
from meshnode.gateway.facade import Facts, NodeFacade
from meshnode.gateway.facts import answer_facts, header_facts, module_facts
from meshnode.wire import arrays
from meshnode.wire.control import (
    ANSWER_HEADER_BYTES_MAX,
    OPS,
    PREFIX_BYTES,
    REQUEST_HEADER_BYTES_MAX,
    VERSION,
    Fields,
    error_fields,
    frame,
    header_bytes,
    parse_header,
)
from meshnode.wire.limits import HEDGE_MS_MAX, KIB, TENSORS_MAX, TEXT_CHARS_MAX
from meshnode.wire.tensor import Body, TensorHeader
from meshnode.wire.urgency import Haste

_log = logging.getLogger(__name__)
CONNECTIONS_MAX = 128
FRAME_TIMEOUT_S = 60.0
"""A frame that has begun must be whole by then; between frames a client may wait for ever."""
BACKLOG = 64
YEAR_S = 31_536_000
AHEAD_BYTES = 16 * KIB
"""Asked for at the start of a frame: most requests are whole with this one wake-up."""
JOINED_BYTES = 64 * KIB
"""An answer up to this size is sent in one piece: the client is woken once, not for each part."""


async def serve_control(
    node: NodeFacade,
    path: Path,
    *,
    stop: Callable[[], None],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the control socket until cancelled; the socket file goes when it ends."""
    refuse_second(path)
    listener = trio.SocketListener(_bind(path))
    own = _inode(path)
    limiter = trio.CapacityLimiter(CONNECTIONS_MAX)
    door = ControlDoor(node, stop)

    async def serve_one(stream: trio.SocketStream) -> None:
        async with stream, limiter:
            await door.serve(stream)

    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, serve_one, [listener])
            task_status.started()
    finally:
        if _inode(path) == own:
            _remove(path)


def refuse_second(path: Path) -> None:
    """Raise AlreadyRunning if a node answers at `path`; remove what a killed one left there."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            _remove(path)
        except OSError as error:
            raise AlreadyRunning(f"{path} cannot be used", because=[str(error)]) from error
        else:
            raise AlreadyRunning(
                "a node already runs from this home directory",
                because=[f"it answers at {path}"],
                try_="meshnode status",
            )


def _inode(path: Path) -> int | None:
    """Tell our own socket file from one that a later node has put in its place."""
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _bind(path: Path) -> trio.socket.SocketType:
    """Bind and listen; the file's mode is set before anyone can connect."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        os.chmod(path, 0o600)
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return trio.socket.from_stdlib_socket(bound)


class ControlDoor:
    """Answers control requests from one node."""

    def __init__(self, node: NodeFacade, stop: Callable[[], None]) -> None:
        self._node = node
        self._stop = stop

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Answer the requests of one connection until it ends or breaks the protocol."""
        incoming = _Incoming(stream)
        try:
            while await self._answer_next(stream, incoming):
                pass
        except RemoteProtocolError as error:
            await _send(stream, {"v": VERSION, "error": error_fields(error)})
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            _log.debug("a control connection ended in the middle")

    async def _answer_next(self, stream: trio.abc.Stream, incoming: "_Incoming") -> bool:
        if not await incoming.waits_for_more():
            return False
        with trio.fail_after(FRAME_TIMEOUT_S):
            prefix = bytes(await incoming.exactly(PREFIX_BYTES))
            size = header_bytes(prefix, bytes_max=REQUEST_HEADER_BYTES_MAX)
            fields, body_bytes = parse_header(await incoming.exactly(size))
            op = fields.get("op")
            if not isinstance(op, str) or op not in OPS:
                raise RemoteProtocolError(f"no operation {op!r} (known: {', '.join(OPS)})")
            if body_bytes > OPS[op]:
                raise RemoteProtocolError(f"{op} with {body_bytes} bytes, limit {OPS[op]}")
            body = await incoming.exactly(body_bytes)
        answer, buffers = await self._perform(op, fields, memoryview(body))
        await _send(stream, {"v": VERSION, **answer}, buffers)
        return True

    async def _perform(self, op: str, fields: Fields, body: memoryview) -> tuple[Fields, Body]:
        """Run one operation; whatever goes wrong becomes an answer."""
        args = fields.get("args", {})
        try:
            if not isinstance(args, dict):
                raise UsageError("args must be an object")
            return await self._run(op, args, body)
        except MeshnodeError as error:
            return {"error": error_fields(error)}, ()
        except Exception:  # the edge: one bad request must not end the node
            _log.exception("the control operation %s failed", op)
            bug = MeshnodeError("internal error; the node's log has the traceback")
            return {"error": error_fields(bug)}, ()

    async def _run(self, op: str, args: Fields, body: memoryview) -> tuple[Fields, Body]:
        node = self._node
        match op:
            case "predict":
                return await self._predict(args, body)
            case "status" | "peers":
                result: Any = node.status() if op == "status" else node.peers()
            case "modules" | "pin":
                result = await (node.modules() if op == "modules" else self._pin(args))
            case "describe":
                result = module_facts(await node.describe(_text(args, "module")))
            case "explain":
                headers = _headers(args)
                result = await node.explain(
                    _text(args, "module"), headers, _text(args, "source"), _constraints(args)
                )
            case "publish":
                result = await self._publish(args, body)
            case "invite":
                result = await node.invite(
                    _count(args, "uses", 1, 10_000),
                    _count(args, "ttl_s", 1, YEAR_S),
                    _text(args, "role"),
                )
            case "doctor":
                result = await node.doctor(_text(args, "peer"))
            case "trust" | "revoke" | "revocations" | "rotate":
                result = await self._membership(op, args)
            case _:
                result = self._simple(op)
        return {"result": result}, ()

    async def _pin(self, args: Fields) -> list[Facts]:
        if args.get("add") is not None:
            return await self._node.pin(_text(args, "add"))
        if args.get("remove") is not None:
            return await self._node.unpin(_text(args, "remove"))
        return self._node.pins()

    async def _membership(self, op: str, args: Fields) -> Any:  # noqa: ANN401 - list or object
        """Whose modules run, who is expelled, and under which key the mesh speaks."""
        match op:
            case "trust":
                return self._trust(args)
            case "revocations":
                return self._node.revocations()
            case "revoke":
                who, reason = _text(args, "who"), _text(args, "reason")
                return await self._node.revoke(who, reason, args.get("rotate") is not False)
            case _:
                return self._rotate(args)

    def _simple(self, op: str) -> Facts:
        if op == "stop":
            self._stop()
        return {"name": self._node.name, "pid": os.getpid()}

    async def _predict(self, args: Fields, body: memoryview) -> tuple[Fields, Body]:
        headers = _headers(args)
        arrays.split_body(headers, body)
        deadline, hedge = args.get("deadline_ms"), args.get("hedge_ms")
        outcome = await self._node.predict(
            _text(args, "module"),
            headers,
            (body,),
            source=_text(args, "source"),
            deadline_ms=None if deadline is None else _count(args, "deadline_ms", 1, 3_600_000),
            explain=args.get("explain") is True,
            haste=Haste(
                priority=_text(args, "priority"),
                hedge_ms=None if hedge is None else _count(args, "hedge_ms", 0, HEDGE_MS_MAX),
            ),
            constraints=_constraints(args),
        )
        tensors = [header_facts(h) for h in outcome.prediction.tensors]
        return {"result": {**answer_facts(outcome), "outputs": tensors}}, outcome.prediction.body

    async def _publish(self, args: Fields, body: memoryview) -> Facts:
        """The body is the module, then each weights blob, with their lengths in `sizes`."""
        sizes = args.get("sizes")
        if not isinstance(sizes, list) or not 1 <= len(sizes) <= TENSORS_MAX:
            raise UsageError("sizes must list the module's length and those of its weights")
        if not all(isinstance(s, int) and s >= 0 for s in sizes) or sum(sizes) != len(body):
            raise UsageError("sizes do not add up to the bytes that came")
        parts, start = [], 0
        for size in sizes:
            parts.append(bytes(body[start : start + size]))
            start += size
        return await self._node.publish(parts[0], parts[1:], _count(args, "replicas", 1, 256))

    def _trust(self, args: Fields) -> Any:  # noqa: ANN401 - a list or an object
        if args.get("log") is True:
            return self._node.trust_log()
        if args.get("add") is not None:
            return self._node.trust_add(_text(args, "add"), _text(args, "name"))
        return self._node.trust_list()

    def _rotate(self, args: Fields) -> Facts:
        if args.get("start") is not True:
            return self._node.rotation()
        wait_s = _count(args, "wait_s", 0, YEAR_S)
        return self._node.rotate(
            args.get("force") is True, wait_s, _count(args, "keep_s", 0, YEAR_S)
        )


def _text(args: Fields, name: str) -> str:
    value = args.get(name, "")
    if not isinstance(value, str) or len(value) > TEXT_CHARS_MAX:
        raise UsageError(f"{name} must be a text of at most {TEXT_CHARS_MAX} characters")
    return value


def _constraints(args: Fields) -> Constraints:
    require = args.get("require", [])
    if not isinstance(require, list) or not all(isinstance(text, str) for text in require):
        raise UsageError("require must list texts like site=hall-3")
    return read_constraints(require, _text(args, "tier"), _text(args, "data"))


def _count(args: Fields, name: str, low: int, high: int) -> int:
    value = args.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"{name} must be a whole number from {low} to {high}")
    return value


def _headers(args: Fields) -> tuple[TensorHeader, ...]:
    listed = args.get("inputs", [])
    if not isinstance(listed, list) or len(listed) > TENSORS_MAX:
        raise UsageError(f"inputs must list at most {TENSORS_MAX} tensors")
    found = []
    for item in listed:
        fields = item if isinstance(item, dict) else {}
        shape = fields.get("shape")
        if not isinstance(shape, list) or not all(type(d) is int for d in shape):
            raise UsageError("every input must have a name, a dtype and a shape")
        found.append(arrays.header(_text(fields, "name"), _text(fields, "dtype"), shape))
    return tuple(found)


class _Incoming:
    """The bytes of one connection: small frames come with one receive, bodies into their buffer."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._ahead = b""
        """Received and not taken yet: the rest of a frame, or the next one."""

    async def waits_for_more(self) -> bool:
        """Wait for the first byte of a frame; False at the end of the connection."""
        if not self._ahead:
            self._ahead = bytes(await self._stream.receive_some(AHEAD_BYTES))
        return bool(self._ahead)

    async def exactly(self, count: int) -> bytearray:
        """Return `count` bytes, received into one buffer of that size."""
        buffer = bytearray(count)
        taken = self._ahead[:count]
        self._ahead = self._ahead[count:]
        buffer[: len(taken)] = taken
        view = memoryview(buffer)[len(taken) :]
        while view:
            received = await self._into(view)
            if not received:
                raise trio.BrokenResourceError("the connection ended inside a frame")
            view = view[received:]
        return buffer

    async def _into(self, view: memoryview) -> int:
        """Receive some bytes into `view` and return how many; 0 at the end.

        On a socket the kernel writes them where they are wanted: for 600 KB this took a fifth of
        the time of `receive_some`, whose large buffers are mapped and unmapped each time.
        """
        if isinstance(self._stream, trio.SocketStream):
            try:
                return await self._stream.socket.recv_into(view)
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
        some = await self._stream.receive_some(min(len(view), AHEAD_BYTES))
        view[: len(some)] = some
        return len(some)


async def _send(stream: trio.abc.Stream, fields: Fields, buffers: Body = ()) -> None:
    body_bytes = sum(memoryview(b).nbytes for b in buffers)
    head = frame(fields, body_bytes)
    if len(head) > ANSWER_HEADER_BYTES_MAX:
        large = TooLarge("the answer is larger than a control frame may be")
        head, buffers = frame({"v": VERSION, "error": error_fields(large)}), ()
    if body_bytes <= JOINED_BYTES:
        head, buffers = b"".join([head, *buffers]), ()
    with trio.fail_after(FRAME_TIMEOUT_S):
        await stream.send_all(head)
        for buffer in buffers:
            await stream.send_all(buffer)
