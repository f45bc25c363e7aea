"""Lanes: what is warm stays within the budget, is closed when nobody uses it, unless pinned."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import trio

from meshnode.batching.settings import BatchingSettings
from meshnode.caps import Caps
from meshnode.errors import CannotRunHere, ColdHere, NodeStopping, Overloaded, SelfTestFailed
from meshnode.ids import ContentHash, NodeId, PublicKey
from meshnode.modules.manifest import Limits, Manifest, SelfTest
from meshnode.node.lanes import Lanes, LanesBudget
from meshnode.node.library import ModuleInfo, Present
from meshnode.node.unfit import UNFIT_S, Unfit
from meshnode.node.worker import LANE
from meshnode.placement.observe import LoadMeter
from meshnode.placement.settings import PlacementSettings
from meshnode.runtime.runtime import Runtime
from meshnode.runtime.settings import RuntimeSettings
from meshnode.wire.limits import KIB, MIB
from tests.unit.runtime.support import ALL, SEED_HEAD, dist, manifest, seed_guest

A, B, C, D = (ContentHash(bytes([n]) * 32) for n in (1, 2, 3, 4))
ECHO = manifest(required=Caps.CPU, limits=Limits(memory_bytes=MIB))
ROOM = LanesBudget(instances_max=3, memory_bytes_max=64 * MIB, cores=2)


class Shelf:
    """A library in which every module is present: echo, unless told otherwise."""

    def __init__(self, **others: tuple[bytes, Manifest]) -> None:
        self.others = {bytes.fromhex(key[1:]): value for key, value in others.items()}

    async def ensure(self, module: ContentHash) -> Present:
        wasm, about = self.others.get(bytes(module[:1]), (dist("echo"), ECHO))
        info = ModuleInfo(module, about, PublicKey(b"p" * 32), len(wasm))
        return Present(info, wasm, {}, {})


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    cache = tmp_path_factory.mktemp("aot")
    return Runtime(RuntimeSettings(), cache_dir=cache, mac_key=b"k" * 32, caps=ALL)


@asynccontextmanager
async def opened(
    runtime: Runtime,
    budget: LanesBudget = ROOM,
    shelf: Any = None,
    unfit: Unfit | None = None,
) -> AsyncIterator[Lanes]:
    async with trio.open_nursery() as nursery:
        lanes = Lanes(
            shelf or Shelf(),
            runtime,
            LoadMeter(NodeId(b"n" * 32), speed=100),
            nursery=nursery,
            settings=BatchingSettings(),
            budget=budget,
            unfit=unfit or Unfit(),
        )
        nursery.start_soon(lanes.unload_idle)
        yield lanes
        ours = [t for t in threading.enumerate() if t.name.startswith(LANE)]
        await lanes.close_all()
        for thread in ours:  # it has said its last word, so this is no wait
            thread.join(timeout=10)
            assert not thread.is_alive()
        nursery.cancel_scope.cancel()
    assert lanes.memory_bytes == 0


async def warm(lanes: Lanes, *modules: ContentHash) -> None:
    for module in modules:
        lane, cold_us = await lanes.get(module)
        assert cold_us >= 0
        row = {"x": np.ones((1, 4), np.float32)}
        await lane.predict(row, run_by=trio.current_time() + 60)


async def test_a_warm_module_is_not_loaded_again(runtime: Runtime) -> None:
    async with opened(runtime) as lanes:
        lane, cold_us = await lanes.get(A)
        assert cold_us > 0
        assert await lanes.get(A) == (lane, 0)
        assert lanes.memory_bytes >= 64 * KIB


async def test_callers_of_a_cold_module_share_its_load(runtime: Runtime) -> None:
    found = set()

    async def caller(lanes: Lanes) -> None:
        found.add((await lanes.get(A))[0])

    async with opened(runtime) as lanes, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(caller, lanes)
    assert len(found) == 1


async def test_a_load_is_waiting_for_all_and_its_module_is_as_good_as_warm(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(runtime) as lanes:
        await lanes.get(A)
        began, may_end = threading.Event(), threading.Event()
        load = runtime.load

        def held_up(*args: Any) -> Any:
            began.set()
            assert may_end.wait(60)
            return load(*args)

        monkeypatch.setattr(runtime, "load", held_up)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: lanes.get(B))
            assert await trio.to_thread.run_sync(began.wait, 60)
            assert lanes.ready == (A, B)
            assert lanes._meter.wait_ms(trio.current_time()) > 0
            with pytest.raises(ColdHere) as closed:
                await lanes.get(C, cold_refusals=0)
            assert closed.value.retry_after_ms is not None
            assert closed.value.retry_after_ms > 0
            may_end.set()
        assert lanes.ready == lanes.warm == (A, B)
        assert lanes._meter.wait_ms(trio.current_time()) == 0.0


async def test_a_request_begins_no_second_load_until_it_was_refused_often(
    runtime: Runtime, mock_clock: trio.testing.MockClock
) -> None:
    async with opened(runtime) as lanes:
        await lanes.get(A, cold_refusals=0)
        with pytest.raises(ColdHere, match="just now"):
            await lanes.get(B, cold_refusals=0)
        assert (await lanes.get(A, cold_refusals=0))[1] == 0, "what is warm is served"
        assert lanes.warm == (A,)
        await lanes.get(B, cold_refusals=PlacementSettings().cold_refusals_max)
        await lanes.get(C)  # a pin has its way
        mock_clock.jump(10.0)
        await lanes.get(D, cold_refusals=0)
        assert D in lanes.warm


async def test_the_least_recently_used_makes_room_and_the_pinned_stays(runtime: Runtime) -> None:
    async with opened(runtime, replace(ROOM, instances_max=2)) as lanes:
        await warm(lanes, A, B, A)
        await warm(lanes, C)
        assert lanes.warm == (A, C)
        lanes.pin(A)
        await warm(lanes, B)
        assert lanes.warm == (A, B)
        lanes.pin(B)
        with pytest.raises(Overloaded, match="2 module instances"):
            await lanes.get(C)


async def test_bytes_make_room_too(runtime: Runtime) -> None:
    async with opened(runtime, replace(ROOM, memory_bytes_max=MIB + 100 * KIB)) as lanes:
        await warm(lanes, A)
        await warm(lanes, B)
        assert lanes.warm == (B,)
        lanes.pin(B)
        with pytest.raises(Overloaded, match="leave no"):
            await lanes.get(C)


async def test_what_can_never_fit_is_refused_before_it_is_loaded(runtime: Runtime) -> None:
    wide = replace(ECHO, limits=Limits(memory_bytes=80 * MIB))
    async with opened(runtime, shelf=Shelf(x01=(dist("echo"), wide))) as lanes:
        with pytest.raises(CannotRunHere, match="in all"):
            await lanes.get(A)
        assert not lanes.warm


async def test_a_module_whose_instance_may_grow_too_large_is_refused_before_it_is_loaded(
    runtime: Runtime,
) -> None:
    async with opened(runtime, replace(ROOM, linear_bytes_max=64 * KIB)) as lanes:
        with pytest.raises(CannotRunHere, match="this node gives one 64 KiB"):
            await lanes.get(A)
        assert lanes.warm == ()


async def test_idle_modules_are_unloaded_and_pinned_ones_are_not(
    runtime: Runtime, mock_clock: trio.testing.MockClock
) -> None:
    async with opened(runtime, replace(ROOM, idle_s_max=60.0)) as lanes:
        await warm(lanes, A, B)
        lanes.pin(B)
        for _ in range(9):
            mock_clock.jump(6.0)
            await trio.testing.wait_all_tasks_blocked()
        assert lanes.warm == (A, B)
        await warm(lanes, A)
        for _ in range(12):
            mock_clock.jump(6.0)
            await trio.testing.wait_all_tasks_blocked()
        assert lanes.warm == (B,)
        await warm(lanes, A)


async def test_modules_that_grew_beyond_the_budget_make_room(
    runtime: Runtime, mock_clock: trio.testing.MockClock
) -> None:
    grows = seed_guest("(drop (memory.grow (i32.const 8))) i32.const 0")
    about = replace(ECHO, limits=Limits(memory_bytes=2 * MIB))
    shelf = Shelf(x01=(grows, about), x02=(grows, about))
    tight = replace(ROOM, memory_bytes_max=3 * MIB)
    async with opened(runtime, tight, shelf) as lanes:
        await warm(lanes, A, B)
        assert lanes.warm == (A, B), "when they came, both fitted"
        for _ in range(3):
            await warm(lanes, A, B)
        assert lanes.memory_bytes > tight.memory_bytes_max
        mock_clock.jump(11.0)
        await trio.testing.wait_all_tasks_blocked()
        assert lanes.warm == (B,)


async def test_a_module_that_fails_its_own_test_leaves_nothing_behind(runtime: Runtime) -> None:
    x = np.ones((1, 4), np.float32).tobytes()
    lying = replace(ECHO, self_tests=(SelfTest(inputs=(x,), outputs=(bytes(16),)),))
    unfit, told = Unfit(), list[ContentHash]()
    unfit.on_failed = told.append
    async with opened(runtime, shelf=Shelf(x01=(dist("echo"), lying)), unfit=unfit) as lanes:
        with pytest.raises(SelfTestFailed):
            await lanes.get(A)
        now = trio.current_time()
        assert "self-test 1" in unfit.reason(A, now)
        with pytest.raises(SelfTestFailed) as again:
            await lanes.get(A)
        assert "tried here again" in again.value.because[-1]
        assert told == [A]  # it was tried once
        assert not lanes.warm
        await warm(lanes, B)
        assert not unfit.reason(A, now + UNFIT_S + 1)


async def test_the_guest_runs_on_a_thread_whose_stack_holds_it(runtime: Runtime) -> None:
    """`init` recurses until wasmtime's own limit stops it, not the thread's."""
    deep = seed_guest(
        "i32.const 0",
        SEED_HEAD.replace("i32.const 0", "(call $down (i32.const 0))")
        + "(func $down (param i32) (result i32)"
        " (i32.add (i32.const 1) (call $down (i32.add (local.get 0) (i32.const 1)))))",
    )
    async with opened(runtime, shelf=Shelf(x01=(deep, ECHO))) as lanes:
        with pytest.raises(Exception, match="stack overflow"):
            await lanes.get(A)
        await warm(lanes, B)


async def test_a_node_that_stops_takes_no_more(runtime: Runtime) -> None:
    async with opened(runtime) as lanes:
        await warm(lanes, A)
        lanes.stop_taking()
        with pytest.raises(NodeStopping):
            await lanes.get(A)
        await lanes.wait_idle()
