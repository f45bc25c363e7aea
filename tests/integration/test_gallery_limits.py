"""Gallery: bombs of memory, tables, globals and instances; floods of logs, handles and outputs."""

import logging

import pytest

from meshnode.errors import (
    CannotRunHere,
    GuestStatus,
    MalformedModule,
    MemoryLimit,
    ModuleFailed,
    OutputLimit,
    Trapped,
)
from meshnode.modules.manifest import Limits, TensorSpec
from meshnode.runtime.abi import MODELS_OPEN_MAX
from meshnode.runtime.runtime import LoadedModule
from meshnode.runtime.settings import RuntimeSettings
from meshnode.wire.limits import MIB
from tests.integration.gallery import (
    Node,
    answered,
    choosing,
    failed,
    limited,
    number,
)
from tests.unit.runtime.support import SEED_HEAD, dense, ref, seed_guest, wat

pytestmark = pytest.mark.integration
OUT = "(f32.store offset={at} (local.get $out) (f32.convert_i32_s {value}))"


def out(at: int, value: str) -> str:
    return OUT.format(at=4 * at, value=value)


# ------------------------------------------------------------------ memory, tables, globals

FUNCTIONS = """
  (table $t 0 funcref)
  (func $grow_until_refused (loop $l
    (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))))
  (func $grow_for_ever (loop $l (drop (memory.grow (i32.const 16))) (br $l)))
  (func $touch (local $at i32) (loop $l
    (if (i32.ge_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))
      (then (drop (memory.grow (i32.const 1)))))
    (i32.store (local.get $at) (i32.const 1))
    (local.set $at (i32.add (local.get $at) (i32.const 65536))) (br $l)))
"""
BOMBS = {
    "page by page, then a trap": "(call $grow_until_refused) unreachable",
    "for ever": "(call $grow_for_ever)",
    "touching all of it": "(call $touch)",
    "all at once, then a trap": "(drop (memory.grow (i32.const 65535))) unreachable",
    "all at once, then an error": "(drop (memory.grow (i32.const -1))) (return (i32.const 9))",
    "a table": out(0, "(table.grow $t (ref.null func) (i32.const 10001))")
    + out(1, "(table.grow $t (ref.null func) (i32.const 10000))")
    + out(2, "(table.grow $t (ref.null func) (i32.const 1))")
    + out(3, "(table.grow $t (ref.null func) (i32.const -1))"),
}
NUMBER = {name: i for i, name in enumerate(BOMBS, 1)}


@pytest.fixture(scope="module")
def bomber(one_node: Node) -> LoadedModule:
    return one_node.load(seed_guest(choosing(BOMBS), SEED_HEAD + FUNCTIONS))


@pytest.mark.parametrize("bomb", [name for name in BOMBS if name != "a table"])
def test_a_guest_that_takes_memory_meets_its_limit(
    node: Node, bomber: LoadedModule, bomb: str
) -> None:
    for _ in range(2):
        error = failed(bomber, number(NUMBER[bomb]))
        assert isinstance(error, MemoryLimit)
        assert "2 MiB" in error.message
        assert bomber.memory_bytes <= 2 * MIB
    answered(bomber, number(0))


def test_a_table_grows_to_its_limit_and_no_further(node: Node, bomber: LoadedModule) -> None:
    assert answered(bomber, number(NUMBER["a table"])).tolist() == [[-1, 0, -1, -1]]


def test_many_bombs_leave_no_more_than_one(node: Node, bomber: LoadedModule) -> None:
    for _ in range(20):
        assert isinstance(failed(bomber, number(NUMBER["page by page, then a trap"])), MemoryLimit)
        assert bomber.memory_bytes <= 2 * MIB


