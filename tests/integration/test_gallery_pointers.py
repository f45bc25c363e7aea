"""Gallery: pointers at every edge of memory, into every host function, from inside a guest.

The guest is a switchboard: five numbers of its request become the arguments of the host function
that a sixth names, and the errno comes back. So each call really crosses the boundary.
"""

from itertools import product

import numpy as np
import pytest

from meshnode.errors import MeshnodeError
from meshnode.modules.manifest import Limits, TensorSpec
from meshnode.runtime.abi import LOG_LINE_BYTES_MAX, RECORD, Errno
from meshnode.runtime.runtime import LoadedModule
from meshnode.wire.limits import MIB
from tests.integration.gallery import Node, asked, limited
from tests.unit.runtime.support import dense, ref, wat

pytestmark = pytest.mark.integration
MEMORY = 4 * 65536
"""The guest's own pages; the host adds one more for the tensors, so the edge is there."""
MODEL = dense()
NAME_AT, IN_AT, OUT_AT, IN_DIMS, OUT_DIMS, X_AT, Y_AT = 64, 128, 160, 200, 224, 256, 512
SWITCHBOARD = f"""
  (import "meshnode" "query_caps" (func $caps (result i32)))
  (import "meshnode" "log" (func $log (param i32 i32 i32)))
  (import "meshnode" "model_open" (func $open (param i32 i32) (result i32)))
  (import "meshnode" "describe" (func $describe (param i32 i32 i32 i32) (result i32)))
  (import "meshnode" "infer" (func $infer (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") {MEMORY // 65536})
  (data (i32.const {NAME_AT}) "model")
  (data (i32.const {IN_AT}) "{{records}}")
  (func (export "init") (result i32) (drop (call $open (i32.const {NAME_AT}) (i32.const 5)))
    i32.const 0)
  (func $word (param i32) (param i32) (result i32)
    (i32.load (i32.add (local.get 0) (i32.shl (local.get 1) (i32.const 2)))))
  (func (export "infer") (param $in i32) (param i32) (param $out i32) (param i32) (result i32)
    (local $a i32) (local $to i32) (local $r i32)
    ;; The input and output data of this request lie where the records say.
    (local.set $a (i32.load offset=12 (local.get $in)))
    (local.set $to (i32.load offset=12 (local.get $out)))
    (memory.copy (i32.const {IN_AT}) (i32.add (local.get $a) (i32.const 24)) (i32.const 128))
    (block $done
      (if (i32.eq (call $word (local.get $a) (i32.const 0)) (i32.const 0))
        (then (local.set $r (call $caps)) (br $done)))
      (if (i32.eq (call $word (local.get $a) (i32.const 0)) (i32.const 1))
        (then (call $log {{args3}}) (br $done)))
      (if (i32.eq (call $word (local.get $a) (i32.const 0)) (i32.const 2))
        (then (local.set $r (call $open {{args2}})) (br $done)))
      (if (i32.eq (call $word (local.get $a) (i32.const 0)) (i32.const 3))
        (then (local.set $r (call $describe {{args4}})) (br $done)))
      (local.set $r (call $infer {{args5}})))
    (i32.store (local.get $to) (local.get $r))
    (i32.store (i32.load (local.get $out)) (i32.const 1))
    (i32.store offset=4 (local.get $out) (i32.const 1))
    (i32.store offset=16 (local.get $out) (i32.const 4))
    i32.const 0)
"""
LOG, OPEN, DESCRIBE, INFER = 1, 2, 3, 4
WORDS = 6 + 32
"""A request: function, five arguments, and what to write where the records lie first."""


def record(dims: int, rank: int, data: int, size: int, number: int = 1) -> bytes:
    return RECORD.pack(dims, rank, number, data, size)


def scene(given: bytes | None = None, wanted: bytes | None = None) -> bytes:
    """Return 128 bytes for IN_AT: both records and their dims; good ones if not given."""
    made = bytearray(128)
    made[0:20] = given or record(IN_DIMS, 2, X_AT, 16)
    made[32:52] = wanted or record(OUT_DIMS, 2, Y_AT, 12)
    made[IN_DIMS - IN_AT : IN_DIMS - IN_AT + 8] = np.array([1, 4], "<u4").tobytes()
    return bytes(made)


def arguments(count: int) -> str:
    return " ".join(f"(call $word (local.get $a) (i32.const {i + 1}))" for i in range(count))


