"""Batcher: greedy, windowed, refused, expired, withdrawn. No clock, no tasks."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.batching.batcher import (
    Batcher,
    Drop,
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
    assert batcher.handle(offer("d"), now=1.0) == [Refuse(b"d")], "nobody knows when"
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


def offers(*names: str, rows: int = 1, size: int = 0, kind: str = "") -> list[Offer]:
    return [
        Offer(RequestId(n.encode()), 999.0, rows=rows, size=size, kind=kind, family="f")
        for n in names
    ]


def taught(
    fixed_s: float, each_s: float, *, window_ms: float = 0.0, most: int = 8
) -> tuple[Batcher, float]:
    """Return a batcher that has seen batches of 1 and of 2 take so long, and the time it is."""
    batcher = Batcher(BatchingSettings(batch_max=most, window_ms_max=window_ms, queue_max=64))
    now = 100.0
    for number in range(60):
        now += 9.0
        names = [f"{number}-{i}" for i in range(3)]
        left = set()
        for effect in [e for o in offers(*names) for e in batcher.handle(o, now)]:
            left = set(names) - {r.decode() for r in effect.request_ids}
            took = fixed_s + each_s * len(effect.request_ids)
        while True:
            now += took
            effects = list(batcher.handle(RunFinished(took), now))
            if not left:
                break
            if not effects:
                now = batcher.next_timer() or now
                effects = list(batcher.tick(now))
            (run,) = effects
            assert isinstance(run, Run)
            left -= {r.decode() for r in run.request_ids}
            took = fixed_s + each_s * len(run.request_ids)
    return batcher, now


def hurried(batcher: Batcher, now: float) -> tuple[Batcher, float]:
    """Return it idle, after requests that came each ms; they tell it nothing of its curve."""
    for number in range(40):
        now += 0.001
        batcher.handle(offers(f"hurry-{number}")[0], now)
    while len(batcher) or batcher._running:
        if batcher._running:
            batcher.handle(RunFinished(), now)
        batcher.tick(max(now, min(now + 0.1, batcher.next_timer() or now)))
    return batcher, now + 0.001


def ran(effects: Sequence[object]) -> list[bytes]:
    (effect,) = effects
    assert isinstance(effect, Run)
    return list(effect.request_ids)


def test_only_requests_of_one_kind_run_together_and_the_oldest_first() -> None:
    batcher = Batcher(SETTINGS)
    batcher.handle(offer("first"), now=1.0)
    for each in (*offers("a", kind="x"), *offers("b", kind="y"), *offers("c", kind="x")):
        batcher.handle(each, now=1.0)
    assert ran(batcher.handle(RunFinished(), now=1.1)) == [b"a", b"c"]
    assert ran(batcher.handle(RunFinished(), now=1.2)) == [b"b"]


def test_a_batch_is_bounded_by_rows_and_what_is_larger_runs_alone() -> None:
    batcher = Batcher(BatchingSettings(batch_max=4))
    batcher.handle(offers("first")[0], now=1.0)
    for each in (*offers("big", rows=9), *offers("a", "b", rows=2), *offers("c")):
        batcher.handle(each, now=1.0)
    assert ran(batcher.handle(RunFinished(), now=1.1)) == [b"big"]
    assert ran(batcher.handle(RunFinished(), now=1.2)) == [b"a", b"b"]
    assert ran(batcher.handle(RunFinished(), now=1.3)) == [b"c"]


def test_a_batch_is_bounded_by_bytes() -> None:
    batcher = Batcher(BatchingSettings(batch_max=8, batch_bytes_max=100))
    batcher.handle(offers("first")[0], now=1.0)
    for each in offers("a", "b", "c", size=40):
        batcher.handle(each, now=1.0)
    assert ran(batcher.handle(RunFinished(), now=1.1)) == [b"a", b"b"]


def test_a_request_that_would_be_late_is_refused_when_it_comes() -> None:
    batcher, now = taught(0.0, 1.0)
    assert ran(batcher.handle(offers("runs")[0], now)) == [b"runs"]
    batcher.handle(offers("waits")[0], now)
    late = Offer(RequestId(b"late"), now + 2.5, family="f")
    (refusal,) = batcher.handle(late, now)
    assert isinstance(refusal, Refuse)
    assert refusal.expected_s == pytest.approx(3.0, rel=0.05)
    assert batcher.handle(Offer(RequestId(b"fine"), now + 3.5, family="f"), now) == []


def test_an_idle_lane_refuses_nothing_however_slow_it_was() -> None:
    batcher, now = taught(0.0, 1.0)
    assert ran(batcher.handle(Offer(RequestId(b"a"), now + 0.1, family="f"), now)) == [b"a"]


def test_nothing_is_refused_by_a_guess() -> None:
    batcher = running(Batcher(SETTINGS))
    assert batcher.handle(offer("a", run_by=1.000001), now=1.0) == []


def test_a_batch_is_cut_short_for_a_request_in_a_hurry() -> None:
    batcher, now = taught(1.0, 0.25, most=8)
    assert batcher.bound == 2
    batcher.handle(offers("runs")[0], now)
    hasty = Offer(RequestId(b"hasty"), now + 1.25 + 1.3, family="f")
    for each in (hasty, *(Offer(RequestId(n), 999.0, family="f") for n in (b"a", b"b"))):
        assert batcher.handle(each, now) == []
    assert ran(batcher.handle(RunFinished(1.25), now + 1.25)) == [b"hasty"]


def test_a_batcher_learns_that_batches_pay_and_that_they_do_not() -> None:
    assert taught(1.0, 0.01, most=2)[0].bound == 2
    assert taught(0.0, 1.0, most=2)[0].bound == 1


def test_without_a_measured_gain_a_window_makes_nobody_wait() -> None:
    batcher = Batcher(WINDOWED)
    assert batcher.handle(offer("a"), now=1.0) == [Run((b"a",))]


def test_a_window_waits_for_company_that_is_due_and_pays() -> None:
    batcher, now = hurried(*taught(1.0, 0.001, window_ms=1000.0))
    (first, second) = offers("a", "b")
    assert batcher.handle(first, now) == []
    until = batcher.next_timer()
    assert until is not None
    assert now < until <= now + 0.01
    effects = batcher.handle(second, now + 0.001) or batcher.tick(batcher.next_timer() or 0.0)
    assert ran(effects) == [b"a", b"b"]


def test_a_window_ends_before_a_request_would_be_late() -> None:
    batcher, now = hurried(*taught(1.0, 0.001, window_ms=1000.0))
    hasty = Offer(RequestId(b"a"), now + 1.003, family="f")
    assert batcher.handle(hasty, now) == []
    assert (batcher.next_timer() or 0.0) <= now + 0.002


def test_a_window_waits_for_nobody_where_rows_cost_all() -> None:
    batcher, now = hurried(*taught(0.0, 0.1, window_ms=1000.0))
    assert ran(batcher.handle(offers("a")[0], now)) == [b"a"]


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
            effects = batcher.handle(RunFinished(patience), now)
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


def flooded(batcher: Batcher, now: float, *, count: int, run_by: float) -> list[object]:
    """Offer many requests of one source at once; return what is not taken."""
    effects: list[object] = []
    for n in range(count):
        made = Offer(RequestId(b"flood-%d" % n), run_by, family="f", flow=("p", "flood"))
        effects += batcher.handle(made, now)
    return effects


def test_what_cannot_be_done_in_time_any_more_costs_no_run() -> None:
    batcher, now = taught(0.0, 1.0)
    batcher.handle(offers("runs")[0], now)
    hasty = Offer(RequestId(b"hasty"), now + 2.5, family="f")
    assert batcher.handle(hasty, now) == []
    batcher.handle(Offer(RequestId(b"patient"), now + 99, family="f"), now)
    drop, run = batcher.handle(RunFinished(1.8), now + 1.8)  # it took longer than expected
    assert isinstance(drop, Drop)
    assert drop.request_id == b"hasty"
    assert drop.needs_s == pytest.approx(1.0, rel=0.05)
    assert drop.again_s is not None
    assert run == Run((b"patient",))


def test_a_source_that_floods_does_not_keep_another_from_its_share() -> None:
    batcher, now = taught(0.0, 1.0)
    effects = flooded(batcher, now, count=40, run_by=now + 8.5)
    assert sum(isinstance(e, Refuse) for e in effects) == 32, "as many as can be held"
    quiet = Offer(RequestId(b"quiet"), now + 8.5, family="f", flow=("p", "quiet"))
    assert batcher.handle(quiet, now) == [], "its share puts it before most of the flood"
    done: list[RequestId] = []
    while b"quiet" not in done:
        now += 1.0
        (run,) = (e for e in batcher.handle(RunFinished(1.0), now) if isinstance(e, Run))
        done += run.request_ids
    assert len(done) <= 2


def test_a_full_queue_takes_a_quiet_source_and_refuses_the_flood() -> None:
    batcher = running(Batcher(SETTINGS))
    for name in "abc":
        assert batcher.handle(Offer(RequestId(name.encode()), 99.0, flow=("p", "x")), 1.0) == []
    quiet = Offer(RequestId(b"quiet"), 99.0, flow=("p", "y"))
    assert batcher.handle(quiet, 1.0) == [Refuse(b"c")]
    assert ran(batcher.handle(RunFinished(), 1.1))[:1] == [b"a"]


def test_who_comes_back_when_he_was_told_to_is_taken() -> None:
    batcher, now = taught(0.0, 1.0)
    told: list[tuple[float, int]] = []
    for n in range(20):
        effects = batcher.handle(Offer(RequestId(b"%d" % n), now + 5.5, family="f"), now)
        told += [(now + e.again_s, n) for e in effects if isinstance(e, Refuse) and e.again_s]
    assert len(told) == 15
    finished, taken = now, 0
    for at, n in sorted(told):
        while finished + 1.0 <= at:
            finished += 1.0
            batcher.handle(RunFinished(1.0), finished)
        again = batcher.handle(Offer(RequestId(b"again-%d" % n), at + 5.5, family="f"), at)
        taken += not any(isinstance(e, Refuse) for e in again)
    assert taken >= 14


def test_what_is_foreseen_is_what_happens_and_takes_nothing() -> None:
    batcher, now = taught(0.0, 1.0)
    late = Offer(RequestId(b"late"), now + 2.5, family="f")
    assert batcher.foresee(late, now) is None, "an idle lane runs what comes"
    batcher.handle(offers("runs")[0], now)
    batcher.handle(offers("waits")[0], now)
    foreseen = batcher.foresee(late, now)
    assert isinstance(foreseen, Refuse)
    assert len(batcher) == 1
    (refusal,) = batcher.handle(late, now)
    assert isinstance(refusal, Refuse)
    assert refusal.expected_s == foreseen.expected_s
    assert batcher.foresee(Offer(RequestId(b"fine"), now + 9, family="f"), now) is None
    full = running(Batcher(SETTINGS))
    for name in "abc":
        full.handle(offer(name), now=1.0)
    assert isinstance(full.foresee(offer("d"), now=1.0), Refuse)
