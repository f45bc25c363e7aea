import pytest
from wasmtime import wat2wasm

from meshnode.errors import MalformedModule
from meshnode.modules.sections import iter_sections, leb
from meshnode.runtime.code_scan import Body, scan_code

EVERYTHING = """(module (memory 1) (table 4 funcref) (elem $e func $f) (data $d "abc")
  (global $g (mut i64) (i64.const -1))
  (func $f (param i32) (result i32) (local f32 f64 v128 externref)
    (block (loop (br_if 1 (local.get 0)) (br 1)))
    (if (result i32) (local.get 0) (then (i32.const -2147483648)) (else (i32.const 99999)))
    (drop)
    (block (block (block (br_table 0 1 2 0 1 (local.get 0)))))
    (f32.store offset=70000 align=1 (i32.const 0) (f32.const 3.5))
    (f64.store (i32.const 0) (f64.const 1e300))
    (global.set $g (i64.load32_u (i32.const 4)))
    (drop (select (result i32) (i32.const 1) (i32.const 2) (local.get 0)))
    (drop (select (i32.const 1) (i32.const 2) (local.get 0)))
    (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1)) (data.drop $d)
    (memory.copy (i32.const 0) (i32.const 1) (i32.const 2))
    (memory.fill (i32.const 0) (i32.const 1) (i32.const 2))
    (table.init $e (i32.const 0) (i32.const 0) (i32.const 1)) (elem.drop $e)
    (table.copy (i32.const 0) (i32.const 1) (i32.const 1))
    (drop (table.grow (ref.null func) (i32.const 1))) (drop (table.size))
    (table.fill (i32.const 0) (ref.func $f) (i32.const 1))
    (drop (ref.is_null (table.get (i32.const 0)))) (table.set (i32.const 0) (ref.null func))
    (drop (i32.trunc_sat_f64_u (f64.const 1)))
    (drop (i32.extend8_s (i32.const 1)))
    (drop (i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15
      (v128.const i32x4 0x0b0b0b0b 2 3 4) (v128.load (i32.const 0))))
    (v128.store64_lane 1 (i32.const 0) (v128.load8_lane 3 (i32.const 0) (v128.const i64x2 1 2)))
    (drop (i16x8.extract_lane_s 2 (i32x4.splat (i32.const 5))))
    (drop (f64x2.nearest (f32x4.add (v128.load64_zero (i32.const 0)) (v128.const i64x2 1 2))))
    (drop (i64x2.extmul_high_i32x4_u (v128.const i64x2 1 2) (v128.const i64x2 1 2)))
    (drop (f32x4.relaxed_madd (v128.const i64x2 1 2) (v128.const i64x2 1 2) (v128.const i64x2 1 2)))
    (drop (call_indirect (param i32) (result i32) (i32.const 1) (i32.const 0)))
    (drop (memory.grow (memory.size)))
    (return_call $f (memory.grow (i32.const 1)))))"""


def scan(text: str) -> tuple[Body, ...]:
    wasm = bytes(wat2wasm(text))
    sections = {s.id: s.data for s in iter_sections(wasm)}
    return scan_code(sections[10], len(sections[3]) - 1)


def test_every_kind_of_instruction_is_cut_right() -> None:
    (body,) = scan(EVERYTHING)
    assert len(body.grows) == 2


def test_constants_that_look_like_instructions_are_not_taken_for_them() -> None:
    (body,) = scan(
        "(module (memory 1) (func (drop (v128.const i8x16 64 0 64 0 2 64 2 64 0 0 0 0 0 0 0 0))))"
    )
    assert body.grows == ()


def test_deep_nesting_is_refused() -> None:
    fine = "(module (func " + "(loop " * 499 + ")" * 499 + "))"
    scan(fine)
    with pytest.raises(MalformedModule, match="nests blocks deeper than 500"):
        scan(fine.replace("(func ", "(func (block ").replace("))", ")))", 1))


def test_many_locals_are_refused() -> None:
    scan(f"(module (func (local {'i32 ' * 2000})))")
    with pytest.raises(MalformedModule, match="2001 locals"):
        scan(f"(module (func (local {'i32 ' * 1000} {'i64 ' * 1001})))")


@pytest.mark.parametrize(
    "body",
    [
        leb(2000) + b"\0\x7f" * 2000 + b"\x0b",
        b"\0" + (b"\x41\0\x0e" + leb(60_000) + b"\0" * 60_001) + b"\x0b",
        b"\0" + (b"\x1c" + leb(60_000) + b"\x7f" * 60_000) + b"\x0b",
        b"\0" + b"\x41\0\x40\0\x1a" * 40_000 + b"\x0b",
    ],
    ids=["locals", "branches", "selects", "growths"],
)
def test_what_would_take_long_to_look_through_is_refused(body: bytes) -> None:
    few, many = leb(2) + (leb(len(body)) + body) * 2, leb(300) + (leb(len(body)) + body) * 300
    scan_code(memoryview(few), 2)
    with pytest.raises(MalformedModule, match="more than 500000 branch targets"):
        scan_code(memoryview(many), 300)


@pytest.mark.parametrize(
    "text",
    [
        "(module (tag $t) (func throw $t))",
        "(module (memory 1 1 shared) (func (drop (i32.atomic.load (i32.const 0)))))",
        "(module (type $s (struct)) (func (drop (struct.new $s))))",
        "(module (func (try_table)))",
    ],
)
def test_instructions_of_other_proposals_are_refused(text: str) -> None:
    with pytest.raises(MalformedModule, match=r"does not accept|no end|declares"):
        scan(text)


@pytest.mark.parametrize(
    "payload", [b"", b"\x01", b"\x01\x02\x00", b"\x01\x02\x00\x01", b"\x01\x03\x00\x0b\x01"]
)
def test_code_that_is_cut_off_is_refused(payload: bytes) -> None:
    with pytest.raises(MalformedModule):
        scan_code(memoryview(payload), 1)
