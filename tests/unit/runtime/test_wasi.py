import logging
import struct
from pathlib import Path

import numpy as np
import pytest

from meshnode.caps import Caps
from meshnode.errors import GuestStatus, TimeLimit, UndeclaredImport
from meshnode.modules.manifest import Limits
from meshnode.runtime.abi import IMPORTS, WASI_MODULE
from meshnode.runtime.wasi import CLOCK_RESOLUTION_NS, WasiHost
from meshnode.runtime.wasi_stdio import Stdio
from meshnode.wire.limits import MIB
from tests.unit.runtime.support import SEED_HEAD, call, manifest, sandbox, seed_guest
from tests.unit.runtime.wasi_support import OPEN_CAPS, imports

BADF, FAULT, FBIG, INTR, INVAL, NOTSUP, SPIPE, NOTCAPABLE = 8, 21, 22, 27, 28, 58, 70, 76
FAR = 0xFFFF_FFF0
STDIN = b"0123456789"


class Guest:
    """The functions on a real guest memory; the clock is moved by hand."""

    def __init__(self, **stdio: object) -> None:
        self.lines: list[tuple[int, bytes]] = []
        self.time = 100.0
        fields: dict[str, object] = {
            "stdin": memoryview(STDIN),
            "stdout": bytearray(),
            "stdout_bytes_max": 16,
        }
        self.stdio = Stdio(**(fields | stdio))  # type: ignore[arg-type]  # a table of fields
        self.box = sandbox(seed_guest("i32.const 0", SEED_HEAD))
        self.host = WasiHost(self.stdio, self._log, lambda: self.time)
        self.host.begin(self.time + 1.0)
        self._calls = self.host.calls()

    def _log(self, level: int, line: bytes) -> None:
        self.lines.append((level, line))

    def call(self, name: str, *args: int) -> int | None:
        return self._calls[name](self.box.memory, *args)

    def put(self, pointer: int, data: bytes) -> int:
        target = self.box.memory.slice(pointer, len(data))
        assert target is not None
        target[:] = np.frombuffer(data, np.uint8)
        return pointer

    def get(self, pointer: int, size: int) -> bytes:
        source = self.box.memory.slice(pointer, size)
        assert source is not None
        return source.tobytes()

    def word(self, pointer: int) -> int:
        return int.from_bytes(self.get(pointer, 4), "little")

    def vectors(self, *pairs: tuple[int, int]) -> int:
        return self.put(1024, b"".join(struct.pack("<II", *pair) for pair in pairs))

    def write(self, descriptor: int, data: bytes) -> int | None:
        self.put(2048, data)
        return self.call("fd_write", descriptor, self.vectors((2048, len(data))), 1, 8)

    def poll(self, *subscriptions: bytes) -> tuple[int | None, list[tuple[int, ...]]]:
        self.put(1024, b"".join(subscriptions))
        errno = self.call("poll_oneoff", 1024, 4096, len(subscriptions), 8)
        count = 0 if errno else self.word(8)
        return errno, list(struct.iter_unpack("<QHBxxxxxQHxxxxxx", self.get(4096, 32 * count)))


@pytest.fixture
def guest() -> Guest:
    return Guest()


def timer(userdata: int, timeout_ns: int, *, clock: int = 1, flags: int = 0) -> bytes:
    return struct.pack("<QBxxxxxxxIxxxxQQHxxxxxx", userdata, 0, clock, timeout_ns, 0, flags)


def stream(userdata: int, kind: int, descriptor: int) -> bytes:
    return struct.pack("<QBxxxxxxxIxxxxQQHxxxxxx", userdata, kind, descriptor, 0, 0, 0)


# ------------------------------------------------------------------ streams


def test_stdin_is_read_into_several_buffers_until_its_end(guest: Guest) -> None:
    assert guest.call("fd_read", 0, guest.vectors((2048, 3), (3000, 4)), 2, 8) == 0
    assert (guest.word(8), guest.get(2048, 3), guest.get(3000, 4)) == (7, b"012", b"3456")
    assert guest.call("fd_read", 0, guest.vectors((2048, 100)), 1, 8) == 0
    assert (guest.word(8), guest.get(2048, 3)) == (3, b"789")
    assert guest.call("fd_read", 0, guest.vectors((2048, 100)), 1, 8) == 0
    assert guest.word(8) == 0


