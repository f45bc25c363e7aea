"""Datagrams: sealed round trips against bare ones, and what a stranger's costs and gets."""

import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import trio

from meshnode.bench.rows import Row
from meshnode.identity.keys import Identity
from meshnode.identity.ring_sealing import SealingKeys
from meshnode.identity.sealing import Sealer
from meshnode.ids import Address, Contact, NetworkId, PublicKey
from meshnode.net.datagrams import DatagramSocket
from meshnode.wire.codec import Envelope, encode_datagram
from meshnode.wire.messages import Ack, FindNode, FoundNodes, Ping, Received, Send
from tests.bench import net_bench
from tests.bench.channel_bare import UDP_BYTES

CROWD, ROUNDS, CROWD_CALLS, SLICES = 32, 1500, 100, 16
STRANGERS = 3000


def datagram_rows(sealed: int, bare: int) -> Iterator[Row]:
    """Yield the figures of datagrams, against servers on these ports."""
    found: dict[str, list[float]] = {}
    trio.run(_round_trips, sealed, bare, found)
    base = Row(what="datagram and answer, bare", unit="ms", samples=found["bare"])
    yield base
    yield Row(
        what="datagram and answer, sealed",
        unit="ms",
        samples=found["sealed"],
        baseline=base,
        note="goal x2",
    )
    base = Row(what="bare, 32 at once", unit="/s", samples=found["bare crowd"])
    yield base
    yield Row(
        what="sealed, 32 at once",
        unit="/s",
        samples=found["sealed crowd"],
        baseline=base,
        note="goal 15,000",
    )
    for keys in (1, 3):
        yield trio.run(_stranger, keys)
    yield trio.run(_amplification)


class Sealed:
    """The client's socket; each Ping waits for the Ack of its number."""

    def __init__(self, contact: Contact) -> None:
        self.contact = contact
        self.socket = DatagramSocket(
            net_bench.CLIENT,
            mesh=net_bench.mesh_of(net_bench.CLIENT),
            settings=net_bench.SETTINGS,
            cookies_secret=b"c" * 32,
        )
        self._waiting: dict[int, trio.Event] = {}
        self._sequence = 0

    def deliver(self, received: Received) -> None:
        if isinstance(received.message, Ack):
            event = self._waiting.pop(received.message.sequence, None)
            if event is not None:
                event.set()

    async def once(self) -> None:
        self._sequence += 1
        event = self._waiting[self._sequence] = trio.Event()
        self.socket.send(Send(self.contact, Ping(sequence=self._sequence)))
        await event.wait()


class Bare:
    """A trio UDP socket that waits for its datagram to come back."""

    def __init__(self, port: int) -> None:
        self._there = ("127.0.0.1", port)
        self._socket = trio.socket.socket(type=socket.SOCK_DGRAM)

    async def once(self) -> None:
        await self._socket.sendto(bytes(UDP_BYTES), self._there)
        await self._socket.recvfrom(2048)


async def _round_trips(sealed: int, bare: int, found: dict[str, list[float]]) -> None:
    contact = Contact(PublicKey(net_bench.SERVER.public_key), Address("127.0.0.1", sealed))
    own, bares = Sealed(contact), [Bare(bare) for _ in range(CROWD)]
    await own.socket.bind("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(own.socket.run, own.deliver)
        for number in range(-50, ROUNDS):
            for name, work in (("bare", bares[0].once), ("sealed", own.once)):
                (took_s,) = await net_bench.timed(1, work)
                if number >= 0:
                    found.setdefault(name, []).append(took_s * 1000)
        for _ in range(SLICES):
            rate = await _crowd([one.once for one in bares])
            found.setdefault("bare crowd", []).append(rate)
            found.setdefault("sealed crowd", []).append(await _crowd([own.once] * CROWD))
        nursery.cancel_scope.cancel()


async def _crowd(works: list[Callable[[], Awaitable[object]]]) -> float:
    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for work in works:
            nursery.start_soon(net_bench.timed, CROWD_CALLS, work)
    return len(works) * CROWD_CALLS / (time.perf_counter() - started)


def _own_socket(keys: SealingKeys | None = None) -> DatagramSocket:
    return DatagramSocket(
        net_bench.SERVER,
        mesh=keys or net_bench.mesh_of(net_bench.SERVER),
        settings=net_bench.SETTINGS,
        cookies_secret=b"s" * 32,
    )


@dataclass
class Rotating:
    """A mesh in the middle of a rotation: so many keys are accepted."""

    keys: tuple[bytes, ...]
    network: NetworkId

    def accepted_keys(self) -> tuple[bytes, ...]:
        return self.keys


async def _stranger(keys: int) -> Row:
    """What a full-size datagram under another mesh's key costs, from the packet to its refusal."""
    network = NetworkId(b"n" * 16)
    ring = tuple(bytes([number]) * 32 for number in range(keys))
    target = _own_socket(Rotating(ring, network))
    other = Sealer(net_bench.CLIENT, mesh_key=b"x" * 32, network=network)
    packet = other.seal(PublicKey(net_bench.SERVER.public_key), bytes(1100))
    samples = []
    for _ in range(STRANGERS):
        started = time.perf_counter()
        refused = target._open(packet, ("8.8.8.8", 7), 0.0)
        samples.append((time.perf_counter() - started) * 1e6)
        assert refused is None
    assert target.stats.sent == 0
    what = f"a stranger's 1,188 bytes refused, keys accepted: {keys}"
    return Row(what=what, unit="us", samples=samples, note="goal 10 us; answered by nothing")


async def _amplification() -> Row:
    """Bytes sent to an unproved address for each byte it sent, for questions of every length."""
    target = _own_socket()
    await target.bind("127.0.0.1", 0)
    contacts = tuple(
        Contact(Identity.from_seed(bytes([n]) * 32).public_key, Address(f"2600::{n}", 6174))
        for n in range(50, 66)
    )
    mesh = net_bench.mesh_of(net_bench.CLIENT)
    sealer = Sealer(net_bench.CLIENT, mesh_key=mesh.mesh_key, network=mesh.network)
    ratios = []
    with socket.socket(type=socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", 0))
        there.setblocking(False)
        for pad_to in range(0, 1100, 10):
            question = Envelope(message=FindNode(rpc=7, target=bytes(32)), issued=b"c" * 8)
            packet = sealer.seal(
                PublicKey(net_bench.SERVER.public_key), encode_datagram(question, pad_to=pad_to)
            )
            opened = target._open(packet, there.getsockname(), 0.0)
            assert opened is not None
            for _ in range(4):
                target.send(Send(opened[1].sender, FoundNodes(rpc=7, contacts=contacts)))
            ratios.append(_received(there) / len(packet))
    target.close()
    note = f"largest {max(ratios):.2f}, goal 1.0"
    return Row(what="answered bytes for each byte, unproved", unit="x", samples=ratios, note=note)


def _received(there: socket.socket) -> int:
    count = 0
    while True:
        try:
            count += len(there.recv(2048))
        except BlockingIOError:
            return count
