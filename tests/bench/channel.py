"""Sealed calls between two processes, against the same bytes over a plain TCP connection.

`python -m tests.bench.net_bench` has more of the channel: crowds, bulk, connecting, datagrams.
"""

import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import trio

from meshnode.bench.rows import Row
from meshnode.ids import Address, Contact, PublicKey
from meshnode.net.pool import ConnectionPool
from tests.bench import net_bench

SIZES = {"100 B": 100, "600 KB": 600_000}
ROUNDS = {"100 B": 2000, "600 KB": 400}
READ_BYTES = 256 * 1024


def rows() -> Iterator[Row]:
    """Yield round trips: a request of each size, a small answer."""
    with (
        _process("-m", "tests.bench.net_bench", "--serve") as sealed,
        _process("-m", "tests.bench.channel") as plain,
    ):
        times = trio.run(_measure, sealed, plain)
    for name in SIZES:
        base = Row(what=f"{name} over plain TCP", unit="ms", samples=times[name, "plain"])
        yield base
        yield Row(
            what=f"{name} sealed call", unit="ms", samples=times[name, "sealed"], baseline=base
        )


@contextmanager
def _process(*arguments: str) -> Iterator[int]:
    """Start a server; return the port it prints, and end it afterwards."""
    with subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
        finally:
            server.terminate()


async def _measure(sealed: int, plain: int) -> dict[tuple[str, str], list[float]]:
    contact = Contact(PublicKey(net_bench.SERVER.public_key), Address("127.0.0.1", sealed))
    times: dict[tuple[str, str], list[float]] = {}
    async with trio.open_nursery() as nursery:
        channel = net_bench.channel_of(net_bench.CLIENT)
        pool = ConnectionPool(channel, net_bench.SETTINGS, nursery)
        stream = await trio.open_tcp_stream("127.0.0.1", plain)
        for name, size in SIZES.items():
            request = net_bench.SMALL if size < 1000 else net_bench.predict(size)
            works: dict[str, Callable[[], Awaitable[object]]] = {
                "plain": lambda s=size: _echo(stream, s),
                "sealed": lambda r=request: pool.call(contact, r, timeout_s=10),
            }
            for where in works:
                times[name, where] = []
            for number in range(-20, ROUNDS[name]):
                for where, work in works.items():
                    (took_s,) = await net_bench.timed(1, work)
                    if number >= 0:
                        times[name, where].append(took_s * 1000)
        await stream.aclose()
        nursery.cancel_scope.cancel()
    return times


async def _echo(stream: trio.SocketStream, size: int) -> None:
    await stream.send_all(size.to_bytes(4, "big") + bytes(size))
    await stream.receive_some(1)


async def _serve() -> None:
    """Answer every length-prefixed message with one byte."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(listener.socket.getsockname()[1], flush=True)
    stream = await listener.accept()
    while first := await stream.receive_some(READ_BYTES):
        left = 4 + int.from_bytes(first[:4], "big") - len(first)
        while left > 0:
            left -= len(await stream.receive_some(READ_BYTES)) or left
        await stream.send_all(b"!")


if __name__ == "__main__":
    trio.run(_serve)