@pytest.fixture(scope="module")
def switchboard(one_node: Node) -> LoadedModule:
    text = SWITCHBOARD.format(records="", **{f"args{n}": arguments(n) for n in (2, 3, 4, 5)})
    return one_node.load(
        wat(text),
        limited(
            abi="infer",
            inputs=(TensorSpec(name="x", dtype="uint32", shape=(WORDS,)),),
            outputs=(TensorSpec(name="y", dtype="int32", shape=(1,)),),
            models=(ref(MODEL),),
            limits=Limits(memory_bytes=2 * MIB, run_ms=1000, output_bytes=MIB),
        ),
        {"model": MODEL},
    )


@pytest.fixture(scope="module")
def end(switchboard: LoadedModule) -> int:
    """The length of the guest's memory, once the host has its room in it."""
    asks(switchboard, 0)
    return switchboard.memory_bytes - len(MODEL)


def asks(loaded: LoadedModule, function: int, *args: int, records: bytes | None = None) -> int:
    """Return what a host function returned."""
    words = np.zeros(WORDS, np.uint32)
    words[0] = function
    words[1 : 1 + len(args)] = np.array([a & 0xFFFFFFFF for a in args], np.uint32)
    words[6:] = np.frombuffer(records or scene(), np.uint32)
    outcome = asked(loaded, words)
    assert not isinstance(outcome, MeshnodeError), outcome
    return int(outcome["y"][0])


def edges(end: int, size: int = 1) -> list[tuple[int, bool]]:
    """Pointers around the end of memory, and whether `size` bytes there lie inside."""
    pointers = {0, 1, end - size, end - size + 1, end - 1, end, end + 1}
    pointers |= {2**31 - 1, 2**31, 2**32 - size, 2**32 - 1}
    return [(p, p + size <= end) for p in sorted(pointers)]


def test_the_switchboard_reaches_the_host(node: Node, switchboard: LoadedModule) -> None:
    assert asks(switchboard, 0) == 1
    assert asks(switchboard, INFER, 1, IN_AT, 1, OUT_AT, 1) == Errno.SUCCESS
    assert asks(switchboard, DESCRIBE, 1, 0, 0, IN_AT) == Errno.SUCCESS


def test_log_at_every_edge(node: Node, switchboard: LoadedModule, end: int) -> None:
    for (pointer, _), size in product(edges(end), (0, 1, LOG_LINE_BYTES_MAX, 2**31, 2**32 - 1)):
        for level in (0, 3, 4, 2**32 - 1):
            asks(switchboard, LOG, level, pointer, size)


def test_model_open_at_every_edge(node: Node, switchboard: LoadedModule, end: int) -> None:
    for size in (0, 1, 5, 4096, 4097, 2**31, 2**32 - 1):
        for pointer, inside in edges(end, max(1, size) if size <= 4096 else 1):
            wanted = -Errno.INVALID_ARGUMENT
            if size <= 4096 and (inside or (size == 0 and pointer <= end)):
                wanted = -Errno.NOT_FOUND
            assert asks(switchboard, OPEN, pointer, size) == wanted, (pointer, size)


def test_describe_at_every_edge(node: Node, switchboard: LoadedModule, end: int) -> None:
    for pointer, inside in edges(end, RECORD.size):
        found = asks(switchboard, DESCRIBE, 1, 0, 0, pointer)
        # What lies there by chance decides what the host says; outside it is always errno 1.
        assert found == Errno.INVALID_ARGUMENT or inside
    for pointer, inside in edges(end, 8):
        records = scene(record(pointer, 16, 0, 0))
        found = asks(switchboard, DESCRIBE, 1, 0, 0, IN_AT, records=records)
        assert found == (Errno.SUCCESS if inside else Errno.INVALID_ARGUMENT), pointer
    for room in (0, 1):
        records = scene(record(2**32 - 1, room, 0, 0))
        assert asks(switchboard, DESCRIBE, 1, 0, 0, IN_AT, records=records) == Errno.TOO_LARGE


def test_describe_of_what_is_not_there(node: Node, switchboard: LoadedModule) -> None:
    for handle, direction, index in (
        *((h, 0, 0) for h in (0, 2, 2**31, 2**32 - 1)),
        *((1, d, 0) for d in (2, 2**31, 2**32 - 1)),
        *((1, d, i) for d in (0, 1) for i in (1, 2**31, 2**32 - 1)),
    ):
        assert asks(switchboard, DESCRIBE, handle, direction, index, IN_AT) == 1


