"""Batcher: greedy, windowed, refused, expired, withdrawn. No clock, no tasks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.batching.batcher import (
    Batcher,
    Expire,
    Offer,
    Refuse,
    Run,
    RunFinished,
    Withdraw,
)
from meshnode.batching.settings import BatchingSettings
from meshnode.ids import RequestId

SETTINGS = BatchingSettings(batch_max=2, queue_max=3)
WINDOWED = BatchingSettings(batch_max=2, window_ms_max=5.0, queue_max=3)


def offer(name: str, run_by: float = 99.0) -> Offer:
    return Offer(RequestId(name.encode()), run_by)


def running(batcher: Batcher) -> Batcher:
    assert batcher.handle(offer("first"), now=1.0) == [Run((b"first",))]
    return batcher


def test_a_lone_request_runs_at_once() -> None:
    batcher = Batcher(SETTINGS)
    assert batcher.handle(offer("a"), now=1.0) == [Run((b"a",))]
    assert batcher.next_timer() is None


def test_while_one_batch_runs_the_next_gathers_in_order() -> None:
    batcher = running(Batcher(SETTINGS))
    for name in "abc":
        assert batcher.handle(offer(name), now=1.0) == []
    assert batcher.handle(RunFinished(), now=1.1) == [Run((b"a", b"b"))]
    assert batcher.handle(RunFinished(), now=1.2) == [Run((b"c",))]
    assert batcher.handle(RunFinished(), now=1.3) == []


def test_a_full_queue_refuses_the_newest() -> None:
    batcher = running(Batcher(SETTINGS))
    for name in "abc":
        batcher.handle(offer(name), now=1.0)
    assert batcher.handle(offer("d"), now=1.0) == [Refuse(b"d")]
    assert len(batcher) == 3


def test_a_late_request_makes_room_instead_of_filling_the_queue() -> None:
    batcher = running(Batcher(SETTINGS))
    for name in "abc":
        batcher.handle(offer(name, run_by=2.0), now=1.0)
    assert batcher.handle(offer("d"), now=2.0) == [Expire(b"a"), Expire(b"b"), Expire(b"c")]
    assert len(batcher) == 1


def test_a_request_expires_at_its_time_while_it_waits() -> None:
    batcher = running(Batcher(SETTINGS))
    assert batcher.handle(offer("a", run_by=1.5), now=1.0) == []
    assert batcher.next_timer() == 1.5
    assert batcher.tick(now=1.4) == []
    assert batcher.tick(now=1.5) == [Expire(b"a")]
    assert batcher.next_timer() is None
    assert batcher.handle(RunFinished(), now=1.6) == []


def test_a_request_that_comes_too_late_never_runs() -> None:
    assert Batcher(SETTINGS).handle(offer("a", run_by=1.0), now=1.0) == [Expire(b"a")]


def test_the_late_are_expired_before_the_next_batch_is_made() -> None:
    batcher = running(Batcher(SETTINGS))
    for name, run_by in (("a", 1.05), ("b", 9.0), ("c", 9.0)):
        batcher.handle(offer(name, run_by=run_by), now=1.0)
    assert batcher.handle(RunFinished(), now=1.1) == [Expire(b"a"), Run((b"b", b"c"))]


def test_a_withdrawn_request_leaves_the_queue() -> None:
    batcher = running(Batcher(SETTINGS))
    batcher.handle(offer("a"), now=1.0)
    batcher.handle(offer("b"), now=1.0)
    assert batcher.handle(Withdraw(RequestId(b"a")), now=1.0) == []
    assert batcher.handle(RunFinished(), now=1.1) == [Run((b"b",))]


def test_withdrawing_what_runs_or_is_unknown_changes_nothing() -> None:
    batcher = running(Batcher(SETTINGS))
    assert batcher.handle(Withdraw(RequestId(b"first")), now=1.0) == []
    assert batcher.handle(Withdraw(RequestId(b"never")), now=1.0) == []
    assert batcher.handle(RunFinished(), now=1.1) == []


def test_with_a_window_a_lone_request_waits_for_company() -> None:
    batcher = Batcher(WINDOWED)
    assert batcher.handle(offer("a"), now=1.0) == []
    assert batcher.next_timer() == pytest.approx(1.005)
    assert batcher.tick(now=1.004) == []
    assert batcher.tick(now=1.005) == [Run((b"a",))]


def test_with_a_window_a_full_batch_does_not_wait() -> None:
    batcher = Batcher(WINDOWED)
    batcher.handle(offer("a"), now=1.0)
    assert batcher.handle(offer("b"), now=1.001) == [Run((b"a", b"b"))]


def test_a_window_takes_no_more_than_half_of_a_requests_time() -> None:
    batcher = Batcher(BatchingSettings(window_ms_max=100.0))
    batcher.handle(offer("patient", run_by=9.0), now=1.0)
    batcher.handle(offer("hasty", run_by=1.02), now=1.0)
    assert batcher.next_timer() == pytest.approx(1.01)
    assert batcher.tick(now=1.01) == [Run((b"patient", b"hasty"))]


def test_bugs_fall_at_once() -> None:
    batcher = running(Batcher(SETTINGS))
    batcher.handle(offer("a"), now=1.0)
    with pytest.raises(ValueError, match="waits already"):
        batcher.handle(offer("a"), now=1.0)
    with pytest.raises(AssertionError):
        Batcher(SETTINGS).handle(RunFinished(), now=1.0)
    with pytest.raises(ValueError, match="room"):
        Batcher(BatchingSettings(batch_max=0))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["offer", "finish", "withdraw", "tick"]),
        st.floats(0, 0.05),
        st.floats(0, 0.1),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.sampled_from([0.0, 5.0, 50.0]))
def test_every_request_ends_once_and_none_runs_late(
    steps: list[tuple[str, float, float]], window_ms: float
) -> None:
    batcher = Batcher(BatchingSettings(batch_max=3, window_ms_max=window_ms, queue_max=4))
    now, busy, run_by, ended = 0.0, False, {}, []
    for i, (kind, wait, patience) in enumerate(steps):
        now += wait
        request = RequestId(i.to_bytes(2, "big"))
        if kind == "offer":
            run_by[request] = now + patience
            effects = batcher.handle(Offer(request, now + patience), now)
        elif kind == "finish" and busy:
            busy = False
            effects = batcher.handle(RunFinished(), now)
        elif kind == "withdraw" and run_by:
            effects = batcher.handle(Withdraw(next(reversed(run_by))), now)
        else:
            effects = batcher.tick(now)
        for effect in effects:
            if isinstance(effect, Run):
                assert not busy, "two batches at once"
                assert 1 <= len(effect.request_ids) <= 3
                assert all(run_by[r] > now for r in effect.request_ids), "ran after its time"
                busy = True
                ended += effect.request_ids
            else:
                ended.append(effect.request_id)
    assert len(ended) == len(set(ended))
    assert len(batcher) <= 4
