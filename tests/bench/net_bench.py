"""Calls over a sealed connection between two processes: `python -m tests.bench.net_bench`.

Prints p50 and p99 of small and large calls, bulk throughput, small calls beside bulk, connecting,
and a sealed datagram round trip. Loopback; compare only figures of the same minute.
"""

import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import trio

from meshnode.identity.certificates import ALL_ROLES, Certificate, issue
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import Mesh
from meshnode.ids import Address, Contact, ContentHash, NodeId, PublicKey, RequestId
from meshnode.net.channel import MeshChannel
from meshnode.net.connection import Peer
from meshnode.net.datagrams import DatagramSocket
from meshnode.net.listener import Listener, bind_both
from meshnode.net.pool import ConnectionPool
from meshnode.net.settings import NetSettings
from meshnode.wire.messages import (
    Ack,
    AskHeld,
    Held,
    Ping,
    Predict,
    Prediction,
    Received,
    Reply,
    Request,
    Send,
    TensorHeader,
    Timing,
)

ROOT, SERVER, CLIENT = (Identity.from_seed(bytes([n]) * 32) for n in (1, 2, 3))
SETTINGS = NetSettings()


def mesh_of(identity: Identity) -> Mesh:
    mesh = Mesh(name="bench", root_key=ROOT.public_key, mesh_key=b"k" * 32, chain=(b"",))
    certificate = Certificate(
        network=mesh.network,
        subject=identity.public_key,
        issuer=ROOT.public_key,
        roles=ALL_ROLES,
        name="bench",
        not_before=0,
        not_after=2**39,
    )
    chain = (issue(ROOT, certificate),)
    return Mesh(name="bench", root_key=ROOT.public_key, mesh_key=b"k" * 32, chain=chain)


def channel_of(identity: Identity) -> MeshChannel:
    return MeshChannel(identity, mesh_of(identity), invites=None, unix_now=lambda: 1e9)


async def answer(peer: Peer, request: Request) -> Reply:
    if isinstance(request, AskHeld):
        return Held(held=(True,) * len(request.blobs))
    assert isinstance(request, Predict)
    return Prediction(
        request_id=request.request_id,
        served_by=NodeId(bytes(32)),
        module=request.module,
        tensors=(),
        timing=Timing(),
        batch=1,
    )


async def serve() -> None:
    async with trio.open_nursery() as nursery:
        channel = channel_of(SERVER)
        pool = ConnectionPool(channel, SETTINGS, nursery)
        listener = Listener(channel, SETTINGS, answer, pool=pool)
        datagrams = DatagramSocket(
            SERVER, mesh=mesh_of(SERVER), settings=SETTINGS, cookies_secret=b"s" * 32
        )
        print(await bind_both(datagrams, listener, "127.0.0.1", 0), flush=True)

        def acknowledge(received: Received) -> None:
            if isinstance(received.message, Ping):
                ack = Ack(sequence=received.message.sequence)
                datagrams.send(Send(received.sender, ack))

        nursery.start_soon(datagrams.run, acknowledge)
        nursery.start_soon(listener.run)


SMALL = AskHeld(blobs=(ContentHash(bytes(32)),) * 2)


def predict(size: int) -> Predict:
    header = TensorHeader(name="x", dtype="uint8", shape=(size,), size=size)
    return Predict(
        request_id=RequestId(bytes(16)),
        module=ContentHash(bytes(32)),
        source="",
        budget_ms=1000,
        hops_left=1,
        tensors=(header,),
        body=(memoryview(bytearray(size)),),
    )


def shown(times: list[float]) -> str:
    times = sorted(times)
    p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
    return f"p50 {p50 * 1e6:7.0f} us  p99 {p99 * 1e6:7.0f} us"


async def timed(count: int, work: Callable[[], Awaitable[object]]) -> list[float]:
    times = []
    for _ in range(count):
        started = time.perf_counter()
        await work()
        times.append(time.perf_counter() - started)
    return times


async def crowd(tasks: int, count: int, work: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(timed, count, work)
    return time.perf_counter() - started


async def measure(port: int, scale: int) -> None:
    contact = Contact(PublicKey(SERVER.public_key), Address("127.0.0.1", port))
    async with trio.open_nursery() as nursery:
        pool = ConnectionPool(channel_of(CLIENT), SETTINGS, nursery)

        async def small() -> None:
            await pool.call(contact, SMALL, timeout_s=5)

        async def reconnect() -> None:
            pool.drop(SERVER.node_id)
            await small()

        def bulk(size: int) -> Callable[[], Awaitable[object]]:
            request = predict(size)
            return lambda: pool.call(contact, request, timeout_s=10)

        await timed(200, small)
        print("100 B   c=1    ", shown(await timed(3000 // scale, small)))
        took = await crowd(32, 300 // scale, small)
        print(f"100 B   c=32    {32 * (300 // scale) / took:,.0f} /s")
        for name, size, count in (
            ("4 KB", 4096, 1000),
            ("600 KB", 600_000, 500),
            ("5 MB", 5 * 2**20, 60),
        ):
            await timed(3, bulk(size))
            times = await timed(max(5, count // scale), bulk(size))
            rate = size / sorted(times)[len(times) // 2] / 1e6
            print(f"{name:7} c=1    ", shown(times), f" {rate:,.0f} MB/s")
        took = await crowd(4, max(2, 20 // scale), bulk(5 * 2**20))
        print(f"5 MB    c=4     {4 * max(2, 20 // scale) * 5 * 2**20 / took / 1e6:,.0f} MB/s")
        async with trio.open_nursery() as beside:
            for _ in range(2):
                beside.start_soon(timed, 10**9, bulk(5 * 2**20))
            await trio.sleep(0.1)
            print("100 B beside 2 x 5 MB", shown(await timed(1000 // scale, small)))
            beside.cancel_scope.cancel()
        print("connect + call  ", shown(await timed(200 // scale, reconnect)))
        await ping(contact, nursery, 2000 // scale)
        nursery.cancel_scope.cancel()


async def ping(contact: Contact, nursery: trio.Nursery, count: int) -> None:
    datagrams = DatagramSocket(
        CLIENT, mesh=mesh_of(CLIENT), settings=SETTINGS, cookies_secret=b"c" * 32
    )
    await datagrams.bind("127.0.0.1", 0)
    heard = [trio.Event()]
    nursery.start_soon(datagrams.run, lambda _: heard[0].set())

    async def once() -> None:
        heard[0] = trio.Event()
        datagrams.send(Send(contact, Ping(sequence=1)))
        await heard[0].wait()

    await timed(100, once)
    print("datagram c=1    ", shown(await timed(count, once)))


def main() -> None:
    if "--serve" in sys.argv:
        trio.run(serve)
        return
    scale = 10 if "--quick" in sys.argv else 1
    command = [sys.executable, "-m", "tests.bench.net_bench", "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            trio.run(measure, int(server.stdout.readline()), scale)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
