"""The HTTP listener: connections, time-outs, and bodies received into one buffer each."""

import logging
import socket
from dataclasses import dataclass
from errno import EADDRINUSE

import trio

from meshnode.errors import Overloaded, PortTaken, TooLarge, UsageError
from meshnode.gateway.access import Access
from meshnode.gateway.facade import NodeFacade
from meshnode.gateway.http import (
    HEAD_BYTES_MAX,
    Refused,
    RequestHead,
    Response,
    error_response,
    parse_head,
)
from meshnode.gateway.routes import Routes
from meshnode.ids import Address
from meshnode.wire.limits import KIB, MIB

_log = logging.getLogger(__name__)
CONNECTIONS_MAX = 256
BODIES_BYTES_MAX = 256 * MIB
"""All request bodies being received or answered at once; more are told to come again."""
BODY_BYTES_FREE = 64 * KIB
"""Bodies up to this are not counted: the bound on connections bounds them."""
HEAD_TIMEOUT_S = 10.0
"""From a request's first byte to the end of its head: a slow sender holds no connection."""
IDLE_TIMEOUT_S = 60.0
BODY_TIMEOUT_S = 60.0
SEND_TIMEOUT_S = 60.0
LINGER_S = 1.0
"""After a refusal, what the client still sends is thrown away for so long, so that it can read
the answer before it meets a reset connection."""
LINGER_BYTES_MAX = 8 * MIB
RECEIVE_BYTES = 64 * KIB
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_END = b"\r\n\r\n"


@dataclass(slots=True)
class _Room:
    """What is left for all connections together."""

    connections: int
    body_bytes: int


async def serve_http(
    node: NodeFacade,
    listen: Address,
    access: Access,
    *,
    tries: int = 1,
    task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve HTTP until cancelled; started with the address in use, or PortTaken is raised.

    A port that is taken moves up at most `tries` - 1 times.
    """
    listeners = await _listen(listen, tries)
    routes, room = Routes(node), _Room(CONNECTIONS_MAX, BODIES_BYTES_MAX)

    async def serve_one(stream: trio.SocketStream) -> None:
        await HttpConnection(stream, routes, access, room).run()

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve_one, listeners)
        name = listeners[0].socket.getsockname()
        task_status.started(Address(name[0], name[1]))


async def _listen(listen: Address, tries: int) -> list[trio.SocketListener]:
    for port in range(listen.port, listen.port + tries):
        try:
            return await trio.open_tcp_listeners(port, host=listen.host)
        except OSError as error:
            if port == listen.port + tries - 1 or error.errno != EADDRINUSE:
                raise PortTaken(
                    f"HTTP cannot listen on {listen}",
                    because=[error.strerror or str(error)],
                    try_="meshnode start --api 127.0.0.1:0   (a free port), or --api off",
                ) from error
    raise AssertionError("the last try returns or raises")


class HttpConnection:
    """One client: a request, its response, the next request."""

    def __init__(
        self, stream: trio.SocketStream, routes: Routes, access: Access, room: _Room
    ) -> None:
        self._stream = stream
        self._routes = routes
        self._access = access
        self._room = room
        self._buffer = bytearray()
        """Received and not used yet: at most one head, and what came along with it."""

    async def run(self) -> None:
        """Serve until the client is done or is refused; then close."""
        self._room.connections -= 1
        try:
            async with self._stream:
                if self._room.connections < 0:
                    full = Overloaded(f"{CONNECTIONS_MAX} HTTP connections are open")
                    await self._refuse(Refused(503, full))
                    return
                while await self._serve_next():
                    pass
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, OSError):
            _log.debug("an HTTP connection ended in the middle")
        finally:
            self._room.connections += 1

    async def _serve_next(self) -> bool:
        """Answer one request and return whether another may follow."""
        try:
            raw = await self._receive_head()
            if raw is None:
                return False
            head = parse_head(raw)
            self._access.check(head)
            self._routes.admit(head)
            counted = head.body_bytes if head.body_bytes > BODY_BYTES_FREE else 0
            if counted > self._room.body_bytes:
                raise Refused(503, Overloaded("too many request bodies are on their way"))
        except Refused as refused:
            await self._refuse(refused)
            return False
        self._room.body_bytes -= counted
        try:
            body = await self._receive_body(head)
            response = await self._routes.respond(head, body)
        finally:
            self._room.body_bytes += counted
        await self._send(response, head)
        return head.keep_alive

    async def _receive_head(self) -> bytes | None:
        """Return one head, or None if the client closed between requests or stayed idle."""
        if not self._buffer:
            with trio.move_on_after(IDLE_TIMEOUT_S):
                self._buffer += await self._stream.receive_some(RECEIVE_BYTES)
            if not self._buffer:
                return None
        with trio.move_on_after(HEAD_TIMEOUT_S):
            while (end := self._buffer.find(_END, 0, HEAD_BYTES_MAX)) < 0:
                if len(self._buffer) >= HEAD_BYTES_MAX:
                    raise Refused(431, TooLarge(f"headers beyond {HEAD_BYTES_MAX} bytes"))
                some = await self._stream.receive_some(RECEIVE_BYTES)
                if not some:
                    raise Refused(400, UsageError("the request ends inside its headers"))
                self._buffer += some
            head = bytes(self._buffer[: end + len(_END)])
            del self._buffer[: end + len(_END)]
            return head
        raise Refused(408, UsageError(f"the headers took longer than {HEAD_TIMEOUT_S:g} s"))

    async def _receive_body(self, head: RequestHead) -> bytearray:
        """Return the body, received into one buffer of the declared size."""
        body = bytearray(head.body_bytes)
        early = min(len(self._buffer), len(body))
        body[:early] = self._buffer[:early]
        del self._buffer[:early]
        if early == len(body):
            return body
        with trio.fail_after(BODY_TIMEOUT_S):
            if head.expects_continue and not early:
                await self._stream.send_all(_CONTINUE)
            with memoryview(body) as view:
                filled = early
                while filled < len(body):
                    received = await self._stream.socket.recv_into(view[filled:])
                    if not received:
                        raise trio.BrokenResourceError("the client left inside a body")
                    filled += received
        return body

    async def _send(self, response: Response, head: RequestHead) -> None:
        with trio.fail_after(SEND_TIMEOUT_S):
            start = response.head(keep_alive=head.keep_alive)
            if head.method == "HEAD":
                await self._stream.send_all(start)
            elif memoryview(response.body).nbytes <= RECEIVE_BYTES:
                await self._stream.send_all(start + response.body)
            else:
                await self._stream.send_all(start)
                await self._stream.send_all(response.body)

    async def _refuse(self, refused: Refused) -> None:
        """Answer without having read the body, and close in a way that lets it be read."""
        response = error_response(refused.error, refused.status)
        response.headers |= refused.headers
        with trio.fail_after(LINGER_S):
            await self._stream.send_all(response.head(keep_alive=False) + response.body)
            self._stream.socket.shutdown(socket.SHUT_WR)
            thrown_away = 0
            while thrown_away < LINGER_BYTES_MAX:
                some = await self._stream.receive_some(RECEIVE_BYTES)
                if not some:
                    return
                thrown_away += len(some)
