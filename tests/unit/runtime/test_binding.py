"""The two bindings do the same: every test here runs with both, on guests that ask for much."""

import gc
import logging
import threading
import weakref
from collections.abc import Mapping

import numpy as np
import pytest
from wasmtime import Module

from meshnode.runtime import binding
from meshnode.runtime.abi import Signature
from meshnode.runtime.binding import GuestTrap, HostCall, HostImport, Instance, Linked, NoMemory
from meshnode.runtime.engine import make_engine
from meshnode.runtime.fastcall import FastModule
from meshnode.runtime.guest_memory import GuestMemory
from meshnode.runtime.preflight import read_guest
from meshnode.runtime.public_api import PublicModule
from tests.unit.runtime.support import engine, wat

BINDINGS = ("auto", "public")
FOREVER = 1 << 40
"""Ticks; for calls that end by themselves."""
MEMORY = '(memory (export "memory") 1)'
I32, I64, F32, F64 = b"\x7f", b"\x7e", b"\x7d", b"\x7c"
Calls = Mapping[str, HostCall]


@pytest.fixture(params=BINDINGS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def link(text: str, kind: str) -> Linked:
    wasm = wat(text)
    guest = read_guest(wasm)
    module = Module(engine()[0], wasm)
    made = binding.bind(engine()[0], module, guest.import_types, guest.export_types, binding=kind)
    assert isinstance(made, FastModule if kind == "auto" else PublicModule)
    return made


def start(
    linked: Linked, types: Mapping[str, Signature], calls: Calls, *, pages: int = 4
) -> Instance:
    imports = {("h", name): HostImport(types[name], call) for name, call in calls.items()}
    return linked.instantiate(imports, memory_bytes_max=pages << 16, ticks=FOREVER)


def guest(text: str, kind: str, calls: Calls | None = None, *, pages: int = 4) -> Instance:
    types = {name: s for (_, name), s in read_guest(wat(text)).import_types.items()}
    return start(link(text, kind), types, calls or {}, pages=pages)


def run(text: str, kind: str, *args: int, calls: Calls | None = None) -> int:
    instance = guest(text, kind, calls)
    try:
        return instance.call("run", *args, ticks=FOREVER)
    finally:
        instance.close()


@pytest.mark.parametrize(
    ("types", "args", "wanted"),
    [
        ("(param i32 i32) (result i32) (i32.sub (local.get 0) (local.get 1))", (7, 9), -2),
        ("(param i32) (result i32) (local.get 0)", (0xFFFF_FFFF,), -1),
        ("(param i32) (result i32) (local.get 0)", (-5,), -5),
        ("(param i64) (result i64) (i64.add (local.get 0) (i64.const 1))", (1 << 40,),
         (1 << 40) + 1),
        ("(param i64) (result i64) (local.get 0)", ((1 << 64) - 1,), -1),
        ("(param i64 i32) (result i32) (i32.add (i32.wrap_i64 (local.get 0)) (local.get 1))",
         (1 << 33 | 5, 6), 11),
        ("(result i32) i32.const 3", (), 3),
        ("nop", (), 0),
    ],
)  # fmt: skip
def test_numbers_cross_into_exports_and_back(
    kind: str, types: str, args: tuple[int, ...], wanted: int
) -> None:
    assert run(f'{MEMORY} (func (export "run") {types})', kind, *args) == wanted


def test_numbers_of_every_type_cross_into_imports_and_back(kind: str) -> None:
    seen: list[tuple[object, ...]] = []

    def takes(memory: GuestMemory | None, *args: object) -> int:
        seen.append(args)
        return 0xFFFF_FFFE

    text = f"""
      (import "h" "takes" (func $takes (param i32 i64 f32 f64 i32) (result i32)))
      (import "h" "wide" (func $wide (param i64) (result i64)))
      (import "h" "half" (func $half (param f64) (result f64)))
      (import "h" "none" (func $none))
      (import "h" "some" (func $some (result i32)))
      {MEMORY}
      (func (export "run") (result i32)
        (call $none)
        (if (i64.ne (call $wide (i64.const -2)) (i64.const -3)) (then (return (i32.const 1))))
        (if (f64.ne (call $half (f64.const 5)) (f64.const 2.5)) (then (return (i32.const 2))))
        (if (i32.ne (call $some) (i32.const 77)) (then (return (i32.const 3))))
        (call $takes (i32.const -1) (i64.const -1) (f32.const 0.5) (f64.const -0.25) (i32.const 9)))
    """
    calls: Calls = {
        "takes": takes,
        "wide": lambda _, value: value - 1,
        "half": lambda _, value: value / 2,
        "none": lambda _: None,
        "some": lambda _: 77,
    }
    assert run(text, kind, calls=calls) == -2
    assert seen == [(0xFFFF_FFFF, (1 << 64) - 1, 0.5, -0.25, 9)]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("unreachable", "unreachable"),
        ("(drop (i32.load (i32.const -4)))", "memory out of bounds"),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "integer division by zero"),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", "bad conversion to integer"),
        ("(call_indirect (i32.const 0))", "indirect call to null"),
        ("(call $again)", "stack overflow"),
    ],
)
def test_traps_have_the_same_names(kind: str, body: str, what: str) -> None:
    text = f"""{MEMORY} (table 1 funcref)
      (func $again (call $again) (call $again))
      (func (export "run") {body})"""
    with pytest.raises(GuestTrap) as caught:
        run(text, kind)
    assert caught.value.what == what
    assert not caught.value.out_of_time


