"""Two pipes joined into one, in memory and on a virtual clock."""

import trio
from trio.testing import MockClock, memory_stream_pair

from meshnode.net.relay import MEET_S, CircuitLimits, Splice
from meshnode.net.transport import StreamTransport
from meshnode.reach.rate import ByteRate
from tests.unit.net.mesh import HERE

LIMITS = CircuitLimits(bytes_max=100_000, seconds_max=600)


def end() -> tuple[trio.StapledStream, StreamTransport]:
    outside, inside = memory_stream_pair()
    return outside, StreamTransport(inside, HERE)


class Circuit:
    def __init__(self, limits: CircuitLimits = LIMITS, per_s: float = 1e9) -> None:
        self.ended = 0
        self.splice = Splice(limits=limits, rate=ByteRate(per_s), on_end=self.on_end)
        self.a, self.at_a = end()
        self.b, self.at_b = end()

    def on_end(self) -> None:
        self.ended += 1

    async def both(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.splice.meet, self.at_a)
            nursery.start_soon(self.splice.meet, self.at_b)


async def test_bytes_pass_both_ways_until_an_end_goes(autojump_clock: MockClock) -> None:
    circuit = Circuit()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(circuit.both)
        await circuit.a.send_all(b"there")
        assert await circuit.b.receive_some() == b"there"
        await circuit.b.send_all(b"back")
        assert await circuit.a.receive_some() == b"back"
        await circuit.a.send_stream.aclose()
        assert await circuit.b.receive_some() == b""
    assert (circuit.ended, circuit.splice.carried) == (1, 9)


async def test_a_circuit_ends_with_its_bytes(autojump_clock: MockClock) -> None:
    circuit = Circuit(CircuitLimits(bytes_max=1000))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(circuit.both)
        await circuit.a.send_all(bytes(1000))
        assert len(await circuit.b.receive_some()) == 1000
        await circuit.a.send_all(b"x")
        assert await circuit.b.receive_some() == b""
    assert circuit.ended == 1


async def test_a_circuit_ends_with_its_time(autojump_clock: MockClock) -> None:
    circuit = Circuit()
    began = trio.current_time()
    await circuit.both()
    assert trio.current_time() - began == LIMITS.seconds_max
    assert circuit.ended == 1


async def test_a_circuit_keeps_to_the_rate(autojump_clock: MockClock) -> None:
    circuit = Circuit(per_s=1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(circuit.both)
        began = trio.current_time()
        for _ in range(10):
            await circuit.a.send_all(bytes(500))
            await circuit.b.receive_some()
        assert 4 < trio.current_time() - began < 6
        nursery.cancel_scope.cancel()
    assert circuit.ended == 1


async def test_ends_that_do_not_meet_are_given_up(autojump_clock: MockClock) -> None:
    circuit = Circuit()
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(circuit.splice.meet, circuit.at_a)
        nursery.start_soon(circuit.splice.expire)
    assert trio.current_time() - began == MEET_S
    assert circuit.ended == 1
    await circuit.splice.meet(circuit.at_b)  # too late: closed at once
    assert await circuit.b.receive_some() == b""
