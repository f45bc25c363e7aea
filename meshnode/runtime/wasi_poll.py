"""`poll_oneoff`: waits for streams and clocks, but never longer than the call may take.

A guest that sleeps is inside the host, where no epoch reaches it. So the sleep is many short ones,
and the last ends at the deadline; the guest is then stopped as soon as it goes on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from threading import Event

from meshnode.runtime.binding import GuestMemory

SUBSCRIPTIONS_MAX = 64
NAP_S_MAX = 0.01
"""The deadline's clock stands still while the process is frozen, so it is read again and again."""
_SUBSCRIPTION = Struct("<QBxxxxxxxIxxxxQQHxxxxxx")
"""userdata, kind, clock or descriptor, timeout, precision, flags."""
_EVENT = Struct("<QHBxxxxxQHxxxxxx")
"""userdata, errno, kind, bytes that can be read or written, flags."""
_U32 = Struct("<I")
_CLOCK, _STREAMS, _ABSOLUTE = 0, (1, 2), 1
_SUCCESS, _BADF, _FAULT, _INTR, _INVAL = 0, 8, 21, 27, 28
_CLOCKS = range(4)


@dataclass(frozen=True, slots=True)
class _Timer:
    userdata: int
    wait_s: float


def poll_oneoff(
    memory: GuestMemory,
    pointers: tuple[int, int, int, int],
    *,
    clock_ns: Callable[[int], int],
    ready: Callable[[int], int | None],
    now: Callable[[], float],
    deadline: float,
) -> int:
    """Write the events that have happened, having waited for the first if need be.

    `pointers` are the arguments as they come: subscriptions, events, how many, where their number
    goes. `ready` returns what a descriptor can take or give, None for one that does not exist.
    """
    subscriptions, events, count, out = pointers
    if not 0 < count <= SUBSCRIPTIONS_MAX:
        return _INVAL
    asked = memory.slice(subscriptions, _SUBSCRIPTION.size * count)
    written = memory.slice(out, _U32.size)
    room = memory.slice(events, _EVENT.size * count)
    if asked is None or written is None or room is None:
        return _FAULT
    happened: list[tuple[int, int, int, int, int]] = []
    timers: list[_Timer] = []
    for userdata, kind, which, timeout, _, flags in _SUBSCRIPTION.iter_unpack(asked.tobytes()):
        if kind == _CLOCK and which in _CLOCKS:
            passed = clock_ns(which) if flags & _ABSOLUTE else 0
            timers.append(_Timer(userdata, max(0, timeout - passed) / 1e9))
        elif kind in _STREAMS:
            size = ready(which)
            happened.append((userdata, _BADF if size is None else _SUCCESS, kind, size or 0, 0))
        else:
            return _INVAL
    if not happened:
        first = min(timer.wait_s for timer in timers)
        if not _sleep(first, now, deadline):
            return _INTR
        happened = [(t.userdata, _SUCCESS, _CLOCK, 0, 0) for t in timers if t.wait_s <= first]
    for at, event in enumerate(happened):
        _EVENT.pack_into(room.data, _EVENT.size * at, *event)
    _U32.pack_into(written.data, 0, len(happened))
    return _SUCCESS


def _sleep(seconds: float, now: Callable[[], float], deadline: float) -> bool:
    """Return whether the time has passed before the deadline did."""
    never, until = Event(), now() + seconds
    while (left := min(until, deadline) - now()) > 0:
        never.wait(min(left, NAP_S_MAX))
    return until <= deadline
