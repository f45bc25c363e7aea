"""Gallery: modules whose very shape is the attack. None of these reaches the binding's types."""

import gzip
from collections.abc import Callable
from contextlib import suppress
from random import Random
from time import perf_counter

import pytest

from meshnode.errors import CompileLimit, MalformedModule, MeshnodeError, UndeclaredImport
from meshnode.modules.sections import HEADER, leb
from meshnode.runtime.settings import RuntimeSettings
from tests.integration.gallery import OVERRUN_S, Node, asked, failed, limited
from tests.unit.runtime.support import SEED_HEAD, dist, seed_guest, wat

pytestmark = pytest.mark.integration
MEMORY = '(memory (export "memory") 1)'
SHAPES = {
    # Other proposals.
    "a memory of 64 bits": '(memory (export "memory") i64 1)',
    "a table of 64 bits": MEMORY + "(table i64 1 funcref)",
    "a shared memory": '(memory (export "memory") 1 1 shared)',
    "two memories": MEMORY + "(memory 1)",
    "pages of one byte": '(memory (export "memory") 1 (pagesize 1))',
    "a struct": MEMORY + "(type (struct (field i32)))",
    "an array": MEMORY + "(type (array (mut i8)))",
    "types that recurse": MEMORY + "(rec (type $a (func)) (type $b (func (param (ref null $a)))))",
    "a type that may be derived": MEMORY + "(type $a (sub (func)))",
    "a final type derived": MEMORY + "(type $a (sub (func))) (type (sub final $a (func)))",
    "an exception tag": MEMORY + "(tag $t (param i32))",
    "a tag that is exported": MEMORY + '(tag (export "t"))',
    "a throw": MEMORY + "(tag $t) (func (throw $t))",
    "a try": MEMORY + "(func (try_table))",
    "a reference to i31": MEMORY + "(func (drop (ref.i31 (i32.const 1))))",
    "an atomic": MEMORY + "(func (drop (i32.atomic.load (i32.const 0))))",
    "a wait": MEMORY
    + "(func (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))",
    "a call by reference": MEMORY + "(type $f (func)) (func (param (ref $f)) (call_ref $f))",
    "wide arithmetic": MEMORY
    + "(func (result i64 i64) (i64.mul_wide_s (i64.const 1) (i64.const 1)))",
    # Types that abort the process when the binding reads them.
    "v128 as a parameter": MEMORY + '(func (export "f") (param v128))',
    "v128 as a result": MEMORY + '(func (export "f") (result v128) v128.const i64x2 0 0)',
    "v128 among many": MEMORY + '(func (export "f") (param i32 i64 f32 f64 v128 i32))',
    "v128 in predict": MEMORY
    + '(func (export "predict") (param v128 i32 i32) (result i32) unreachable)',
    "v128 exported twice removed": MEMORY + '(func $f (param v128)) (export "a" (func $f))',
    "v128 as a global": MEMORY + '(global (export "g") v128 (v128.const i64x2 0 0))',
    "v128 imported": '(import "meshnode" "log" (func (param v128)))' + MEMORY,
    "funcref as a result": MEMORY + '(func (export "f") (result funcref) (ref.null func))',
    "externref as a parameter": MEMORY + '(func (export "f") (param externref))',
    "externref as a global": MEMORY + '(global (export "g") externref (ref.null extern))',
    "exnref as a result": MEMORY + '(func (export "f") (result exnref) unreachable)',
    "anyref as a parameter": MEMORY + '(func (export "f") (param anyref))',
    "a typed reference as a parameter": MEMORY
    + '(type $s (struct)) (func (export "f") (param (ref $s)))',
    "a table of exceptions": MEMORY + '(table (export "t") 1 exnref)',
    "a table of anything": MEMORY + "(table 1 anyref)",
    "a table with a first value": MEMORY
    + "(func $f) (table 1 (ref func) (ref.func $f))",
    # Imports that are no functions, or not ours.
    "an imported memory": '(import "env" "memory" (memory 1))',
    "an imported table": '(import "env" "t" (table 1 funcref))' + MEMORY,
    "an imported global": '(import "env" "g" (global i32))' + MEMORY,
    "an imported tag": '(import "env" "t" (tag))' + MEMORY,
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_this_node_does_not_run_is_refused(node: Node, shape: str) -> None:
    text = SHAPES[shape] + '(func (export "init") (result i32) i32.const 0)'
    wasm = wat(text) if '"predict"' in text else seed_guest("i32.const 0", text)
    started = perf_counter()
    with pytest.raises(MalformedModule):
        node.load(wasm)
    assert perf_counter() - started < OVERRUN_S


@pytest.mark.parametrize(
    ("export", "says"),
    [
        ('(global (export "predict") i32 (i32.const 0))', "'predict' is global"),
        ('(table (export "predict") 1 funcref)', "'predict' is table"),
        ('(func (export "predict"))', r"'predict' is \(\) -> nothing"),
        ('(func (export "predict") (param i64 i32 i32 i32) (result i32) unreachable)', "i64"),
        ('(func (export "predict") (param i32) (result i32 i32) unreachable)', "-> i32 i32"),
        ('(func (export "predict") (param f64) (result f64) unreachable)', "f64"),
        ("", "does not export 'predict'"),
    ],
)  # fmt: skip
def test_a_predict_that_is_something_else_is_named(node: Node, export: str, says: str) -> None:
    with pytest.raises(MalformedModule, match=says):
        node.load(wat(SEED_HEAD + export))


def test_a_memory_export_that_is_a_function_is_named(node: Node) -> None:
    text = '(memory 1) (func (export "memory")) (func (export "init") (result i32) i32.const 0)'
    with pytest.raises(MalformedModule, match="does not export its memory"):
        node.load(seed_guest("i32.const 0", text))


@pytest.mark.parametrize("name", ["wasi_snapshot_preview1", "env", "", "meshnode"])
def test_imports_that_no_capability_gives_are_refused(node: Node, name: str) -> None:
    with pytest.raises(UndeclaredImport, match="imports"):
        node.load(seed_guest("i32.const 0", f'(import "{name}" "system" (func))' + SEED_HEAD))


# ------------------------------------------------------------------ many of something


def section(id_: int, payload: bytes) -> bytes:
    return bytes((id_,)) + leb(len(payload)) + payload


def test_a_hundred_thousand_exports_are_refused_at_once(node: Node) -> None:
    entries = b"".join(leb(len(n)) + n + b"\0\0" for n in (b"e%d" % i for i in range(100_000)))
    started = perf_counter()
    with pytest.raises(MalformedModule, match="100000 exports, at most 64"):
        node.load(
            HEADER
            + section(1, b"\1\x60\0\0")
            + section(3, b"\1\0")
            + section(5, b"\1\0\1")
            + section(7, leb(100_000) + entries)
            + section(10, b"\1\2\0\x0b")
        )
    assert perf_counter() - started < OVERRUN_S


@pytest.mark.parametrize("id_", [1, 2, 3, 4, 5, 6, 7, 9, 10, 11])
def test_counts_of_four_billion_are_refused_without_counting(node: Node, id_: int) -> None:
    started = perf_counter()
    for payload in (b"\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\x0f" + bytes(100_000)):
        with pytest.raises(MalformedModule):
            node.load(HEADER + section(id_, payload))
    with pytest.raises(MalformedModule):
        node.load(HEADER + bytes((id_,)) + b"\xff\xff\xff\xff\x0f")
    assert perf_counter() - started < OVERRUN_S


# ------------------------------------------------------------------ compile bombs


def functions(bodies: list[bytes]) -> bytes:
    """A guest of seed ABI with these bodies, of type () -> (), besides its own."""
    count = len(bodies) + 2
    types = b"\3\x60\0\0\x60\0\1\x7f\x60\4\x7f\x7f\x7f\x7f\1\x7f"
    own = [b"\0\x41\0\x0b", b"\0\x41\0\x0b"]
    exports = b"\3\6memory\2\0\4init\0\0\7predict\0\1"
    code = leb(count) + b"".join(leb(len(b)) + b for b in (*own, *bodies))
    return (
        HEADER
        + section(1, types)
        + section(3, leb(count) + b"\1\2" + bytes(len(bodies)))
        + section(5, b"\1\0\1")
        + section(7, exports)
        + section(10, code)
    )


def if_phi(depth: int) -> bytes:
    """Ifs one after another that each may change one of many locals: as many phis as ifs."""
    locals_ = 500
    steps = b"".join(
        b"\x20\0\x04\x40\x41\x01\x21" + leb(i % locals_) + b"\x0b" for i in range(depth)
    )
    return b"\1" + leb(locals_) + b"\x7f" + steps + b"\x0b"


BOMBS: dict[str, Callable[[], bytes]] = {
    "nested loops": lambda: functions(
        [b"\0" + (b"\x03\x40" * 490 + b"\x41\0\x0d\0" + b"\x0b" * 490) + b"\x0b"] * 200
    ),
    "ifs and phis": lambda: functions([if_phi(40_000)] * 4),
    "functions in their thousands": lambda: functions(
        [b"\0" + b"\x41\x01\x41\x02\x6a\x1a" * 60 + b"\x0b"] * 19_000
    ),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_compile_bomb_is_killed_within_its_budget(
    node: Node, bomb: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wasm = BOMBS[bomb]()
    strict = Node(tmp_path_factory.mktemp("strict"), RuntimeSettings(compile_s_max=0.4))
    started = perf_counter()
    # A fast machine may be done in time with what preflight lets through of some; not with loops.
    with (
        pytest.raises(CompileLimit, match=r"longer than 0\.4 s")
        if bomb == "nested loops"
        else (suppress(CompileLimit))
    ):
        strict.load(wasm)
    assert perf_counter() - started < 0.4 + OVERRUN_S
    strict.neighbour_answers()


def test_two_hundred_thousand_functions_are_refused_before_they_are_compiled(node: Node) -> None:
    with pytest.raises(MalformedModule, match="200002 functions, at most"):
        node.load(functions([b"\0\x0b"] * 200_000))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"\0" + b"\x03\x40" * 20_000 + b"\x0b" * 20_001, "nests blocks deeper than 500"),
        (b"\0" + b"\x02\x40" * 501 + b"\x0b" * 502, "nests blocks deeper than 500"),
        (b"\1" + leb(50_000) + b"\x7f\x0b", "50000 locals"),
        (b"\1" + leb(2**32 - 1) + b"\x7f\x0b", "4294967295 locals"),
        (b"\0" + b"\x41\0\x0e" + leb(2**32 - 1) + b"\x0b", "entries in a branch table"),
        (b"\0" + b"\x02\x40" * 30, "has no end"),
        (b"\0\x0b\x0b", "after its end"),
        (b"\0\xfb\x00\x00\x0b", "does not accept"),
        (b"\0\xfe\x00\x00\x00\x0b", "does not accept"),
        (b"\0\xff\x0b", "does not accept"),
    ],
)
def test_code_that_would_be_a_bomb_is_refused_by_its_shape(
    node: Node, body: bytes, says: str
) -> None:
    with pytest.raises(MalformedModule, match=says):
        node.load(functions([body]))