def test_a_loop_ends_when_its_ticks_are_over(kind: str) -> None:
    instance = guest(f'{MEMORY} (func (export "run") (loop (br 0)))', kind)
    deadline, tick = engine()[1].begin(0.03)
    try:
        with pytest.raises(GuestTrap) as caught:
            instance.call("run", ticks=tick - engine()[1].ticks.made)
        assert engine()[1].now() >= deadline
    finally:
        engine()[1].leave()
    assert caught.value.out_of_time
    instance.close()


def test_a_call_that_is_prepared_keeps_the_tick_it_was_told_before(kind: str) -> None:
    wasm = wat(f"""{MEMORY}
      (func (export "run") (param i32) (result i32) (local.get 0))
      (func (export "spin") (loop (br 0)))""")
    types, own = read_guest(wasm).export_types, make_engine()
    linked = binding.bind(own, Module(own, wasm), {}, types, binding=kind)
    instance = linked.instantiate({}, memory_bytes_max=1 << 16, ticks=FOREVER)
    seven, spin = instance.prepare("run", 7), instance.prepare("spin")
    assert seven(3) == 7
    for _ in range(2):
        own.increment_epoch()
        assert seven(None) == 7
        assert instance.prepare("run", -1)(None) == -1
    own.increment_epoch()
    for call in (spin, seven):
        with pytest.raises(GuestTrap) as caught:
            call(None)
        assert caught.value.out_of_time
    assert seven(1) == 7
    instance.close()
    with pytest.raises((AssertionError, ValueError)):
        seven(None)
    with pytest.raises((AssertionError, ValueError)):
        seven(1)


def test_memory_grows_up_to_its_limit_for_guest_and_host(kind: str) -> None:
    text = f"""{MEMORY}
      (func (export "run") (param i32) (result i32) (memory.grow (local.get 0)))
      (func (export "poke") (param i32) (i32.store8 (local.get 0) (i32.const 7)))"""
    instance = guest(text, kind, pages=3)
    memory = instance.memory
    base = memory.base
    assert memory.slice(65535, 2) is None
    assert instance.call("run", 1, ticks=FOREVER) == 1
    assert memory.slice(65535, 2) is not None
    assert memory.grow(1) == 2 << 16
    assert (memory.size, memory.base) == (3 << 16, base)
    instance.call("poke", (3 << 16) - 1, ticks=FOREVER)
    last = memory.slice((3 << 16) - 1, 1)
    assert last is not None
    assert last[0] == 7
    assert instance.call("run", 1, ticks=FOREVER) == -1
    with pytest.raises(NoMemory):
        memory.grow(1)
    instance.close()
    assert memory.slice(0, 1) is None


