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

    def __init__(self) -> None:
        self.address = Address("127.0.0.1", 1)
        self.room = trio.Event()
        self.sent = b""

    async def send_all(self, data: Buffer) -> None:
        self.sent += bytes(data)

    def send_now(self, data: Buffer) -> int:
        self.sent += bytes(data)
        return len(data)

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
