"""The other side of the comparison: the same bytes over trio's sockets with nothing around them.

`python -m tests.bench.channel_bare` serves both on one port and prints it.
"""

import socket

import trio

READ_BYTES = 256 * 1024
HEAD_BYTES = 4
ANSWER = b"!" * 100
UDP_BYTES = 300


async def serve() -> None:
    """Answer every length-prefixed TCP message with 100 bytes, every datagram with itself."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    udp = trio.socket.socket(type=socket.SOCK_DGRAM)
    await udp.bind(("127.0.0.1", port))
    print(port, flush=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, _answer, [listener])
        nursery.start_soon(_echo, udp)


async def _answer(stream: trio.SocketStream) -> None:
    buffer = memoryview(bytearray(READ_BYTES))
    while first := await stream.socket.recv_into(buffer):
        left = HEAD_BYTES + int.from_bytes(buffer[:HEAD_BYTES], "big") - first
        while left > 0:
            left -= await stream.socket.recv_into(buffer) or left
        await stream.send_all(ANSWER)


async def _echo(udp: trio.socket.SocketType) -> None:
    while True:
        data, address = await udp.recvfrom(2048)
        await udp.sendto(data, address)


class BareStream:
    """One TCP connection to the server."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = memoryview(bytearray(READ_BYTES))

    @classmethod
    async def connect(cls, port: int) -> "BareStream":
        return cls(await trio.open_tcp_stream("127.0.0.1", port))

    async def call(self, head: bytes, body: memoryview) -> None:
        """Send head and body, then wait for the answer."""
        await self._stream.send_all(head)
        if len(body):
            await self._stream.send_all(body)
        left = len(ANSWER)
        while left:
            left -= await self._stream.socket.recv_into(self._buffer)

    async def aclose(self) -> None:
        await self._stream.aclose()


def head_of(size: int) -> bytes:
    return size.to_bytes(HEAD_BYTES, "big")


if __name__ == "__main__":
    trio.run(serve)
