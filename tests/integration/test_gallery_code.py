"""Gallery: code that never ends, or digs until the stack is gone, wherever a guest is called."""

import threading
from time import perf_counter

import pytest

from meshnode.errors import MeshnodeError, TimeLimit, Trapped
from meshnode.runtime.runtime import LoadedModule
from meshnode.wire.limits import KIB
from tests.integration.gallery import (
    OVERRUN_S,
    RUN_MS,
    Node,
    answered,
    asked,
    choosing,
    failed,
    limited,
    number,
)
from tests.unit.runtime.support import SEED_HEAD, seed_guest, wat

pytestmark = pytest.mark.integration

IMPORTS = """
  (import "meshnode" "query_caps" (func $caps (result i32)))
  (import "meshnode" "log" (func $log (param i32 i32 i32)))
  (import "meshnode" "model_open" (func $open (param i32 i32) (result i32)))
"""
FUNCTIONS = """
  (table 4 funcref) (elem (i32.const 0) $indirect $again)
  (type $step (func (param i32) (result i32)))
  (func $loop (loop $l (br $l)))
  (func $counting (local $i i64)
    (loop $l (local.set $i (i64.add (local.get $i) (i64.const 1))) (br_if $l (i32.const 1))))
  (func $table_loop (loop $l (br_table $l $l (i32.const 7))))
  (func $tail (param i32) (result i32) (return_call $tail (local.get 0)))
  (func $ping (param i32) (result i32) (return_call $pong (i32.add (local.get 0) (i32.const 1))))
  (func $pong (param i32) (result i32) (return_call $ping (local.get 0)))
  (func $indirect (param i32) (result i32)
    (return_call_indirect (type $step) (local.get 0) (i32.const 0)))
  (func $deep (param i32) (result i32)
    (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))
  (func $again (param i32) (result i32)
    (i32.add (i32.const 1) (call_indirect (type $step) (local.get 0) (i32.const 1))))
  (func $wide (param f64 f64 f64 f64 f64 f64 f64 f64 f64 f64) (result f64)
    (f64.add (local.get 0) (call $wide (local.get 1) (local.get 2) (local.get 3) (local.get 4)
      (local.get 5) (local.get 6) (local.get 7) (local.get 8) (local.get 9) (local.get 0))))
  (func $deep_with_host (param i32) (result i32)
    (call $log (i32.const 1) (i32.const 0) (i32.const 16))
    (drop (call $open (i32.const 0) (i32.const 16)))
    (i32.add (call $caps) (call $deep_with_host (local.get 0))))
  (func $fib (param i32) (result i32)
    (if (result i32) (i32.lt_u (local.get 0) (i32.const 2)) (then (local.get 0))
      (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                     (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
  (func $host_loop (loop $l
    (drop (call $caps)) (call $log (i32.const 1) (i32.const 0) (i32.const 9)) (br $l)))
  (func $fill (loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (br $l)))
  (func $copy (loop $l (memory.copy (i32.const 1) (i32.const 0) (i32.const 65535)) (br $l)))
"""
ENDLESS = {
    "a loop": "(call $loop)",
    "a loop that counts": "(call $counting)",
    "a loop by branch table": "(call $table_loop)",
    "a tail call of itself": "(drop (call $tail (i32.const 0)))",
    "two that call each other last": "(drop (call $ping (i32.const 0)))",
    "an indirect tail call": "(drop (call $indirect (i32.const 0)))",
    "exponential recursion": "(drop (call $fib (i32.const 60)))",
    "calls of the host": "(call $host_loop)",
    "memory.fill": "(call $fill)",
    "memory.copy": "(call $copy)",
}
DEEP = {
    "recursion": "(drop (call $deep (i32.const 0)))",
    "indirect recursion": "(drop (call $again (i32.const 0)))",
    "wide frames": f"(drop (call $wide {'(f64.const 1)' * 10}))",
    "recursion with host calls": "(drop (call $deep_with_host (i32.const 0)))",
}
ATTACKS = ENDLESS | DEEP
NUMBER = {name: i for i, name in enumerate(ATTACKS, 1)}


@pytest.fixture(scope="module")
def digger(one_node: Node) -> LoadedModule:
    return one_node.load(seed_guest(choosing(ATTACKS), IMPORTS + SEED_HEAD + FUNCTIONS))


