import pytest

from meshnode.caps import Caps
from meshnode.errors import CannotRunHere, MalformedModule, UndeclaredImport
from meshnode.modules.manifest import Limits
from meshnode.modules.sections import HEADER, encode_custom, leb
from meshnode.runtime.preflight import Guest, preflight, read_guest
from meshnode.runtime.wasm_reader import Reader
from meshnode.wire.limits import MIB
from tests.unit.runtime.support import ALL, SEED_HEAD, dist, manifest, seed_guest, wat

ECHO = "i32.const 0"


def check(wasm: bytes, **changes: object) -> Guest:
    return preflight(wasm, manifest(**changes), allowed=ALL, memory_bytes_max=64 * MIB)


@pytest.mark.parametrize("name", ["echo", "linear", "hostile-spin", "hostile-stray"])
def test_shipped_guests_pass(name: str) -> None:
    guest = check(dist(name))
    assert "predict" in guest.exports
    assert guest.scan()


def test_custom_sections_do_not_reach_the_compiler() -> None:
    plain = dist("echo")
    with_weights = plain + encode_custom("meshnode.weights.model", bytes(20 * MIB))
    assert check(with_weights).wasm == check(plain).wasm


def test_a_large_guest_is_refused() -> None:
    data = b"\0\x41\x00\x0b" + leb(17 * MIB) + bytes(17 * MIB)
    large = dist("echo") + b"\x0b" + leb(len(data) + 1) + b"\1" + data
    with pytest.raises(MalformedModule, match="at most 16777216"):
        check(large)


@pytest.mark.parametrize(
    ("head", "match"),
    [
        ('(memory (export "memory") 1) (memory 1)', "2 memories"),
        ('(memory (export "memory") 1 2 shared)', "shared"),
        ('(memory (export "memory") i64 1)', "64-bit"),
        ("(memory 1)", "does not export its memory"),
        ('(memory 1) (global (export "memory") i32 (i32.const 0))', "does not export its memory"),
        ('(memory (export "memory") 1) (table 1 funcref) (table 1 funcref)', "2 tables"),
        ('(memory (export "memory") 1) (table 20000 funcref)', "20000 elements"),
        ('(memory (export "memory") 1) (tag)', "exception tags"),
        ('(memory (export "memory") 1) (type (struct))', "form 0x5f"),
        (
            '(memory (export "memory") 1) (func (export "v") (param v128))',
            "cannot cross",
        ),
        (
            '(memory (export "memory") 1) (func (export "r") (result externref) ref.null extern)',
            "cannot cross",
        ),
        (
            '(memory (export "memory") 1) (global (export "g") v128 (v128.const i64x2 0 0))',
            "not a number",
        ),
        ('(memory (export "memory") 100)', "its own limit"),
        (
            '(memory (export "memory") 1) (global (export "meshnode.denied") i32 (i32.const 0))',
            "reserved",
        ),
        ('(import "a" "m" (memory 1))', "imports a memory"),
        ('(memory (export "memory") 1) (func (export "alloc") (result i32) i32.const 0)', "alloc"),
    ],
)  # fmt: skip
def test_shapes_that_are_refused(head: str, match: str) -> None:
    wasm = seed_guest(ECHO, head + '(func (export "init") (result i32) i32.const 0)')
    with pytest.raises(MalformedModule, match=match):
        check(wasm)


def test_exports_the_abi_calls_must_be_there_with_their_type() -> None:
    with pytest.raises(MalformedModule, match="does not export 'predict'"):
        check(wat(SEED_HEAD))
    with pytest.raises(MalformedModule, match="does not export 'infer'"):
        check(dist("echo"), abi="infer")
    wrong = wat(SEED_HEAD + '(func (export "predict") (param f64) (result i32) i32.const 0)')
    with pytest.raises(MalformedModule, match=r"\(f64\) -> i32"):
        check(wrong)
    glob = wat(SEED_HEAD + '(global (export "predict") i32 (i32.const 0))')
    with pytest.raises(MalformedModule, match="is global"):
        check(glob)


def test_too_many_exports_are_refused() -> None:
    many = "".join(f'(func (export "f{i}"))' for i in range(70))
    with pytest.raises(MalformedModule, match="exports, at most 64"):
        check(seed_guest(ECHO, SEED_HEAD + many))