# ------------------------------------------------------------------ bytes that are no module


def test_what_is_not_a_core_module_is_refused(node: Node) -> None:
    plain = dist("echo")
    for data in (
        b"",
        b"\0",
        b"\0asm",
        HEADER,
        b"(module)",
        b'(module (memory (export "memory") 1))',
        plain.hex().encode(),
        gzip.compress(plain, mtime=0),
        b"\0asm\x0d\0\1\0" + plain[8:],
        b"\0asm\x01\0\1\0" + plain[8:],
        b"\0asm\x02\0\0\0" + plain[8:],
        b"\x7fELF" + plain,
        b"MZ" + plain,
        b"\xef\xbb\xbf" + plain,
        plain[::-1],
        plain + plain,
        bytes(100_000),
        b"\xff" * 100_000,
    ):
        with pytest.raises(MalformedModule):
            node.load(data)


@pytest.mark.parametrize("name", ["echo", "linear"])
def test_a_module_cut_anywhere_is_refused(node: Node, name: str) -> None:
    whole = dist(name)
    refused = 0
    for size in range(len(whole)):
        try:
            node.load(whole[:size]).close()
        except MeshnodeError:
            refused += 1
        else:  # cut between its last sections, which it can do without
            assert whole[size] in (0, 11)
    assert refused >= len(whole) - 4


def test_a_module_with_one_bit_flipped_runs_or_is_refused(node: Node) -> None:
    """Bits that make another valid guest are its publisher's business; no bit may end the node."""
    whole = dist("echo")
    rng = Random(20)
    ran = 0
    for _ in range(10):  # each that is valid costs a compilation; fuzz tries more
        bit = rng.randrange(64, len(whole) * 8)
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            loaded = node.load(bytes(changed))
        except MeshnodeError:
            continue
        ran += 1
        asked(loaded)
        loaded.close()
    assert ran < 10


def test_a_strange_name_is_shown_and_not_obeyed(node: Node) -> None:
    loaded = node.load(seed_guest("i32.const 9", SEED_HEAD), limited(name="strange"))
    assert "returned 9" in failed(loaded).message
    loaded.close()
    with pytest.raises(MalformedModule):
        node.load(seed_guest("i32.const 0").replace(b"predict", b"pr\xffdict"))