def test_infer_s_records_at_every_edge(node: Node, switchboard: LoadedModule, end: int) -> None:
    for pointer, inside in edges(end, RECORD.size):
        if pointer > 1:  # nothing but zeros or the host's own lie further on
            assert asks(switchboard, INFER, 1, pointer, 1, OUT_AT, 1) == 1
        found = asks(switchboard, INFER, 1, IN_AT, 1, pointer, 1)
        assert found == Errno.INVALID_ARGUMENT or inside
    for count in (0, 2, 2**31, 2**32 - 1, (2**32) // RECORD.size + 1):
        assert asks(switchboard, INFER, 1, IN_AT, count, OUT_AT, 1) == 1
        if count:
            assert asks(switchboard, INFER, 1, IN_AT, 1, OUT_AT, count) == 1
    for handle in (0, 2, 2**31, 2**32 - 1):
        assert asks(switchboard, INFER, handle, IN_AT, 1, OUT_AT, 1) == 1


def test_infer_s_tensors_at_every_edge(node: Node, switchboard: LoadedModule, end: int) -> None:
    def infer(records: bytes) -> int:
        return asks(switchboard, INFER, 1, IN_AT, 1, OUT_AT, 1, records=records)

    for pointer, inside in edges(end, 16):
        assert infer(scene(record(IN_DIMS, 2, pointer, 16))) == (0 if inside else 1), pointer
    for pointer, inside in edges(end, 12):
        assert infer(scene(None, record(OUT_DIMS, 2, pointer, 12))) == (0 if inside else 1), pointer
    for pointer, inside in edges(end, 8):
        if not inside:
            assert infer(scene(record(pointer, 2, X_AT, 16))) == 1
        assert infer(scene(None, record(pointer, 2, Y_AT, 12))) == (0 if inside else 1), pointer


def test_infer_s_sizes_cannot_be_made_to_wrap(node: Node, switchboard: LoadedModule) -> None:
    def infer(dims: list[int], size: int, rank: int | None = None, number: int = 1) -> int:
        made = bytearray(
            scene(record(IN_DIMS, len(dims) if rank is None else rank, X_AT, size, number))
        )
        raw = np.array(dims, "<u4").tobytes()
        at = IN_DIMS - IN_AT
        made[at : at + len(raw)] = raw
        return asks(switchboard, INFER, 1, IN_AT, 1, OUT_AT, 1, records=bytes(made))

    assert infer([1, 4], 16) == Errno.SUCCESS
    assert infer([0, 4], 0) in (Errno.SUCCESS, Errno.RUNTIME_ERROR)
    for dims, size in (
        ([0x10000, 0x10000], 0),
        ([0x40000000, 4], 16),
        ([2**32 - 1, 2**32 - 1], 4),
        ([2**31, 2], 0),
        ([1, 4], 15),
        ([1, 4], 17),
        ([1, 4], 2**32 - 1),
        ([1, 2**30], 0),
        ([4, 2**30, 4, 2**30], 64),
        ([0, 2**32 - 1, 2**32 - 1, 2**32 - 1], 0),
    ):
        assert infer(dims, size) == Errno.INVALID_ARGUMENT, (dims, size)
    for rank in (17, 2**31, 2**32 - 1):
        assert infer([1, 4], 16, rank) == Errno.INVALID_ARGUMENT
    for number in (0, 2, 5, 6, 15, 16, 255):
        assert infer([1, 4], 16, number=number) == Errno.INVALID_ARGUMENT


def test_infer_with_too_little_room_writes_nothing(node: Node, switchboard: LoadedModule) -> None:
    for rank, size in ((2, 0), (2, 11), (1, 12), (0, 12), (0, 0)):
        # The data pointer leads nowhere: it must not be followed.
        records = scene(None, record(OUT_DIMS, rank, 2**32 - 1, size))
        assert asks(switchboard, INFER, 1, IN_AT, 1, OUT_AT, 1, records=records) == 7


def test_infer_may_write_over_its_own_records_and_inputs(
    node: Node, switchboard: LoadedModule
) -> None:
    """Overlaps harm the guest at most: dims, data and records may all lie on each other."""
    for dims, data in product((IN_AT, OUT_AT, IN_DIMS, X_AT), repeat=2):
        records = scene(None, record(dims, 2, data, 12))
        assert asks(switchboard, INFER, 1, IN_AT, 1, OUT_AT, 1, records=records) in (0, 1)


def test_unaligned_pointers_work(node: Node, switchboard: LoadedModule) -> None:
    for shift in (1, 2, 3):
        records = scene(
            record(IN_DIMS, 2, X_AT + shift, 16), record(OUT_DIMS + shift, 2, Y_AT + shift, 12)
        )
        assert asks(switchboard, INFER, 1, IN_AT, 1, OUT_AT, 1, records=records) == 0