def test_stdout_is_kept_up_to_its_limit(guest: Guest) -> None:
    assert guest.write(1, b"0123456789") == 0
    assert guest.word(8) == 10
    assert guest.write(1, b"0123456789") == FBIG
    assert guest.stdio.overflowed
    assert guest.stdio.stdout == b"0123456789"


def test_stderr_is_cut_into_lines_with_a_bound(guest: Guest) -> None:
    guest.write(2, b"one\r\n\ntwo")
    guest.write(2, b" and more\n" + b"x" * 1500)
    guest.write(2, b"y\nz")
    assert guest.lines == [(2, b"one"), (2, b"two and more"), (2, b"x" * 1024)]
    guest.host.finish()
    assert guest.lines[-1] == (2, b"z")


@pytest.mark.parametrize(("name", "descriptor"), [("fd_write", 2), ("fd_write", 1), ("fd_read", 0)])
def test_buffers_that_make_more_than_32_bits_can_count_are_refused(
    guest: Guest, name: str, descriptor: int
) -> None:
    head = SEED_HEAD.replace('"memory") 1', '"memory") 64')
    limits = Limits(memory_bytes=4 * MIB, run_ms=100, output_bytes=MIB)
    guest.box = sandbox(seed_guest("i32.const 0", head), manifest(limits=limits))
    lists = guest.put(1024, struct.pack("<II", 0, 4 * MIB) * 1024)
    assert guest.call(name, descriptor, lists, 1024, 8) == INVAL
    assert not guest.lines
    assert not guest.stdio.overflowed


def test_a_flood_of_lines_is_not_even_looked_at(guest: Guest) -> None:
    lines = guest.vectors(*[(2048, 60_000)] * 100)
    guest.put(2048, b"line\n" * 12_000)
    assert guest.call("fd_write", 2, lines, 100, 8) == 0
    assert guest.word(8) == 6_000_000
    assert len(guest.lines) == 65_536 // 5
    guest.host.begin(guest.time + 1)
    guest.write(2, b"heard again\n")
    assert guest.lines[-1] == (2, b"heard again")


def test_stdout_of_other_guests_is_logged() -> None:
    guest = Guest(stdout=None)
    assert guest.write(1, b"hello\n" * 100) == 0
    assert guest.lines[:1] == [(1, b"hello")]


def test_only_three_descriptors_exist_each_one_way(guest: Guest) -> None:
    assert guest.write(0, b"x") == BADF
    assert guest.write(3, b"x") == BADF
    assert guest.call("fd_read", 1, guest.vectors((2048, 1)), 1, 8) == BADF
    assert guest.call("fd_close", 2) == 0
    assert guest.call("fd_close", 2) == BADF
    assert guest.write(2, b"x") == BADF


def test_vectors_are_checked_before_anything_is_read_or_written(guest: Guest) -> None:
    assert guest.call("fd_read", 0, FAR, 2, 8) == FAULT
    assert guest.call("fd_read", 0, guest.vectors((2048, 4), (FAR, 100)), 2, 8) == FAULT
    assert guest.call("fd_read", 0, 1024, 1025, 8) == INVAL
    assert guest.call("fd_write", 1, guest.vectors((2048, 4), (FAR, 100)), 2, 8) == FAULT
    assert guest.stdio.stdout == b""
    guest.call("fd_read", 0, guest.vectors((2048, 2)), 1, 8)
    assert guest.get(2048, 2) == b"01"


def test_streams_look_like_pipes(guest: Guest) -> None:
    assert guest.call("fd_fdstat_get", 1, 64) == 0
    kind, flags, rights, _ = struct.unpack("<BxHxxxxQQ", guest.get(64, 24))
    assert (kind, flags, rights & 0b10, rights & 1 << 6) == (0, 0, 0, 1 << 6)
    assert guest.call("fd_filestat_get", 0, 64) == 0
    assert struct.unpack_from("<Q", guest.get(64, 64), 32) == (len(STDIN),)
    assert guest.call("fd_seek", 0, 0, 0, 8) == SPIPE
    assert guest.call("fd_tell", 1, 8) == SPIPE
    for name in ("fd_fdstat_get", "fd_filestat_get", "fd_prestat_get"):
        assert guest.call(name, 3, 64) == BADF
    assert guest.call("fd_fdstat_get", 1, FAR) == FAULT
    assert guest.call("fd_prestat_get", 0, 64) == BADF