def test_more_memory_than_the_limit_cannot_be_declared(kind: str) -> None:
    with pytest.raises(GuestTrap):
        guest('(memory (export "memory") 9)', kind)


def test_the_start_function_may_call_the_host_before_exports_are_known(kind: str) -> None:
    said: list[bytes] = []

    def say(memory: GuestMemory | None, pointer: int, size: int) -> None:
        assert memory is not None
        view = memory.slice(pointer, size)
        assert view is not None
        said.append(view.tobytes())

    text = f"""(import "h" "say" (func $say (param i32 i32))) {MEMORY}
      (data (i32.const 9) "early") (start $s) (func $s (call $say (i32.const 9) (i32.const 5)))
      (func (export "run") (call $say (i32.const 10) (i32.const 4)))"""
    run(text, kind, calls={"say": say})
    assert said == [b"early", b"arly"]


class Bug(Exception):
    pass


def failing(_: GuestMemory | None) -> int:
    raise Bug("in the host")


CALLS_OUT = f"""(import "h" "f" (func $f (result i32))) {MEMORY}
  (func (export "run") (result i32) (drop (call $f)) (loop (br 0)) unreachable)
  (func (export "short") (result i32) (call $f))"""


def test_what_a_host_function_raises_ends_the_guest_and_comes_out(kind: str) -> None:
    for export in ("run", "short"):
        instance = guest(CALLS_OUT, kind, {"f": failing})
        with pytest.raises(Bug, match="in the host"):
            instance.call(export, ticks=FOREVER)
        instance.close()
    starting = f"""(import "h" "f" (func $f (result i32))) {MEMORY}
      (func $s (drop (call $f)) (loop (br 0))) (start $s)"""
    with pytest.raises(Bug):
        guest(starting, kind, {"f": failing})


def test_a_host_function_can_end_the_guest(kind: str) -> None:
    ended: list[int] = []
    text = f"""(import "h" "exit" (func $exit (param i32))) {MEMORY}
      (func (export "run") (param i32) (call $exit (local.get 0)) (loop (br 0)))"""
    signature = Signature(I32, b"")
    call = HostImport(signature, lambda _, status: ended.append(status), ends=True)
    instance = link(text, kind).instantiate(
        {("h", "exit"): call}, memory_bytes_max=1 << 16, ticks=FOREVER
    )
    with pytest.raises(GuestTrap, match="ended by itself"):
        instance.call("run", 3, ticks=FOREVER)
    assert ended == [3]
    instance.close()


def test_a_host_function_may_call_another_guest_and_the_same_one(kind: str) -> None:
    text = f"""(import "h" "f" (func $f (param i32) (result i32))) {MEMORY}
      (func (export "run") (param i32) (result i32)
        (i32.add (call $f (local.get 0)) (call $f (i32.const 100))))
      (func (export "trap") unreachable)"""
    inner = guest(text, kind, {"f": lambda _, value: value + 1})
    outer: list[Instance] = []

    def f(_: GuestMemory | None, value: int) -> int:
        if value >= 100:
            with pytest.raises(GuestTrap):
                outer[0].call("trap", ticks=FOREVER)
            return 1000
        return inner.call("run", value, ticks=FOREVER)

    outer.append(guest(text, kind, {"f": f}))
    assert outer[0].call("run", 5, ticks=FOREVER) == (6 + 101) + 1000
    outer[0].close()
    inner.close()