@pytest.mark.parametrize("attack", ENDLESS)
def test_a_predict_that_never_ends_is_stopped(
    node: Node, digger: LoadedModule, attack: str
) -> None:
    started = perf_counter()
    error = failed(digger, number(NUMBER[attack]))
    assert RUN_MS / 1000 <= perf_counter() - started < OVERRUN_S
    assert isinstance(error, TimeLimit)
    assert f"limit of {RUN_MS} ms" in error.message
    assert error.because == ("in predict",)
    answered(digger, number(0))


@pytest.mark.parametrize("attack", DEEP)
def test_a_predict_that_digs_meets_the_end_of_its_stack(
    node: Node, digger: LoadedModule, attack: str
) -> None:
    error = failed(digger, number(NUMBER[attack]))
    if attack == "recursion with host calls" and isinstance(error, TimeLimit):
        return  # thousands of host calls on the way down may take longer than the limit
    assert isinstance(error, Trapped)
    assert "stack overflow" in error.message
    assert error.because == ("in predict", "its stack may have 512 KiB")
    answered(digger, number(0))


@pytest.mark.parametrize("kib", [128, 512])
@pytest.mark.parametrize("attack", ["recursion", "wide frames", "exponential recursion"])
def test_digging_on_a_thread_with_a_small_stack_ends_the_same(
    node: Node, digger: LoadedModule, attack: str, kib: int
) -> None:
    found: list[object] = []
    before = threading.stack_size(kib * KIB)
    try:
        thread = threading.Thread(
            target=lambda: found.append(asked(digger, number(NUMBER[attack])))
        )
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    assert isinstance(found[0], TimeLimit if attack in ENDLESS else Trapped)


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("the start function", "(start $loop)"),
        ("_initialize", '(export "_initialize" (func $loop))'),
    ],
)
def test_what_never_ends_before_init_is_stopped_too(node: Node, where: str, text: str) -> None:
    started = perf_counter()
    with pytest.raises(TimeLimit, match=f"limit of {RUN_MS} ms") as caught:
        node.load(seed_guest("i32.const 0", IMPORTS + SEED_HEAD + FUNCTIONS + text))
    assert perf_counter() - started < 4 * OVERRUN_S  # a compilation is in it
    assert caught.value.because == (f"in {where}",)


def test_a_start_function_that_digs_is_stopped(node: Node) -> None:
    start = "(start $go) (func $go (drop (call $deep (i32.const 0))))"
    with pytest.raises(Trapped, match="stack overflow"):
        node.load(seed_guest("i32.const 0", IMPORTS + SEED_HEAD + FUNCTIONS + start))


def test_an_init_that_digs_is_stopped(node: Node) -> None:
    init = SEED_HEAD.replace("i32.const 0", "(call $deep (i32.const 0))")
    with pytest.raises(Trapped, match="stack overflow"):
        node.load(seed_guest("i32.const 0", IMPORTS + init + FUNCTIONS))


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("(loop $l (br $l)) i32.const 0", TimeLimit),
        ("unreachable", Trapped),
        ("i32.const -64", MeshnodeError),  # an address where nothing is
        ("i32.const 0", MeshnodeError),
        ("i32.const 65535", MeshnodeError),
    ],
)
def test_an_alloc_that_attacks_fails_the_request(
    node: Node, body: str, error: type[MeshnodeError]
) -> None:
    alloc = f'(func (export "alloc") (param i32) (result i32) {body})'
    loaded = node.load(seed_guest("i32.const 0", SEED_HEAD + alloc))
    for _ in range(2):
        assert isinstance(failed(loaded), error)
    loaded.close()


def test_an_infer_that_never_ends_is_stopped(node: Node) -> None:
    infer = (
        '(func (export "infer") (param i32 i32 i32 i32) (result i32) (loop $l (br $l)) i32.const 0)'
    )
    loaded = node.load(wat('(memory (export "memory") 1)' + infer), limited(abi="infer"))
    error = failed(loaded)
    assert isinstance(error, TimeLimit)
    assert error.because == ("in infer",)
    loaded.close()


def test_a_guest_that_loops_in_many_threads_holds_up_nobody(node: Node) -> None:
    """Each lane has an instance of its own; all are stopped by the one ticker."""
    guests = [
        node.load(seed_guest("(loop $l (br $l)) i32.const 0", SEED_HEAD), limited(name=f"spin{i}"))
        for i in range(4)
    ]
    ended: list[MeshnodeError] = []
    threads = [threading.Thread(target=lambda g=g: ended.append(failed(g))) for g in guests]
    for thread in threads:
        thread.start()
    node.neighbour_answers()
    for thread in threads:
        thread.join()
    assert [type(error) for error in ended] == [TimeLimit] * 4
