"""Lane: real modules in their own thread; batches, failures, sources, deadlines, cancellation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import trio

from meshnode.batching.settings import BatchingSettings
from meshnode.caps import Caps
from meshnode.errors import (
    DeadlineExceeded,
    GivenUp,
    MeshnodeError,
    Overloaded,
    OverShare,
    Trapped,
)
from meshnode.ids import ContentHash, NodeId, NodeTag
from meshnode.modules.manifest import Manifest
from meshnode.node.lane import Lane, LaneParts
from meshnode.node.pretence import Pretence
from meshnode.node.queued import Answer, Asker
from meshnode.node.turns import Turns
from meshnode.node.worker import Worker
from meshnode.placement.observe import LoadMeter
from meshnode.runtime.runtime import Runtime
from meshnode.runtime.settings import RuntimeSettings
from tests.unit.runtime.support import ALL, dist, manifest, seed_guest
from tests.unit.runtime.test_runtime import TELLTALE

MODULE = ContentHash(b"m" * 32)
ECHO = manifest(batch=True, required=Caps.CPU)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    cache = tmp_path_factory.mktemp("aot")
    return Runtime(RuntimeSettings(), cache_dir=cache, mac_key=b"k" * 32, caps=ALL)


@asynccontextmanager
async def lane_of(
    runtime: Runtime,
    wasm: bytes,
    about: Manifest,
    *,
    slowdown: float = 1.0,
    run_s: float = 0.0,
    settings: BatchingSettings | None = None,
) -> AsyncIterator[Lane]:
    async with trio.open_nursery() as nursery:
        worker = Worker("test-lane")
        loaded = await worker.run(lambda: runtime.load(wasm, about, {}))
        parts = LaneParts(
            meter=LoadMeter(NodeId(b"n" * 32), speed=100),
            turns=Turns(2),
            nursery=nursery,
            pretence=Pretence(slowdown=slowdown, run_s=run_s),
            note_came=lambda: None,
            note_finished=lambda: None,
        )
        lane = Lane(MODULE, loaded, worker, parts, settings or BatchingSettings())
        nursery.start_soon(lane.run)
        yield lane
        assert parts.meter.wait_ms(trio.current_time()) == 0.0, "the account of load is settled"
        assert lane.idle
        nursery.cancel_scope.cancel()
    lane.close()


def rows(value: float, count: int = 1) -> dict[str, np.ndarray]:
    return {"x": np.full((count, 4), value, np.float32)}


async def ask(
    lane: Lane, value: float, outcomes: dict[float, object], *, source: str = "", s: float = 30.0
) -> None:
    try:
        answer = await lane.predict(
            rows(value),
            run_by=trio.current_time() + s,
            rows=1,
            asker=Asker(source=source, flow=("peer", source)),
        )
        outcomes[value] = (float(answer.arrays["y"][0, 0]), answer.batch)
    except MeshnodeError as error:
        outcomes[value] = error


async def test_a_request_is_answered_with_where_its_time_went(runtime: Runtime) -> None:
    async with lane_of(runtime, dist("echo"), ECHO) as lane:
        answer = await lane.predict(rows(3.0, 5), run_by=trio.current_time() + 9, rows=5)
        assert answer.arrays["y"].shape == (5, 4)
        assert answer.batch == 1
        assert answer.timing.run_us > 0
        assert lane.memory_bytes > 0


async def test_what_waits_is_given_to_an_idle_node_and_what_runs_is_not(runtime: Runtime) -> None:
    one, outcomes = BatchingSettings(batch_max=1), {}
    caller = NodeTag(b"idle-one")

    async def ask_movable(value: float, *, movable: bool) -> None:
        try:
            run_by = trio.current_time() + 60
            outcomes[value] = await lane.predict(
                rows(value), run_by=run_by, asker=Asker(movable=movable)
            )
        except GivenUp as error:
            outcomes[value] = error

    async with (
        lane_of(runtime, dist("echo"), ECHO, run_s=0.3, settings=one) as lane,
        trio.open_nursery() as callers,
    ):
        callers.start_soon(lambda: ask_movable(0.0, movable=True))
        while lane.idle or lane.queue(trio.current_time()):
            await trio.lowlevel.checkpoint()
        for value in (1.0, 2.0):
            callers.start_soon(lambda v=value: ask_movable(v, movable=v == 1.0))
        while len(queue := lane.queue(trio.current_time())) < 2:
            await trio.lowlevel.checkpoint()
        assert 0 < queue[0].completes_ms < queue[1].completes_ms
        (movable,) = (w for w in queue if w.movable)
        lane.give_up(movable.request, caller)
    error = outcomes.pop(1.0)
    assert isinstance(error, GivenUp)
    assert error.instead == caller
    assert all(isinstance(answer, Answer) for answer in outcomes.values())
    assert len(outcomes) == 2


async def test_what_gathers_runs_together_and_each_gets_its_own(runtime: Runtime) -> None:
    outcomes: dict[float, object] = {}
    async with lane_of(runtime, dist("echo"), ECHO, slowdown=3.0) as lane:
        largest = 0
        for _ in range(4):
            async with trio.open_nursery() as callers:
                for value in range(12):
                    callers.start_soon(ask, lane, float(value), outcomes)
            assert {v: o[0] for v, o in outcomes.items()} == {float(v): float(v) for v in range(12)}  # type: ignore[index]
            largest = max(largest, *(o[1] for o in outcomes.values()))  # type: ignore[index]
        assert largest > 1, "sizes are tried, whatever is found to pay in the end"


# Echoes its input and traps if 13 is anywhere in it.
UNLUCKY = """
  local.get $out local.get $in local.get $in_len i32.const 4 i32.mul memory.copy
  block loop
    local.get $in_len i32.eqz br_if 1
    local.get $in f32.load f32.const 13 f32.eq if unreachable end
    local.get $in i32.const 4 i32.add local.set $in
    local.get $in_len i32.const 1 i32.sub local.set $in_len
    br 0
  end end i32.const 0
