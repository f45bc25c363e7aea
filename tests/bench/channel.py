"""Channels and datagrams between two processes, against bare trio sockets of the same minute.

Work and baseline alternate, so a busy moment meets both. `python -m tests.bench.net_bench` prints
a shorter account of the sealed side alone.
"""

import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio

from meshnode.bench.rows import Row
from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact, PublicKey
from meshnode.net.pool import ConnectionPool, connect
from tests.bench import net_bench
from tests.bench.channel_bare import BareStream, head_of
from tests.bench.channel_datagrams import datagram_rows

Work = Callable[[], Awaitable[object]]
CROWD = 32
ROUNDS = {"100 B": 1500, "600 KB": 300, "5 MB": 40}
SIZES = {"100 B": 100, "600 KB": 600_000, "5 MB": 5 * 2**20}
CROWD_CALLS, CROWD_SLICES = 150, 16
BESIDE_CALLS = 800
CONNECTS = 150
IDLE_PEERS = 200
SETTLE_S = 8.0
"""A connection gives its buffers back within 5 s."""


@dataclass
class Process:
    """A server under measurement."""

    port: int
    pid: int

    def cpu_ms(self) -> float:
        """CPU time of its main thread so far."""
        with open(f"/proc/{self.pid}/schedstat") as file:
            return int(file.read().split()[0]) / 1e6

    def resident_kb(self) -> float:
        with open(f"/proc/{self.pid}/statm") as file:
            return int(file.read().split()[1]) * 4.0


@dataclass
class Samples:
    """Figures by name; `pairs` are work and baseline in turn."""

    by_name: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        self.by_name.setdefault(name, []).append(value)

    def row(self, name: str, unit: str, baseline: Row | None = None, note: str = "") -> Row:
        return Row(what=name, unit=unit, samples=self.by_name[name], baseline=baseline, note=note)


def rows() -> Iterator[Row]:
    """Yield every figure of the channel, then those of datagrams."""
    with (
        process("-m", "tests.bench.net_bench", "--serve") as sealed,
        process("-m", "tests.bench.channel_bare") as bare,
    ):
        found = Samples()
        trio.run(_measure, sealed, bare, found)
        for name in SIZES:
            base = found.row(f"{name} bare TCP", "ms")
            yield base
            took_ms = found.row(f"{name} sealed call", "ms").p50
            rate, part = SIZES[name] / took_ms / 1e6, base.p50 / took_ms
            bulk = f"{rate:.2f} GB/s, {part:.2f} of the bare rate; goal 1 GB/s or 0.25"
            note = bulk if name != "100 B" else "goal x3"
            yield found.row(f"{name} sealed call", "ms", base, note)
        base = found.row("100 B bare, 32 at once, a stream each", "/s")
        yield base
        yield found.row("100 B sealed, 32 at once, one connection", "/s", base, "goal 25,000")
        base = found.row("5 MB bare, 4 at once", "MB/s")
        yield base
        yield found.row("5 MB sealed, 4 at once", "MB/s", base, "goal 1,000 or x0.25")
        yield found.row("100 B sealed beside endless 5 MB", "ms", note="goal p99 5 ms")
        base = found.row("connect, bare TCP", "ms")
        yield base
        yield found.row("connect and handshake", "ms", base, "goal 2 ms")
        yield found.row("its CPU at the side that connects", "ms", note="goal 1.2 ms")
        yield found.row("its CPU at the other side", "ms", note="goal 1.2 ms")
        yield found.row("memory of an idle peer", "KB", note="goal 16 KB")
        yield from datagram_rows(sealed.port, bare.port)


@contextmanager
def process(*arguments: str) -> Iterator[Process]:
    """Start a server that prints its port; end it afterwards."""
    with subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            yield Process(int(server.stdout.readline()), server.pid)
        finally:
            server.terminate()


async def _measure(sealed: Process, bare: Process, found: Samples) -> None:
    contact = Contact(PublicKey(net_bench.SERVER.public_key), Address("127.0.0.1", sealed.port))
    async with trio.open_nursery() as nursery:
        pool = ConnectionPool(net_bench.channel_of(net_bench.CLIENT), net_bench.SETTINGS, nursery)
        streams = [await BareStream.connect(bare.port) for _ in range(CROWD)]

        async def small() -> None:
            await pool.call(contact, net_bench.SMALL, timeout_s=10)

        for name, size in SIZES.items():
            body, head = memoryview(bytes(size)), head_of(size)
            request = net_bench.SMALL if size < 1000 else net_bench.predict(size)
            works: dict[str, Work] = {
                f"{name} bare TCP": lambda h=head, b=body: streams[0].call(h, b),
                f"{name} sealed call": lambda r=request: pool.call(contact, r, timeout_s=10),
            }
            await _in_turn(works, ROUNDS[name], found)
        await _crowds(small, streams, found)
        await _bulk(pool, contact, streams, found)
        await _beside(small, pool, contact, found)
        for stream in streams:
            await stream.aclose()
        nursery.cancel_scope.cancel()
    await _connects(contact, bare, sealed, found)
    await _idle(contact, sealed, found)


