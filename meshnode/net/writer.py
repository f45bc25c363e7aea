"""The one writer of a connection: seals what the mux has queued, and sends it.

While several calls are in flight they share records and system calls: what is queued before the
writer's task runs goes out together. Two things are sent from where they are queued instead,
without waking the task: a call that is alone, which saves a task switch at each end (a tenth of a
small call), and the first few of many, so that the peer works on them while this side goes on.
Sending so never waits, so it cannot be cancelled half-way; what the socket does not take, the task
sends.
"""

from collections.abc import Callable
from math import inf

import trio

from meshnode.net.transport import Transport
from meshnode.wire.frames import (
    REKEY_RECORD_BYTES,
    RecordKey,
    seal_records,
    seal_rekey,
    sealed_size,
)
from meshnode.wire.limits import KIB
from meshnode.wire.mux import Mux

BUFFER_BYTES_MIN = KIB
SMALL_TOGETHER = 8
"""Small messages in one send: of 32 calls at once each side then works on a part, in turn with the
other; all together they would wait for one another."""
FLUSHED_BYTES_MAX = 512 * KIB
"""Sent from where it is queued, under half a millisecond of it; the task sends the rest, in turn
with other tasks."""
_NOTHING = memoryview(b"")


class Writer:
    """Owns the sending half of a transport and the sending key."""

    def __init__(
        self,
        transport: Transport,
        key: RecordKey,
        mux: Mux,
        *,
        on_empty: Callable[[], None],
        start: Callable[[], bool] = lambda: False,
    ) -> None:
        """`on_empty` is called whenever everything that was queued has been sent.

        `start` starts the task, `run`; False if it cannot yet.
        """
        self._transport = transport
        self._key = key
        self._mux = mux
        self._on_empty = on_empty
        self._start = start
        self._buffer = _NOTHING
        self._rest = _NOTHING
        self._queued: trio.Event | None = None
        """What the task waits for; None while there is no task."""
        self._done: bool = False
        """The task is not needed until more waits than can be sent at once."""
        self._sending: bool = False
        self._rekey_due: bool = False
        self.sending_since = inf
        """When the send that waits for the peer began, in trio's time; inf if none waits."""

    def wake(self) -> None:
        """Something was queued, or `on_empty` should be called again."""
        if self._sends_now() and (not self._mux.has_output or self._flush()):
            self._on_empty()
            return
        if self._queued is not None:
            self._queued.set()
        elif self._start():
            self._queued = trio.Event()

    def push(self) -> None:
        """Nothing more will be queued for now: what is small is better sent at once."""
        mux = self._mux
        if mux.has_output and not (self._sending or self._rest or mux.outbound_bytes):
            if self._flush():
                self._on_empty()
            else:
                self.wake()

    async def run(self) -> None:
        """Send until cancelled or not needed; raises OSError or a trio resource error at its end.

        There is no such task while an idle peer, or one that is called now and then, needs none.
        """
        self._done = False
        while True:
            self._sending = True
            if len(self._rest):
                await self._send_all(self._rest)
                self._rest = _NOTHING
            while self._mux.has_output:
                if self._mux.outbound_bytes and self._mux.calls > 1:
                    await self._wait_for_room()
                await self._send_batch()
            self._sending = False
            self._on_empty()
            if self._done:
                self._queued = None
                return
            self._queued = trio.Event()
            await self._queued.wait()

    def rekey(self) -> None:
        """Move the key on with the next batch; a connection that sends nothing needs no new key."""
        self._rekey_due = True

    def shrink(self) -> None:
        """Give back the buffer, the task, and what the key can make again."""
        self._key.shrink()
        if not self._sending and not len(self._rest):
            self._buffer = _NOTHING
            if self._queued is not None:
                self._done = True
                self._queued.set()

    def _sends_now(self) -> bool:
        """Whether what is queued, if anything, is better sent now than by the task."""
        if self._sending or self._rest:
            return False
        mux = self._mux
        waiting = mux.small_waiting
        if waiting >= SMALL_TOGETHER:
            return not mux.outbound_bytes
        return mux.calls == 1 or not mux.has_output

    def _seal(self) -> memoryview:
        """Return the next batch, sealed, in the buffer."""
        batch = self._mux.next_batch()
        size = sealed_size(batch) + REKEY_RECORD_BYTES
        if size > len(self._buffer):
            self._buffer = memoryview(bytearray(max(size, 2 * len(self._buffer), BUFFER_BYTES_MIN)))
        at = 0
        if self._rekey_due:
            self._rekey_due = False
            at = seal_rekey(self._key, self._buffer)
        return self._buffer[: at + seal_records(self._key, batch, self._buffer[at:])]

    def _flush(self) -> bool:
        """Send what is queued as far as it goes without waiting; return whether that was all."""
        left = FLUSHED_BYTES_MAX
        while left > 0 and self._mux.has_output:
            data = self._seal()
            try:
                sent = self._transport.send_now(data)
            except OSError:  # the task will meet it again, and ends the connection
                sent = 0
            if sent < len(data):
                self._rest = data[sent:]
                return False
            left -= sent
        return not self._mux.has_output

    async def _wait_for_room(self) -> None:
        """Before bulk, wait until the kernel has sent nearly all it has (NOTSENT_LOWAT).

        Otherwise megabytes would pile up in its buffer, ahead of the next small call.
        """
        self.sending_since = trio.current_time()
        await self._transport.wait_for_room()
        self.sending_since = inf

    async def _send_batch(self) -> None:
        """Send the next batch, unless all that waited was given up meanwhile."""
        if self._mux.has_output:
            await self._send_all(self._seal())

    async def _send_all(self, data: memoryview) -> None:
        self.sending_since = trio.current_time()
        await self._transport.send_all(data)
        self.sending_since = inf