@pytest.mark.parametrize(
    ("head", "match"),
    [
        ('(memory (export "memory") 65536)', "its own limit"),
        ('(memory (export "memory") 33)', "its own limit"),
        ('(memory (export "memory") 1)' + "(memory 1)" * 99, "100 memories"),
        ('(memory (export "memory") 1) (table 10000000 funcref)', "10000000 elements"),
        ('(memory (export "memory") 1) (table 10001 externref)', "10001 elements"),
        ('(memory (export "memory") 1)' + "(table 1 funcref)" * 1000, "1000 tables"),
        ('(memory (export "memory") 1)' + "(global i64 (i64.const 0))" * 10_001, "10001 globals"),
        ('(memory (export "memory") 1)' + "(func)" * 20_001, "functions, at most"),
        (
            "".join(f'(import "a" "b{i}" (func))' for i in range(65))
            + '(memory (export "memory") 1)',
            "65 imports",
        ),
        (
            '(memory (export "memory") 1)'
            + "".join(f"(type (func (param{' i32' * (i % 200)})))" for i in range(5_001)),
            "types, at most",
        ),
    ],
    ids=lambda v: v if len(v) < 30 else v[:20],
)
def test_a_module_that_declares_too_much_is_refused(node: Node, head: str, match: str) -> None:
    init = '(func (export "init") (result i32) i32.const 0)'
    with pytest.raises(MalformedModule, match=match):
        node.load(seed_guest("i32.const 0", head + init))


def test_a_memory_the_node_does_not_give_may_be_had_elsewhere(node: Node) -> None:
    about = limited(limits=Limits(memory_bytes=1024 * MIB, run_ms=60))
    with pytest.raises(CannotRunHere, match="257 MiB, this node gives 256 MiB"):
        node.load(seed_guest("i32.const 0", SEED_HEAD.replace('") 1)', f'") {257 * 16})')), about)


def test_data_and_elements_outside_what_they_fill_trap_at_the_start(node: Node) -> None:
    for text in (
        '(data (i32.const 65535) "ab")',
        '(data (i32.const -1) "a")',
        "(table 1 funcref) (func $f) (elem (i32.const 1) $f)",
    ):
        with pytest.raises(Trapped, match="out of bounds"):
            node.load(seed_guest("i32.const 0", SEED_HEAD + text))


def test_many_instances_are_bounded_by_those_who_ask(node: Node) -> None:
    """A hundred instances of one guest, made anew after each trap: none is kept."""
    loaded = node.load(seed_guest("unreachable"))
    for _ in range(100):
        assert isinstance(failed(loaded), Trapped)
        assert loaded.memory_bytes == 0
    loaded.close()


# ------------------------------------------------------------------ outputs


def test_a_seed_guest_cannot_be_made_to_answer_more_than_its_cap(node: Node) -> None:
    about = limited(outputs=(TensorSpec(name="y", dtype="float32", shape=(-1, 1_000_000)),))
    loaded = node.load(seed_guest("i32.const 0"), about)
    error = failed(loaded)
    assert isinstance(error, OutputLimit)
    assert str(MIB) in error.message
    loaded.close()