def test_too_many_functions_are_refused_without_reading_them() -> None:
    functions = leb(200_000) + bytes(200_000)
    wasm = HEADER + b"\1\4\1\x60\0\0" + b"\3" + leb(len(functions)) + functions
    with pytest.raises(MalformedModule, match="200000 functions"):
        read_guest(wasm)


def test_type_indexes_of_more_than_a_byte_are_read() -> None:
    reader = Reader(memoryview(b"\x03\x7f\x80\x01\x05"), "function")
    assert reader.u32s(4) == (3, 127, 128, 5)
    reader.end()
    short = Reader(memoryview(b"\x03\x7f"), "function")
    assert (short.u32s(1), short.position) == ((3,), 1)
    with pytest.raises(MalformedModule, match="cut off"):
        short.u32s(2)


def test_an_unknown_import_is_named() -> None:
    with pytest.raises(UndeclaredImport, match=r"env\.system, which no capability gives"):
        check(dist("hostile-import"))
    old = '(import "wasi_unstable" "fd_write" (func (param i32 i32 i32 i32) (result i32)))'
    with pytest.raises(UndeclaredImport, match="capability wasi in a form"):
        check(seed_guest(ECHO, old + SEED_HEAD))
    extra = '(import "wasi_ephemeral_nn" "unload" (func (param i32) (result i32)))'
    with pytest.raises(UndeclaredImport, match="unload, which no capability gives") as refused:
        check(seed_guest(ECHO, extra + SEED_HEAD))
    assert "wasi_ephemeral_nn.load_by_name" in refused.value.because[0]
    assert "meshnode.infer" not in refused.value.because[0]


def test_an_import_must_be_declared_and_allowed() -> None:
    wasm = dist("hostile-stray")
    with pytest.raises(UndeclaredImport, match=r"needs the capability nn, and its metadata"):
        check(wasm, required=Caps.CPU)
    check(wasm, required=Caps.CPU, optional=Caps.NN)
    with pytest.raises(UndeclaredImport, match="policy does not allow"):
        preflight(
            wasm,
            manifest(required=Caps.CPU, optional=Caps.NN),
            allowed=Caps.CPU,
            memory_bytes_max=MIB,
        )
    with pytest.raises(UndeclaredImport, match="needs the capability nn"):
        preflight(wasm, manifest(), allowed=Caps.CPU, memory_bytes_max=MIB)


def test_importing_load_takes_no_more_than_models() -> None:
    load = '(import "wasi_ephemeral_nn" "load" (func (param i32 i32 i32 i32 i32) (result i32)))'
    assert check(seed_guest(ECHO, load + SEED_HEAD)).imports
    with pytest.raises(UndeclaredImport, match="needs the capability nn, and its metadata"):
        check(seed_guest(ECHO, load + SEED_HEAD), required=Caps.CPU)


def test_what_an_operator_must_change_is_said() -> None:
    with pytest.raises(UndeclaredImport, match=r"needs the capability nn\.load, wasi") as refused:
        check(dist("echo"), required=ALL | Caps.WASI | Caps.NN_LOAD)
    assert refused.value.try_.startswith('add "nn.load", "wasi" to policy.caps in node.toml')


def test_an_import_must_have_the_hosts_type() -> None:
    wrong = '(import "meshnode" "query_caps" (func (param i64)))'
    with pytest.raises(MalformedModule, match=r"query_caps has the type \(i64\) -> nothing"):
        check(seed_guest(ECHO, wrong + SEED_HEAD))


def test_memory_beyond_the_nodes_limit_may_run_elsewhere() -> None:
    wasm = seed_guest(ECHO, SEED_HEAD.replace('"memory") 1', '"memory") 32'))
    with pytest.raises(CannotRunHere, match="this node gives 1 MiB"):
        preflight(
            wasm,
            manifest(limits=Limits(memory_bytes=4 * MIB)),
            allowed=ALL,
            memory_bytes_max=MIB,
        )


def test_text_components_and_nothing_are_refused() -> None:
    for data in (b"", b"(module)", b"\0asm\x0d\0\1\0", b"\x1f\x8b\x08\0\0\0\0\0\0\0"):
        with pytest.raises(MalformedModule):
            check(data)
