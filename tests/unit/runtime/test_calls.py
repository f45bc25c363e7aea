import numpy as np
import pytest

from meshnode.errors import GuestStatus, MemoryLimit, ModuleFailed, OutputLimit
from meshnode.modules.manifest import Limits, Manifest, TensorSpec
from meshnode.runtime.calls import InferAbi
from meshnode.runtime.seed_calls import SeedAbi
from meshnode.wire.limits import MIB
from tests.unit.runtime.support import SEED_HEAD, call, dist, manifest, sandbox, seed_guest, wat

ROW = np.array([[1, -2, 3.5, 0]], np.float32)
TYPES = '(import "meshnode" "query_caps" (func (result i32)))'
# Copies the first input's record and data to the first output: shape, type and all.
ECHO_INFER = """
  (func $copy_word (param $to i32) (param $from i32)
    (i32.store (local.get $to) (i32.load (local.get $from))))
  (func (export "infer") (param $in i32) (param $n i32) (param $out i32) (param $m i32) (result i32)
    (local $need i32)
    (local.set $need (i32.load offset=16 (local.get $in)))
    (if (i32.gt_u (local.get $need) (i32.load offset=16 (local.get $out)))
      (then (i32.store offset=16 (local.get $out) (local.get $need)) (return (i32.const 7))))
    (memory.copy (i32.load (local.get $out)) (i32.load (local.get $in)) (i32.const 16))
    (i32.store offset=4 (local.get $out) (i32.load offset=4 (local.get $in)))
    (i32.store8 offset=8 (local.get $out) (i32.load8_u offset=8 (local.get $in)))
    (memory.copy (i32.load offset=12 (local.get $out)) (i32.load offset=12 (local.get $in))
      (local.get $need))
    (i32.store offset=16 (local.get $out) (local.get $need))
    i32.const 0)"""
MEMORY = '(memory (export "memory") 1)'


def infer_manifest(
    dtype: str = "float32", out: str = "", shape: tuple[int, ...] = (-1, -1), **limits: int
) -> Manifest:
    return manifest(
        abi="infer",
        inputs=(TensorSpec(name="x", dtype=dtype, shape=(-1, -1)),),
        outputs=(TensorSpec(name="y", dtype=out or dtype, shape=shape),),
        limits=Limits(**({"memory_bytes": 2 * MIB, "run_ms": 500, "output_bytes": MIB} | limits)),
    )


# ------------------------------------------------------------------ seed


@pytest.mark.parametrize("rows", [1, 3, 5000])
def test_seed_arrays_cross_unchanged(rows: int) -> None:
    x = np.random.default_rng(0).standard_normal((rows, 4)).astype(np.float32)
    (y,) = call(dist("echo"), x)
    assert y.tobytes() == x.tobytes()
    assert y.shape == (rows, 4)


def test_a_seed_guest_gives_the_hosts_room_itself_if_it_can() -> None:
    head = SEED_HEAD + '(func (export "alloc") (param i32) (result i32) i32.const 4096)'
    taken = "(i32.store (i32.const 0) (local.get $in)) (local.get $in) (i32.const 4096) i32.ne"
    (y,) = call(seed_guest(taken, head), ROW)
    assert y.shape == (1, 4)


@pytest.mark.parametrize("abi", ["seed", "infer"])
def test_calls_of_changing_shapes_do_not_disturb_each_other(abi: str) -> None:
    about = manifest() if abi == "seed" else infer_manifest()
    box = sandbox(dist("echo") if abi == "seed" else wat(MEMORY + ECHO_INFER), about)
    guest = (SeedAbi if abi == "seed" else InferAbi)(box, about)
    rng = np.random.default_rng(1)
    # The room moves and grows in between, and old shapes come back.
    for rows in (1, 300, 1, 9000, 2, 300, 1):
        x = rng.standard_normal((rows, 4)).astype(np.float32)
        first, second = guest.run([x], rows)[0], guest.run([x[::-1]], rows)[0]
        assert np.array_equal(first, x)
        assert np.array_equal(second, x[::-1])
        assert np.array_equal(guest.run([x.astype(">f4")], rows)[0], x)
    box.close()


def test_alloc_that_points_outside_is_a_memory_limit() -> None:
    head = SEED_HEAD + '(func (export "alloc") (param i32) (result i32) i32.const -8)'
    with pytest.raises(MemoryLimit, match="do not fit"):
        call(seed_guest("i32.const 0", head), ROW)