def test_threads_reach_their_own_host_functions_through_one_linked_module(kind: str) -> None:
    text = f"""(import "h" "f" (func $f (param i32) (result i32))) {MEMORY}
      (func (export "run") (param i32) (result i32) (call $f (local.get 0)))"""
    linked = link(text, kind)
    outcomes: dict[int, list[object]] = {own: [] for own in range(8)}
    barrier = threading.Barrier(len(outcomes))

    def work(own: int) -> None:
        def f(_: GuestMemory | None, value: int) -> int:
            if value == 49:
                raise Bug(own)
            return value * 8 + own

        barrier.wait()
        for _ in range(4):
            instance = start(linked, {"f": Signature(I32, I32)}, {"f": f})
            for value in range(50):
                try:
                    outcomes[own].append(instance.call("run", value, ticks=FOREVER))
                except Bug as error:
                    outcomes[own].append(error.args)
            instance.close()

    threads = [threading.Thread(target=work, args=(own,)) for own in outcomes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for own, got in outcomes.items():
        assert got == [*(value * 8 + own for value in range(49)), (own,)] * 4


def test_nothing_is_left_of_instances_and_calls() -> None:
    text = f"""(import "h" "f" (func $f (param i32 i32) (result i32))) {MEMORY}
      (func (export "run") (param i32) (result i32) (call $f (local.get 0) (i32.const 1)))
      (func (export "trap") unreachable)"""
    linked, types = link(text, "auto"), {"f": Signature(I32 * 2, I32)}
    # Each instance is dropped and not closed, and no cycle keeps it.
    gone: list[weakref.ref[Instance]] = []

    def lives() -> None:
        instance = start(linked, types, {"f": lambda _, a, b: a + b})
        for value in range(10):
            assert instance.call("run", value, ticks=FOREVER) == value + 1
        with pytest.raises(GuestTrap):
            instance.call("trap", ticks=FOREVER)
        gone.append(weakref.ref(instance))

    steady = start(linked, types, {"f": lambda _, a, b: a + b})
    for _ in range(10):
        lives()
    gc.collect()
    gc.disable()
    try:
        objects, resident = len(gc.get_objects()), _resident()
        for _ in range(300):
            lives()
        for value in range(20_000):
            steady.call("run", value, ticks=FOREVER)
        assert len(gc.get_objects()) - objects < 400  # the weak references
        assert all(ref() is None for ref in gone)
    finally:
        gc.enable()
    assert _resident() - resident < 8 << 20


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_a_guest_that_calls_from_every_depth_of_its_stack_is_answered() -> None:
    text = f"""(import "h" "f" (func $f (param i32) (result i32))) {MEMORY}
      (func $down (param i32) (result i32)
        (if (i32.eqz (local.get 0)) (then (return (i32.const 0))))
        (i32.add (call $f (local.get 0)) (call $down (i32.sub (local.get 0) (i32.const 1)))))
      (func (export "run") (param i32) (result i32) (call $down (local.get 0)))"""
    assert run(text, "auto", 500, calls={"f": lambda _, value: value}) == 500 * 501 // 2


def test_another_wasmtime_is_called_by_its_public_interface(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    binding.fast.cache_clear()
    monkeypatch.setattr(binding, "version", lambda _: "51.0.0")
    wasm = wat(MEMORY)
    module = Module(engine()[0], wasm)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            made = binding.bind(engine()[0], module, {}, {}, binding="auto")
            assert isinstance(made, PublicModule)
    assert [r.getMessage() for r in caplog.records] == [
        "guests are called through wasmtime's public interface, which is slower: "
        "the fast one is for wasmtime 50.x, installed is 51.0.0"
    ]
    binding.fast.cache_clear()


def test_the_memory_is_writable_and_shared_with_the_guest(kind: str) -> None:
    text = f"""{MEMORY} (func (export "run") (param i32) (result i32)
      (i32.load (local.get 0)))"""
    instance = guest(text, kind)
    view = instance.memory.slice(64, 4)
    assert view is not None
    view[:] = np.array([258], np.int32).view(np.uint8)
    assert instance.call("run", 64, ticks=FOREVER) == 258
    assert instance.memory.base + 64 == view.ctypes.data
    instance.close()