def test_there_is_no_file_system(guest: Guest) -> None:
    for module, name in IMPORTS:
        if module == WASI_MODULE and name.startswith(("path_", "sock_")):
            count = len(IMPORTS[module, name].signature.params)
            assert guest.call(name, *[0] * count) == NOTCAPABLE
    assert guest.call("fd_pread", 0, 1024, 1, 0, 8) == NOTSUP
    assert guest.call("fd_readdir", 3, 1024, 1, 0, 8) == BADF


# ------------------------------------------------------------------ arguments, time, chance


def test_arguments_and_environment_are_strings_with_a_table() -> None:
    guest = Guest(arguments=("name", "ä"), environment=("A=1",))
    assert guest.call("args_sizes_get", 64, 68) == 0
    assert (guest.word(64), guest.word(68)) == (2, 8)
    assert guest.call("args_get", 80, 200) == 0
    assert (guest.word(80), guest.word(84)) == (200, 205)
    assert guest.get(200, 8) == "name\0ä\0".encode()
    assert guest.call("environ_sizes_get", 64, 68) == 0
    assert (guest.word(64), guest.word(68)) == (1, 4)
    assert guest.call("environ_get", 80, FAR) == FAULT
    assert guest.call("environ_sizes_get", FAR, 64) == FAULT
    assert Guest().call("environ_get", 80, 200) == 0


def test_clocks_are_coarse_and_begin_with_the_instance(guest: Guest) -> None:
    assert guest.call("clock_res_get", 1, 64) == 0
    assert struct.unpack("<Q", guest.get(64, 8)) == (CLOCK_RESOLUTION_NS,)
    guest.time += 0.0123456
    assert guest.call("clock_time_get", 1, 0, 64) == 0
    assert struct.unpack("<Q", guest.get(64, 8)) == (12_000_000,)
    assert guest.call("clock_time_get", 0, 0, 64) == 0
    (wall,) = struct.unpack("<Q", guest.get(64, 8))
    assert wall % CLOCK_RESOLUTION_NS == 0
    assert wall > 1_600_000_000 * 10**9
    assert guest.call("clock_time_get", 4, 0, 64) == INVAL
    assert guest.call("clock_time_get", 1, 0, FAR) == FAULT


def test_random_numbers_follow_from_the_request_and_do_not_repeat() -> None:
    def drawn(**stdio: object) -> tuple[bytes, bytes]:
        guest = Guest(**stdio)
        assert guest.call("random_get", 2048, 32) == guest.call("random_get", 3000, 32) == 0
        return guest.get(2048, 32), guest.get(3000, 32)

    first = drawn()
    assert first == drawn()
    assert first[0] != first[1]
    assert first != drawn(seed=b"another module")
    assert first != drawn(stdin=memoryview(b"another request"))


def test_random_numbers_end_with_the_deadline(guest: Guest) -> None:
    assert guest.call("random_get", FAR, 100) == FAULT
    guest.time += 2
    assert guest.call("random_get", 2048, 32) == INTR


# ------------------------------------------------------------------ waiting


def test_streams_are_always_ready(guest: Guest) -> None:
    asked = (stream(7, 1, 0), stream(8, 2, 1), stream(9, 1, 5), timer(10, 10**15))
    errno, events = guest.poll(*asked)
    assert errno == 0
    assert events == [(7, 0, 1, len(STDIN), 0), (8, 0, 2, 65536, 0), (9, BADF, 1, 0, 0)]


def test_a_timer_that_is_due_fires_and_later_ones_do_not(guest: Guest) -> None:
    guest.time += 0.5
    later = timer(2, 10**9)
    assert guest.poll(timer(1, 0), later) == (0, [(1, 0, 0, 0, 0)])
    assert guest.poll(timer(3, 400 * 10**6, flags=1), later) == (0, [(3, 0, 0, 0, 0)])


