from time import perf_counter

import pytest

from meshnode.errors import GuestStatus, MemoryLimit, TimeLimit, Trapped
from tests.unit.runtime.support import SEED_HEAD, manifest, sandbox, seed_guest, wat

LIMIT_S = 0.1


def run(predict: str, *args: int) -> int:
    box = sandbox(seed_guest(predict))
    try:
        return box.call("predict", *args)
    finally:
        box.close()


def test_arguments_and_results_cross() -> None:
    assert run("(i32.sub (local.get $in) (local.get $out))", 7, 0, 4, 0) == 3
    assert run("local.get $in", 0xFFFF_FFFF, 0, 0, 0) == -1


@pytest.mark.parametrize(
    "predict",
    [
        "(loop (br 0)) unreachable",
        "(return_call $again (i32.const 0))",
        "(loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (br 0)) unreachable",
    ],
)
def test_a_loop_is_stopped_at_its_limit(predict: str) -> None:
    head = SEED_HEAD + "(func $again (param i32) (result i32) (return_call $again (local.get 0)))"
    box = sandbox(seed_guest(predict, head))
    started = perf_counter()
    with pytest.raises(TimeLimit, match="limit of 100 ms"):
        box.call("predict", 0, 0, 0, 0)
    assert LIMIT_S <= perf_counter() - started < LIMIT_S + 0.5
    assert not box.alive
    box.close()


def test_a_loop_after_many_calls_of_the_same_tick_is_stopped_at_its_limit() -> None:
    count = "(i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))"
    loop = "(if (i32.eq (i32.load (i32.const 0)) (i32.const 400)) (then (loop (br 0))))"
    box = sandbox(seed_guest(f"{count} {loop} (i32.load (i32.const 0))"))
    call = box.prepare("predict", 0, 0, 0, 0)
    for number in range(1, 400):
        assert call() == number
    started = perf_counter()
    with pytest.raises(TimeLimit, match="limit of 100 ms"):
        call()
    assert perf_counter() - started >= LIMIT_S
    assert not box.alive
    box.close()


def test_recursion_ends_at_the_stack_limit() -> None:
    head = (
        SEED_HEAD
        + "(func $f (param i32) (result i32) (i32.add (call $f (local.get 0)) (i32.const 1)))"
    )
    box = sandbox(seed_guest("(call $f (i32.const 0))", head))
    with pytest.raises(Trapped, match="stack overflow") as caught:
        box.call("predict", 0, 0, 0, 0)
    assert "its stack may have 512 KiB" in caught.value.because
    box.close()


@pytest.mark.parametrize(
    "predict",
    [
        "(loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable",
        "(if (i32.lt_s (memory.grow (i32.const 60000)) (i32.const 0)) (then (unreachable)))"
        " i32.const 0",
        "(loop (drop (memory.grow (i32.const 1))) (br 0)) unreachable",
    ],
    ids=["step by step", "at once", "and never ending"],
)
def test_memory_that_was_refused_is_the_reason_given(predict: str) -> None:
    box = sandbox(seed_guest(predict))
    with pytest.raises(MemoryLimit, match="limit of 2 MiB"):
        box.call("predict", 0, 0, 0, 0)
    assert box.memory_bytes <= 2 << 20
    box.close()


def test_a_refusal_that_the_guest_reports_is_named_too() -> None:
    box = sandbox(seed_guest("(drop (memory.grow (i32.const 60000))) i32.const -3"))
    assert box.call("predict", 0, 0, 0, 0) == -3
    assert isinstance(box.failure("predict", -3), MemoryLimit)
    assert isinstance(box.failure("predict", -3), GuestStatus)
    box.close()


@pytest.mark.parametrize(
    ("predict", "what"),
    [
        ("unreachable", "unreachable"),
        ("(i32.load (i32.const -4))", "memory out of bounds"),
        ("(i32.div_s (i32.const 1) (i32.const 0))", "integer division by zero"),
    ],
)
def test_traps_are_named(predict: str, what: str) -> None:
    with pytest.raises(Trapped, match=what):
        run(predict, 0, 0, 0, 0)


def test_an_endless_start_function_is_stopped() -> None:
    wasm = seed_guest("i32.const 0", SEED_HEAD + "(func $s (loop (br 0))) (start $s)")
    with pytest.raises(TimeLimit) as caught:
        sandbox(wasm)
    assert caught.value.because == ("in the start function",)


def test_init_that_fails_or_loops_is_told() -> None:
    failing = SEED_HEAD.replace("i32.const 0", "i32.const 5")
    with pytest.raises(GuestStatus, match=r"init returned 5 \(runtime_error\)"):
        sandbox(seed_guest("i32.const 0", failing))
    looping = SEED_HEAD.replace("i32.const 0", "(loop (br 0)) unreachable")
    with pytest.raises(TimeLimit):
        sandbox(seed_guest("i32.const 0", looping))


def test_a_data_segment_outside_memory_is_a_trap() -> None:
    with pytest.raises(Trapped, match="memory out of bounds"):
        sandbox(seed_guest("i32.const 0", SEED_HEAD + '(data (i32.const 65535) "abc")'))


def test_infer_guests_need_no_init() -> None:
    wasm = wat(
        '(memory (export "memory") 1)'
        '(func (export "infer") (param i32 i32 i32 i32) (result i32) i32.const 6)'
    )
    box = sandbox(wasm, manifest(abi="infer"))
    assert box.call("infer", 0, 0, 0, 0) == 6
    box.close()
