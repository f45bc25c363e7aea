"""Which path does what over HTTP. The way of a request begins at `Routes.respond`."""

import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

import trio

from meshnode.constraints import Constraints
from meshnode.errors import MeshnodeError, TooLarge, UsageError
from meshnode.gateway.constraints import read_constraints
from meshnode.gateway.facade import NodeFacade, Outcome
from meshnode.gateway.facts import answer_facts, timing_facts
from meshnode.gateway.http import Refused, RequestHead, Response, error_response, json_response
from meshnode.gateway.tensors import read_tensors, write_json, write_npy
from meshnode.wire.arrays import body_bytes
from meshnode.wire.limits import BODY_BYTES_MAX, HEDGE_MS_MAX, KIB, TEXT_CHARS_MAX
from meshnode.wire.urgency import Haste

_log = logging.getLogger(__name__)
T = TypeVar("T")
INLINE_BYTES_MAX = 32 * KIB
"""Up to this, converting takes less than handing it to a thread and back (0.1 ms)."""
DEADLINE_MS_MAX = 3_600_000

PATHS: Mapping[str, tuple[str, int]] = {
    "/healthz": ("GET", 0),
    "/v2/health/ready": ("GET", 0),
    "/predict": ("POST", BODY_BYTES_MAX),
    "/api/v1/status": ("GET", 0),
    "/api/v1/peers": ("GET", 0),
    "/api/v1/modules": ("GET", 0),
}
"""Each path with its method and the most bytes its request may carry."""


class Routes:
    """Answers HTTP requests from one node."""

    def __init__(self, node: NodeFacade) -> None:
        self._node = node

    def admit(self, head: RequestHead) -> None:
        """Raise Refused for a path, method or size that will not be answered; nothing is read."""
        if head.path not in PATHS:
            error = UsageError(f"no path {head.path[:80]}", because=[f"paths: {' '.join(PATHS)}"])
            raise Refused(404, error)
        method, bytes_max = PATHS[head.path]
        if head.method != method and not (head.method == "HEAD" and method == "GET"):
            raise Refused(405, UsageError(f"{head.path} takes {method}"), Allow=method)
        if head.body_bytes > bytes_max:
            large = TooLarge(f"a body of {head.body_bytes} bytes, limit {bytes_max}")
            raise Refused(413, large)

    async def respond(self, head: RequestHead, body: bytearray) -> Response:
        """Return the response to one request; a MeshnodeError becomes its HTTP status."""
        try:
            if head.path == "/predict":
                return await self._predict(head, body)
            return await self._facts(head.path)
        except MeshnodeError as error:
            return error_response(error)
        except Exception:  # the edge: one bad request must not end the node
            _log.exception("%s %s failed", head.method, head.path)
            return error_response(MeshnodeError("internal error; see the node's log"))

    async def _facts(self, path: str) -> Response:
        node = self._node
        if path == "/api/v1/status":
            return json_response(200, {"status": node.status()})
        if path == "/api/v1/peers":
            return json_response(200, {"peers": node.peers()})
        if path == "/api/v1/modules":
            return json_response(200, {"modules": await node.modules()})
        if path == "/v2/health/ready":
            waiting = node.waiting()
            return json_response(
                503 if waiting else 200, {"ready": not waiting, "waiting": waiting}
            )
        return json_response(200, {"ok": True, "node": node.name})

    async def _predict(self, head: RequestHead, body: bytearray) -> Response:
        module = _field(head, "module")
        if not module:
            raise UsageError("which module?", try_="POST /predict?module=NAME")
        deadline_ms = _whole(head, "deadline_ms", 1, DEADLINE_MS_MAX)
        info = await self._node.describe(module)
        specs, tensor = info.manifest.inputs, _field(head, "input")
        headers, buffers = await _convert(
            len(body), lambda: read_tensors(body, head.headers, specs, tensor)
        )
        if body_bytes(headers) > BODY_BYTES_MAX:
            raise TooLarge(f"tensors of {body_bytes(headers)} bytes, limit {BODY_BYTES_MAX}")
        outcome = await self._node.predict(
            module,
            headers,
            buffers,
            source=_field(head, "source"),
            deadline_ms=deadline_ms,
            explain=_field(head, "explain") in ("1", "true"),
            haste=Haste(
                priority=_field(head, "priority"),
                hedge_ms=_whole(head, "hedge_ms", 0, HEDGE_MS_MAX),
            ),
            constraints=_constraints(head),
        )
        return await _answer(outcome, head.headers.get("accept", ""))


async def _answer(outcome: Outcome, accept: str) -> Response:
    """Return the outputs in the form the client asked for, with where they came from."""
    tensors, data = outcome.prediction.tensors, outcome.prediction.body
    size = sum(t.size for t in tensors)
    if "application/x-npy" in accept:
        npy = await _convert(size, lambda: write_npy(tensors, data))
        response = Response(200, npy, "application/x-npy")
    else:
        response = await _convert(
            size,
            lambda: json_response(
                200, {"outputs": write_json(tensors, data), **answer_facts(outcome)}
            ),
        )
    facts = answer_facts(outcome)
    response.headers |= {
        "X-Meshnode-Node": facts["node"]["name"],
        "X-Meshnode-Module": f"sha256:{facts['module']['sha256']}",
        "X-Meshnode-Attempts": str(max(1, len(outcome.attempts))),
        "Server-Timing": ", ".join(
            f"{stage.removesuffix('_ms')};dur={ms}" for stage, ms in timing_facts(outcome).items()
        ),
    }
    return response


async def _convert(size: int, convert: Callable[[], T]) -> T:
    """Run a conversion here if it is small, else in a thread; cancelling waits for the thread."""
    return convert() if size <= INLINE_BYTES_MAX else await trio.to_thread.run_sync(convert)


def _field(head: RequestHead, name: str) -> str:
    value = head.query.get(name, "")
    if len(value) > TEXT_CHARS_MAX:
        raise UsageError(f"{name} has more than {TEXT_CHARS_MAX} characters")
    return value


def _constraints(head: RequestHead) -> Constraints:
    """Return what the query or the headers ask; where both do, both hold."""
    asked = read_constraints(
        _listed(_field(head, "require")), _field(head, "tier"), _field(head, "data")
    )
    headers = head.headers
    return asked.joined(
        read_constraints(
            _listed(headers.get("x-meshnode-require", "")), "", headers.get("x-meshnode-data", "")
        )
    )


def _listed(text: str) -> list[str]:
    return [part for part in text.split(",") if part.strip()]


def _whole(head: RequestHead, name: str, low: int, high: int) -> int | None:
    text = _field(head, name)
    if not text:
        return None
    whole = len(text) <= 9 and text.isascii() and text.isdigit()
    if not whole or not low <= int(text) <= high:
        raise UsageError(f"{name} must be a whole number from {low} to {high}")
    return int(text)