def test_polls_are_checked(guest: Guest) -> None:
    assert guest.poll()[0] == INVAL
    assert guest.call("poll_oneoff", 1024, 4096, 65, 8) == INVAL
    assert guest.call("poll_oneoff", FAR, 4096, 1, 8) == FAULT
    assert guest.call("poll_oneoff", 1024, FAR, 1, 8) == FAULT
    assert guest.poll(timer(1, 0, clock=9))[0] == INVAL
    assert guest.poll(stream(1, 3, 0))[0] == INVAL


def test_a_sleep_beyond_the_deadline_ends_there(guest: Guest) -> None:
    guest.time += 1.0  # the deadline
    assert guest.poll(timer(1, 3600 * 10**9))[0] == INTR


HOUR = f"""
  (i64.store (i32.const 1048) (i64.const {3600 * 10**9}))
  (i32.store (i32.const 1040) (i32.const 1))
  (drop (call $poll_oneoff (i32.const 1024) (i32.const 4096) (i32.const 1) (i32.const 8)))
"""


@pytest.mark.parametrize("body", [HOUR, f"(loop $again {HOUR} (br $again))"])
def test_an_hours_sleep_is_the_guests_time_limit(body: str) -> None:
    about = manifest(required=Caps.CPU | Caps.WASI, limits=Limits(memory_bytes=2 * MIB, run_ms=60))
    guest = seed_guest(body + "(loop $l (br $l)) i32.const 0", imports("poll_oneoff") + SEED_HEAD)
    box = sandbox(guest, about, caps=OPEN_CAPS)
    with pytest.raises(TimeLimit, match="limit of 60 ms"):
        box.call("predict", 0, 0, 0, 0)
    box.close()


# ------------------------------------------------------------------ in guests of the other ABIs

REACTOR = manifest(required=Caps.CPU | Caps.WASI)


def test_a_reactor_may_use_wasi_and_what_it_prints_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    body = """
      (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 6))
      (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))"""
    head = SEED_HEAD + '(data (i32.const 64) "hello\\0a") (func (export "_initialize"))'
    box = sandbox(seed_guest(body, imports("fd_write") + head), REACTOR, caps=OPEN_CAPS)
    with caplog.at_level(logging.INFO, "meshnode.guest"):
        assert box.call("predict", 0, 0, 0, 0) == 0
    assert [r.getMessage() for r in caplog.records] == ["test: hello"]
    box.close()


@pytest.mark.parametrize("after", ["unreachable", "(loop $l (br $l))"])
def test_a_reactor_that_ends_itself_is_gone(after: str) -> None:
    head = imports("proc_exit") + SEED_HEAD + f"(func $after {after})"
    guest = seed_guest("(call $proc_exit (i32.const 0)) (call $after) i32.const 0", head)
    box = sandbox(guest, REACTOR, caps=OPEN_CAPS)
    with pytest.raises(GuestStatus, match="ended itself in predict with status 0"):
        box.call("predict", 0, 0, 0, 0)
    assert not box.alive
    box.close()


def test_numbers_of_64_bits_reach_the_host_unsigned() -> None:
    # fd_seek's offset is not looked at, so a clock's precision and a huge timeout must do.
    body = """(call $clock_time_get (i32.const 1) (i64.const -1) (i32.const 64))
      (i32.add (call $fd_seek (i32.const 0) (i64.const -1) (i32.const 0) (i32.const 8)))"""
    guest = seed_guest(body, imports("clock_time_get", "fd_seek") + SEED_HEAD)
    box = sandbox(guest, REACTOR, caps=OPEN_CAPS)
    assert box.call("predict", 0, 0, 0, 0) == SPIPE
    box.close()


def test_every_function_of_preview_1_can_be_imported(tmp_path: Path) -> None:
    every = [name for module, name in IMPORTS if module == WASI_MODULE]
    assert len(every) == 46
    x = np.zeros((1, 4), np.float32)
    box = sandbox(seed_guest("i32.const 0", imports(*every) + SEED_HEAD), REACTOR, caps=OPEN_CAPS)
    assert box.call("predict", 0, 0, 0, 0) == 0
    box.close()
    with pytest.raises(UndeclaredImport, match="capability wasi"):
        call(seed_guest("i32.const 0", imports("fd_write") + SEED_HEAD), x)