async def _in_turn(works: dict[str, Work], rounds: int, found: Samples) -> None:
    for number in range(-20, rounds):
        for name, work in works.items():
            (took_s,) = await net_bench.timed(1, work)
            if number >= 0:
                found.add(name, took_s * 1000)


async def _crowds(small: Work, streams: list[BareStream], found: Samples) -> None:
    body, head = memoryview(bytes(100)), head_of(100)

    async def bare_crowd() -> float:
        started = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(
                    net_bench.timed, CROWD_CALLS, lambda s=stream: s.call(head, body)
                )
        return time.perf_counter() - started

    await net_bench.crowd(CROWD, CROWD_CALLS, small)
    for _ in range(CROWD_SLICES):
        took_s = await bare_crowd()
        found.add("100 B bare, 32 at once, a stream each", CROWD * CROWD_CALLS / took_s)
        took_s = await net_bench.crowd(CROWD, CROWD_CALLS, small)
        found.add("100 B sealed, 32 at once, one connection", CROWD * CROWD_CALLS / took_s)


async def _bulk(
    pool: ConnectionPool, contact: Contact, streams: list[BareStream], found: Samples
) -> None:
    size = SIZES["5 MB"]
    request, head, body = net_bench.predict(size), head_of(size), memoryview(bytes(size))

    async def at_once(works: list[Work]) -> float:
        started = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for work in works:
                nursery.start_soon(net_bench.timed, 4, work)
        return len(works) * 4 * size / (time.perf_counter() - started) / 1e6

    for _ in range(8):
        bare: list[Work] = [lambda s=stream: s.call(head, body) for stream in streams[:4]]
        found.add("5 MB bare, 4 at once", await at_once(bare))
        sealed: list[Work] = [lambda: pool.call(contact, request, timeout_s=20)] * 4
        found.add("5 MB sealed, 4 at once", await at_once(sealed))


async def _beside(small: Work, pool: ConnectionPool, contact: Contact, found: Samples) -> None:
    request = net_bench.predict(SIZES["5 MB"])
    async with trio.open_nursery() as bulk:
        for _ in range(2):
            bulk.start_soon(
                net_bench.timed, 10**9, lambda: pool.call(contact, request, timeout_s=20)
            )
        await trio.sleep(0.2)
        for took_s in await net_bench.timed(BESIDE_CALLS, small):
            found.add("100 B sealed beside endless 5 MB", took_s * 1000)
        bulk.cancel_scope.cancel()


async def _connects(contact: Contact, bare: Process, sealed: Process, found: Samples) -> None:
    channel = net_bench.channel_of(net_bench.CLIENT)

    async def bare_connect() -> None:
        await (await BareStream.connect(bare.port)).aclose()

    for number in range(-10, CONNECTS):
        (plain_s,) = await net_bench.timed(1, bare_connect)
        own, other, started = time.process_time(), sealed.cpu_ms(), time.perf_counter()
        connection = await connect(contact, channel, net_bench.SETTINGS)
        took_s, own_s = time.perf_counter() - started, time.process_time() - own
        connection.close("measured")
        await trio.sleep(0.005)  # let the other side finish; its CPU time is what counts
        if number >= 0:
            found.add("connect, bare TCP", plain_s * 1000)
            found.add("connect and handshake", took_s * 1000)
            found.add("its CPU at the side that connects", own_s * 1000)
            found.add("its CPU at the other side", sealed.cpu_ms() - other)


async def _idle(contact: Contact, sealed: Process, found: Samples) -> None:
    """Compare the server with so many idle peers and with twice as many.

    Each has made one call and gone quiet; what the first half needed while it was busy is at hand
    for the second.
    """
    grown = 0.0
    async with trio.open_nursery() as nursery:
        for half in range(2):
            before = sealed.resident_kb()
            for number in range(IDLE_PEERS):
                seed = half * IDLE_PEERS + number + 10
                identity = Identity.from_seed(seed.to_bytes(32, "big"))
                pool = ConnectionPool(net_bench.channel_of(identity), net_bench.SETTINGS, nursery)
                await pool.call(contact, net_bench.SMALL, timeout_s=10)
            await trio.sleep(SETTLE_S)
            grown = (sealed.resident_kb() - before) / IDLE_PEERS
        found.add("memory of an idle peer", grown)
        nursery.cancel_scope.cancel()
