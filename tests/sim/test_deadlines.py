"""A lane that runs what is too late is noticed, whatever it believes itself."""

from dataclasses import replace
from typing import Any

import pytest

from meshnode.ids import ContentHash, NodeId, RequestId
from meshnode.machine import Random
from meshnode.sim.clocks import Clock
from meshnode.sim.deadlines import Deadlines
from meshnode.sim.invariants import Broken
from meshnode.sim.serving import Served, ServiceModel, Serving
from meshnode.sim.world import World

MODULE = ContentHash(b"m" * 32)
MODEL = ServiceModel(fixed_ms=400.0, each_ms=0.0, noise=0.0, batch_max=1)


def queued(world: World[Any, Any], serving: Serving) -> list[Served]:
    """Three requests in a row, each with half a second, at a lane that takes 0.4 s for each."""
    served: list[Served] = []
    Deadlines(serving, "a node")
    serving.hold(MODULE, MODEL, warm=True)
    for number in range(3):
        request = RequestId(bytes([number]) * 16)
        serving.offer(request, MODULE, serving.now + 0.5, served.append)
    return served


def lane(clock: Clock | None = None) -> tuple[World[Any, Any], Serving]:
    world: World[Any, Any] = World()
    return world, Serving(world, Random(1), NodeId(b"n" * 32), lives=1, clock=clock)


@pytest.mark.parametrize("clock", [None, Clock(offset_s=100.0, rate=1.05)])
def test_what_cannot_begin_in_time_is_refused(clock: Clock | None) -> None:
    world, serving = lane(clock)
    served = queued(world, serving)
    world.run(3.0)
    assert sorted(bool(each.error) for each in served) == [False, False, True]


def test_a_lane_that_does_not_look_at_its_deadline_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, serving = lane()
    queue = serving._queue
    monkeypatch.setattr(
        serving, "_queue", lambda lane, name, w: queue(lane, name, replace(w, run_by=w.run_by + 9))
    )
    queued(world, serving)
    with pytest.raises(Broken, match=r"0\.300 s after its deadline"):
        world.run(3.0)


def test_a_request_that_begins_twice_is_noticed() -> None:
    _, serving = lane()
    Deadlines(serving, "a node")
    serving.on_offer(RequestId(bytes(16)), 1.0)
    serving.on_begin(RequestId(bytes(16)))
    with pytest.raises(Broken, match="twice"):
        serving.on_begin(RequestId(bytes(16)))