INFER = """
  (memory (export "memory") 1 16)
  (data (i32.const 16) "\\01\\00\\00\\00\\04\\00\\00\\00")
  (func (export "infer") (param $in i32) (param i32) (param $out i32) (param i32) (result i32)
    {body})
"""
LIES = {
    "more than the cap, asked for again and again": (
        "(i32.store offset=16 (local.get $out) (i32.const 0x200000)) i32.const 7",
        OutputLimit,
    ),
    "4 GiB": ("(i32.store offset=16 (local.get $out) (i32.const -1)) i32.const 7", OutputLimit),
    "too large for no reason": ("i32.const 7", GuestStatus),
    "more than there is": (
        "(i32.store (local.get $out) (i32.const 16)) (i32.store offset=4 (local.get $out)"
        " (i32.const 2)) (i32.store offset=16 (local.get $out) (i32.const 0xfffff)) i32.const 0",
        ModuleFailed,
    ),
    "more than the cap, and all of it there": (
        "(drop (memory.grow (i32.const 15))) (i32.store (local.get $out) (i32.const 16))"
        "(i32.store offset=4 (local.get $out) (i32.const 2))"
        "(i32.store offset=12 (local.get $out) (i32.const 0))"
        "(i32.store offset=16 (local.get $out) (i32.const 0x100001)) i32.const 0",
        OutputLimit,
    ),
    "a shape that wraps around 2^32": (
        "(i32.store (i32.const 16) (i32.const 0x10000)) (i32.store (i32.const 20)"
        " (i32.const 0x10000)) (i32.store (local.get $out) (i32.const 16))"
        "(i32.store offset=4 (local.get $out) (i32.const 2))"
        "(i32.store offset=16 (local.get $out) (i32.const 0)) i32.const 0",
        ModuleFailed,
    ),
    "a shape without elements that no array can have": (
        "(i32.store (i32.const 1024) (i32.const 0)) (i32.store (i32.const 1028) (i32.const -1))"
        "(i32.store (i32.const 1032) (i32.const -1)) (i32.store (local.get $out) (i32.const 1024))"
        "(i32.store offset=4 (local.get $out) (i32.const 3))"
        "(i32.store offset=16 (local.get $out) (i32.const 0)) i32.const 0",
        ModuleFailed,
    ),
    "a type that is none": (
        "(i32.store8 offset=8 (local.get $out) (i32.const 99)) i32.const 0",
        ModuleFailed,
    ),
    "a rank of 2^32 - 1": (
        "(i32.store offset=4 (local.get $out) (i32.const -1)) i32.const 0",
        ModuleFailed,
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_that_is_not_what_was_promised_fails(node: Node, lie: str) -> None:
    body, error = LIES[lie]
    rank = 3 if "no array" in lie else 2
    y = TensorSpec(name="y", dtype="float32", shape=(-1, 4) if rank == 2 else (-1,) * rank)
    loaded = node.load(wat(INFER.format(body=body)), limited(abi="infer", outputs=(y,)))
    for _ in range(2):
        found = failed(loaded)
        assert isinstance(found, error), found
        assert loaded.memory_bytes <= 2 * MIB
    loaded.close()


def test_an_answer_over_the_nodes_own_cap_fails_though_the_module_allows_it(
    node: Node, tmp_path_factory: pytest.TempPathFactory
) -> None:
    strict = Node(tmp_path_factory.mktemp("strict"), RuntimeSettings(output_bytes_max=16))
    wide = limited(outputs=(TensorSpec(name="y", dtype="float32", shape=(-1, 5)),))
    loaded = strict.load(seed_guest("i32.const 0"), wide)
    error = failed(loaded)
    assert isinstance(error, OutputLimit)
    assert "take 20 bytes, the limit is 16" in error.message
    loaded.close()


# ------------------------------------------------------------------ host functions

HOST = """
  (import "meshnode" "log" (func $log (param i32 i32 i32)))
  (import "meshnode" "model_open" (func $open (param i32 i32) (result i32)))
  (func $flood (local $i i32) (loop $l
    (call $log (i32.rem_u (local.get $i) (i32.const 7)) (i32.const 0) (i32.const 65536))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $l (i32.lt_u (local.get $i) (i32.const 2000)))))
  (func $take (result i32) (local $i i32) (local $last i32)
    (loop $l
      (local.set $last (call $open (i32.const 100) (i32.const 5)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $l (i32.lt_u (local.get $i) (i32.const 500))))
    (local.get $last))
"""
FLOODS = {
    "logs": "(call $flood)",
    "handles": out(0, "(call $take)") + out(1, "(call $open (i32.const 100) (i32.const 5))"),
}


def test_floods_of_logs_and_handles_are_dammed(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    imports, _, functions = HOST.partition("  (func $flood")
    wasm = seed_guest(
        choosing(FLOODS),
        imports + SEED_HEAD + '(data (i32.const 100) "model")' + "(func $flood" + functions,
    )
    model = dense()
    about = limited(models=(ref(model),), limits=Limits(memory_bytes=2 * MIB, run_ms=2000))
    loaded = node.load(wasm, about, {"model": model})
    with caplog.at_level(logging.DEBUG, "meshnode.guest"):
        for _ in range(2):
            caplog.clear()
            answered(loaded, number(1))
            assert len(caplog.records) == RuntimeSettings().log_lines_max
            assert all(len(r.getMessage()) <= 4 * 1024 + 10 for r in caplog.records)
            assert max(r.levelno for r in caplog.records) <= logging.WARNING
    # Sixteen handles for the life of an instance, and no more in the calls that follow.
    assert MODELS_OPEN_MAX == 16
    for _ in range(3):
        assert answered(loaded, number(2))[0, :2].tolist() == [-7, -7]
    loaded.close()