def test_a_guest_that_wants_more_room_is_asked_once_more() -> None:
    needs_100 = (
        "(select (i32.const 0) (i32.const -1) (i32.ge_u (local.get $out_len) (i32.const 100)))"
    )
    (y,) = call(seed_guest(needs_100), ROW)
    assert y.shape == (1, 4)
    with pytest.raises(GuestStatus, match="returned -1"):
        call(seed_guest("i32.const -1"), ROW)


def test_the_hosts_room_does_not_grow_with_the_calls() -> None:
    about = manifest()
    box = sandbox(dist("echo"), about)
    abi = SeedAbi(box, about)
    abi.run([ROW], 1)
    size = box.memory_bytes
    for _ in range(200):
        abi.run([ROW], 1)
    assert box.memory_bytes == size
    abi.run([np.zeros((50_000, 4), np.float32)], 50_000)
    grown = box.memory_bytes
    assert grown > size
    abi.run([np.zeros((50_000, 4), np.float32)], 50_000)
    assert box.memory_bytes == grown
    box.close()


def test_a_request_larger_than_the_guests_memory_is_refused() -> None:
    about = manifest(limits=Limits(memory_bytes=MIB, run_ms=100, output_bytes=8 * MIB))
    with pytest.raises(MemoryLimit, match="limit of 1 MiB"):
        call(dist("echo"), np.zeros((100_000, 4), np.float32), about=about)


def test_a_seed_output_larger_than_its_limit_is_refused_before_the_call() -> None:
    about = manifest(limits=Limits(memory_bytes=MIB, run_ms=100, output_bytes=8))
    with pytest.raises(OutputLimit, match="16 bytes, the limit is 8"):
        call(dist("echo"), ROW, about=about)


def test_an_output_size_that_cannot_be_known_is_said() -> None:
    about = manifest(
        inputs=(TensorSpec(name="x", dtype="float32", shape=(4,)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(-1,)),),
    )
    with pytest.raises(ModuleFailed, match="does not follow"):
        call(dist("echo"), ROW[0], about=about)


# ------------------------------------------------------------------ infer


@pytest.mark.parametrize(
    "dtype", ["float32", "float16", "int64", "uint8", "bool", "int8", "uint64"]
)
def test_infer_carries_every_kind_of_tensor(dtype: str) -> None:
    x = np.arange(12).reshape(3, 4).astype(dtype)
    (y,) = call(wat(MEMORY + ECHO_INFER), x, about=infer_manifest(dtype))
    assert y.dtype == x.dtype
    assert np.array_equal(y, x)


def test_an_output_larger_than_guessed_gets_its_room() -> None:
    x = np.random.default_rng(0).standard_normal((20, 4000)).astype(np.float32)
    (y,) = call(wat(MEMORY + ECHO_INFER), x, about=infer_manifest())
    assert np.array_equal(y, x)


def test_an_output_over_the_limit_is_refused() -> None:
    x = np.zeros((20, 4000), np.float32)
    with pytest.raises(OutputLimit, match="320000 bytes, the limit is 1000"):
        call(wat(MEMORY + ECHO_INFER), x, about=infer_manifest(output_bytes=1000))


def test_an_answer_that_is_not_what_was_promised_is_refused() -> None:
    with pytest.raises(ModuleFailed, match=r"answered 'y' as float32\[3,4\]"):
        call(
            wat(MEMORY + ECHO_INFER),
            np.zeros((3, 4), np.float32),
            about=infer_manifest(out="int32"),
        )
    with pytest.raises(ModuleFailed, match=r"answered 'y' as float32\[3,4\]"):
        call(
            wat(MEMORY + ECHO_INFER),
            np.zeros((3, 4), np.float32),
            about=infer_manifest(shape=(-1, 5)),
        )


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        (0, "0xfffffff0", "outside its memory"),
        (4, "17", "outside its memory"),
        (12, "0xfffffff0", "outside its memory"),
        (16, "0xfffff", "outside its memory|bytes for"),
        (16, "4", "4 bytes for"),
    ],
)
def test_records_that_lie_are_refused(field: int, value: str, match: str) -> None:
    lie = f"(i32.store offset={field} (local.get $out) (i32.const {value}))"
    lying = ECHO_INFER.replace("    i32.const 0)", f"    {lie} i32.const 0)")
    with pytest.raises(ModuleFailed, match=match):
        call(wat(MEMORY + lying), np.zeros((3, 4), np.float32), about=infer_manifest())


def test_a_status_of_the_guest_is_named() -> None:
    failing = '(func (export "infer") (param i32 i32 i32 i32) (result i32) i32.const 6)'
    with pytest.raises(GuestStatus, match=r"returned 6 \(unsupported_operation\)"):
        call(wat(MEMORY + failing), np.zeros((3, 4), np.float32), about=infer_manifest())
