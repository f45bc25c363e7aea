"""A blocking connection to the local node's control socket."""

import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from meshnode.config.home import Home
from meshnode.errors import DeadlineExceeded, NoNodeRunning, RemoteProtocolError
from meshnode.wire.control import (
    ANSWER_HEADER_BYTES_MAX,
    PREFIX_BYTES,
    Fields,
    error_from,
    frame,
    header_bytes,
    parse_header,
)
from meshnode.wire.limits import BODY_BYTES_MAX, KIB
from meshnode.wire.tensor import Buffer

TIMEOUT_S = 60.0
"""For an answer to anything that has no deadline of its own."""
CONNECT_TIMEOUT_S = 2.0
JOINED_BYTES = 64 * KIB
"""A request up to this size is sent in one piece: the node is woken once, not for each part."""


class ControlConnection:
    """One connection: a request, its answer, the next request.

    After an error on the connection itself it is closed, and the next call opens a new one, so a
    client outlives a restart of its node.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._socket: socket.socket | None = None

    def call(
        self,
        op: str,
        args: Mapping[str, Any] | None = None,
        buffers: Sequence[Buffer] = (),
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> tuple[Any, memoryview]:
        """Return the result of an operation and its body.

        Raises the error the node answered with, NoNodeRunning, or DeadlineExceeded if the node
        does not answer in `timeout_s`.
        """
        connection = self._socket or self._connect()
        connection.settimeout(timeout_s)
        try:
            body_bytes = sum(map(len, buffers))
            head = frame({"op": op, "args": args or {}}, body_bytes)
            if body_bytes <= JOINED_BYTES:
                head, buffers = b"".join([head, *buffers]), ()
            self._send(connection, head)
            for buffer in buffers:
                self._send(connection, buffer)
            fields, body = self._receive(connection)
        except TimeoutError as error:
            self.close()
            raise DeadlineExceeded(f"the node did not answer {op} in {timeout_s:g} s") from error
        except OSError as error:
            self.close()
            raise NoNodeRunning(
                "the node stopped while it was asked",
                because=[str(error)],
                try_=f"{command(self._home)} status",
            ) from error
        except BaseException:
            # Half an answer may be on its way: this connection cannot be used again.
            self.close()
            raise
        if "error" in fields:
            raise error_from(fields["error"])
        return fields.get("result"), body

    def close(self) -> None:
        """Close the connection; a later call opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket:
        path = self._home.control_socket
        self._home.check_socket()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(CONNECT_TIMEOUT_S)
        try:
            connection.connect(os.fspath(path))
        except OSError as error:
            connection.close()
            raise NoNodeRunning(
                "no node is running here",
                because=[f"{path}: {error.strerror or error}"],
                try_=f"{command(self._home)} start",
            ) from error
        self._socket = connection
        return connection

    @staticmethod
    def _send(connection: socket.socket, data: Buffer) -> None:
        """Send; a node that refuses a request closes after its answer, which is then read."""
        try:
            connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def _receive(self, connection: socket.socket) -> tuple[Fields, memoryview]:
        prefix = bytes(_exactly(connection, PREFIX_BYTES))
        size = header_bytes(prefix, bytes_max=ANSWER_HEADER_BYTES_MAX)
        fields, body_bytes = parse_header(_exactly(connection, size))
        if body_bytes > BODY_BYTES_MAX:
            raise RemoteProtocolError(f"an answer of {body_bytes} bytes, limit {BODY_BYTES_MAX}")
        return fields, memoryview(_exactly(connection, body_bytes))


def command(home: Home) -> str:
    """Return `meshnode` with the `--home` that a pasted command needs to reach the same node."""
    return f"meshnode --home {home.data}" if home.given else "meshnode"


def _exactly(connection: socket.socket, count: int) -> bytearray:
    """Return `count` bytes, received into one buffer of that size."""
    buffer = bytearray(count)
    view = memoryview(buffer)
    while view:
        received = connection.recv_into(view)
        if not received:
            raise ConnectionResetError("the connection was closed")
        view = view[received:]
    return buffer
