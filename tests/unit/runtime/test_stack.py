import threading
from collections.abc import Callable

import pytest

from meshnode.runtime import stack
from meshnode.runtime.stack import STACK_BYTES_MIN, thread_bytes, with_room
from meshnode.wire.limits import KIB, MIB


def on_a_thread_of(size: int, work: Callable[[], object]) -> object:
    found: list[object] = []
    before = threading.stack_size(size)
    try:
        thread = threading.Thread(target=lambda: found.append(work()))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    return found[0]


@pytest.mark.parametrize("size", [128 * KIB, 2 * MIB])
def test_a_thread_knows_its_stack(size: int) -> None:
    found = on_a_thread_of(size, thread_bytes)
    # The C library may hand out a kept stack that is up to four times as large.
    assert found is None or size - 64 * KIB <= int(str(found)) <= 4 * size + 64 * KIB


def test_where_there_is_room_the_work_stays() -> None:
    def where() -> str:
        return with_room(lambda: threading.current_thread().name)

    assert where() == threading.current_thread().name
    assert on_a_thread_of(256 * KIB, where) == "meshnode-guest"


def test_the_larger_thread_has_room_and_raises_for_the_one_that_waits() -> None:
    def fail() -> str:
        size = thread_bytes()
        assert size is None or size >= STACK_BYTES_MIN
        raise KeyError("gone")

    def ask() -> object:
        with pytest.raises(KeyError, match="gone"):
            with_room(fail)
        return True

    assert on_a_thread_of(256 * KIB, ask)


def test_a_system_that_does_not_say_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "thread_bytes", lambda: None)
    assert on_a_thread_of(256 * KIB, lambda: with_room(threading.get_ident)) not in (
        None,
        threading.get_ident(),
    )
