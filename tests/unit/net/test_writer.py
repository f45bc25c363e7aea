"""The writer, on a stream whose room the test decides."""

import trio
import trio.testing

from meshnode.identity.aead import make_cipher
from meshnode.ids import Address
from meshnode.net.writer import Writer
from meshnode.wire.frames import RecordKey
from meshnode.wire.mux import Mux
from meshnode.wire.tensor import Buffer

KIB = 1024


class Crowded:
    """A transport that has room only when the test says so, and keeps what is sent."""

    def __init__(self, *, takes: int = 2**30) -> None:
        self.address = Address("127.0.0.1", 1)
        self.room = trio.Event()
        self.sent = b""
        self.takes = takes
        """Bytes it takes without waiting."""

    async def send_all(self, data: Buffer) -> None:
        self.sent += bytes(data)

    def send_now(self, data: Buffer) -> int:
        taken = bytes(data)[: self.takes]
        self.sent += taken
        return len(taken)

    async def wait_for_room(self) -> None:
        await self.room.wait()

    async def wait(self) -> None:
        await trio.sleep_forever()

    def receive_into(self, buffer: memoryview) -> int:
        raise BlockingIOError

    def close(self) -> None:
        pass


async def test_bulk_given_up_while_it_waits_for_room_leaves_no_empty_record() -> None:
    mux = Mux(initiator=True, body_size_of=lambda _: 0)
    transport = Crowded()
    writer = Writer(transport, RecordKey(b"k" * 32, make_cipher), mux, on_empty=lambda: None)
    body = (bytes(600 * KIB),)
    calls = [mux.request(b"header", body) for _ in range(2)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        await trio.testing.wait_all_tasks_blocked()
        for call in calls:
            mux.cancel(call)  # the peer has heard of neither
        writer.wake()
        transport.room.set()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert transport.sent == b""


class Started:
    """A writer whose task is started as a connection would, and counted."""

    def __init__(self, nursery: trio.Nursery, transport: Crowded) -> None:
        self.tasks = 0
        self.mux = Mux(initiator=True, body_size_of=lambda _: 0)
        self._nursery = nursery
        key = RecordKey(b"k" * 32, make_cipher)
        self.writer = Writer(transport, key, self.mux, on_empty=lambda: None, start=self._start)

    def _start(self) -> bool:
        self.tasks += 1
        self._nursery.start_soon(self.writer.run)
        return True

    def call(self) -> None:
        self.mux.request(b"header", ())
        self.writer.wake()


async def test_a_call_that_is_alone_needs_no_task(nursery: trio.Nursery) -> None:
    transport = Crowded()
    started = Started(nursery, transport)
    started.call()
    assert transport.sent
    assert started.tasks == 0


async def test_the_task_comes_when_more_waits_than_the_socket_takes_and_goes_when_idle(
    nursery: trio.Nursery,
) -> None:
    transport = Crowded(takes=3)
    started = Started(nursery, transport)
    for _ in range(3):
        started.call()
    await trio.testing.wait_all_tasks_blocked()
    assert started.tasks == 1
    assert not started.mux.has_output
    assert len(nursery.child_tasks) == 1
    started.writer.shrink()
    await trio.testing.wait_all_tasks_blocked()
    assert len(nursery.child_tasks) == 0
    started.call()
    await trio.testing.wait_all_tasks_blocked()
    assert started.tasks == 2
    assert not started.mux.has_output


async def test_what_is_queued_as_the_task_goes_is_sent(nursery: trio.Nursery) -> None:
    transport = Crowded(takes=3)
    started = Started(nursery, transport)
    started.call()
    started.call()
    await trio.testing.wait_all_tasks_blocked()
    before = len(transport.sent)
    started.writer.shrink()
    started.call()
    await trio.testing.wait_all_tasks_blocked()
    assert started.tasks == 1
    assert not started.mux.has_output
    assert len(transport.sent) > before