"""


async def test_ten_good_requests_and_a_bad_one_give_ten_good_answers(runtime: Runtime) -> None:
    outcomes: dict[float, object] = {}
    async with (
        lane_of(runtime, seed_guest(UNLUCKY), ECHO, slowdown=3.0) as lane,
        trio.open_nursery() as callers,
    ):
        for value in range(10, 21):
            callers.start_soon(ask, lane, float(value), outcomes)
    assert isinstance(outcomes.pop(13.0), Trapped)
    answers = {v: o[0] for v, o in outcomes.items() if isinstance(o, tuple)}
    assert answers == {float(v): float(v) for v in range(10, 21) if v != 13}


async def test_a_source_never_sees_what_another_one_sent(runtime: Runtime) -> None:
    about = manifest(required=Caps.CPU, batch=True)
    seen: dict[str, set[float]] = {}

    async def caller(lane: Lane, source: str, number: int) -> None:
        for turn in range(6):
            value = 100.0 * number + turn + 1
            answer = await lane.predict(
                rows(value), run_by=trio.current_time() + 30, asker=Asker(source=source)
            )
            seen.setdefault(source, set()).update(answer.arrays["y"].reshape(-1).tolist())

    async with (
        lane_of(runtime, seed_guest(TELLTALE), about) as lane,
        trio.open_nursery() as callers,
    ):
        for number in range(6):
            callers.start_soon(caller, lane, f"cam-{number % 3}", number)
    for source, values in seen.items():
        own = int(source[-1])
        assert {v // 100 for v in values if v} <= {own, own + 3}


async def test_a_full_queue_and_a_passed_deadline_are_told(runtime: Runtime) -> None:
    outcomes: dict[float, object] = {}
    few = BatchingSettings(batch_max=1, queue_max=2)
    async with lane_of(runtime, dist("echo"), ECHO, slowdown=30.0, settings=few) as lane:
        async with trio.open_nursery() as callers:
            callers.start_soon(ask, lane, 1.0, outcomes)
            callers.start_soon(ask, lane, 2.0, outcomes)
            callers.start_soon(ask, lane, 3.0, outcomes)
            callers.start_soon(ask, lane, 4.0, outcomes)
        assert sum(isinstance(o, Overloaded) for o in outcomes.values()) == 1
        late: dict[float, object] = {}
        await ask(lane, 5.0, late, s=-1.0)
    assert isinstance(late[5.0], DeadlineExceeded)


async def test_who_is_refused_is_told_whether_it_was_he_who_asked_too_much(
    runtime: Runtime,
) -> None:
    one = BatchingSettings(batch_max=1, queue_max=1)
    async with lane_of(runtime, dist("echo"), ECHO, slowdown=30.0, settings=one) as lane:

        async def refused(source: str) -> object:
            """What the last of three requests at once is told: one runs, and one waits."""
            outcomes: dict[float, object] = {}
            async with trio.open_nursery() as callers:
                for value in (1.0, 2.0, 3.0):
                    callers.start_soon(partial(ask, lane, value, outcomes, source=source))
            (error,) = [o for o in outcomes.values() if isinstance(o, Overloaded)]
            return type(error)

        assert await refused("flood") is Overloaded, "nobody else asks"
        for value in range(8):
            await ask(lane, float(value), {}, source="flood")
        await ask(lane, 1.0, {}, source="light")
        assert await refused("flood") is OverShare
        assert await refused("light") is Overloaded


async def test_whoever_leaves_takes_his_request_with_him(runtime: Runtime) -> None:
    outcomes: dict[float, object] = {}
    one = BatchingSettings(batch_max=1)
    async with lane_of(runtime, dist("echo"), ECHO, slowdown=30.0, settings=one) as lane:
        async with trio.open_nursery() as callers:
            callers.start_soon(ask, lane, 1.0, outcomes)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(0.0001):
                await ask(lane, 2.0, outcomes)
            callers.start_soon(ask, lane, 3.0, outcomes)
        await lane.predict(rows(9.0), run_by=trio.current_time() + 9)
    assert set(outcomes) >= {1.0, 3.0}


async def test_the_loop_waits_for_tiny_batches_of_a_lone_caller_only(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshnode.node.lane.TINY_S", 5.0)
    async with lane_of(runtime, dist("echo"), ECHO) as lane:
        tiny: list[bool] = []
        submit_tiny = lane._worker.submit_tiny

        def noted(*args: Any, **kwargs: Any) -> bool:
            tiny.append(submit_tiny(*args, **kwargs))
            return tiny[-1]

        lane._worker.submit_tiny = noted  # type: ignore[method-assign]
        for number in range(40):
            answer = await lane.predict(rows(number), run_by=trio.current_time() + 9)
            assert answer.arrays["y"][0, 0] == number
        assert tiny
        assert all(tiny)
        outcomes: dict[float, object] = {}
        for _ in range(3):
            before = len(tiny)
            async with trio.open_nursery() as callers:
                for value in range(8):
                    callers.start_soon(ask, lane, float(value), outcomes)
        assert len(tiny) == before, "with company, they gather while one runs"


async def test_a_bug_in_the_runtime_fails_the_batch_and_not_the_lane(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes: dict[float, object] = {}
    async with lane_of(runtime, dist("echo"), ECHO) as lane:
        with monkeypatch.context() as patched:
            patched.setattr(lane._loaded, "run", lambda *_: 1 / 0)
            await ask(lane, 1.0, outcomes)
        await ask(lane, 2.0, outcomes)
    assert "ZeroDivisionError" in str(outcomes[1.0])
    assert outcomes[2.0] == (2.0, 1)
    assert "unexpected way" in caplog.text
