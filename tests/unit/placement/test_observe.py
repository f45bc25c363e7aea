"""LoadMeter: what a node says about itself is what a request arriving now would meet."""

from dataclasses import replace
from math import inf
from random import Random

import pytest

from meshnode.ids import ContentHash, tag_of
from meshnode.placement.observe import IN_FLIGHT_MAX, PRIOR_MS, TIME_MAX, LoadMeter
from meshnode.placement.score import EACH_MS, UNIT_MS
from meshnode.wire.excerpts import excerpt
from meshnode.wire.messages import LoadRecord, ModuleLoad
from tests.unit.placement.nodes import MODULE, OTHER, node_id


def meter(batch_max: int = 4) -> LoadMeter:
    return LoadMeter(node_id("own"), speed=100, batch_max=batch_max)


def taught(batch_max: int = 4, base_ms: float = 6.0, each_ms: float = 4.0) -> LoadMeter:
    """A meter that has measured s(n) = base + each * n; the time is now 0."""
    made = meter(batch_max)
    now = -100.0
    for n in (1, 2, 4) * 15:
        for _ in range(n):
            made.enqueued(MODULE, now)
        made.started(MODULE, n, now)
        now += (base_ms + each_ms * n) / 1000
        made.finished(MODULE, n, now)
    return made


def said(made: LoadMeter, now: float, *, warm: tuple[ContentHash, ...] = ()) -> LoadRecord:
    return made.record(now, held=(MODULE, OTHER), warm=warm, draining=False)


def test_an_idle_node_has_no_wait() -> None:
    record = said(taught(), 0.0)
    assert (record.wait, record.in_flight) == (0, 0)


def test_w_is_the_rest_of_the_running_batch_and_what_is_queued_before() -> None:
    made = taught(batch_max=4)
    for _ in range(2):
        made.enqueued(MODULE, 0.0)
    made.started(MODULE, 2, 0.0)  # s(2) = 14 ms
    assert made.wait_ms(0.0) == pytest.approx(14.0, rel=0.01)
    assert made.wait_ms(0.010) == pytest.approx(4.0, rel=0.01)
    for _ in range(6):
        made.enqueued(MODULE, 0.010)
    # One full batch of s(4) = 22 ms, and two that our request would join at 4 ms each.
    assert made.wait_ms(0.010) == pytest.approx(4.0 + 22.0 + 8.0, rel=0.01)
    assert said(made, 0.010).wait == 340
    assert said(made, 0.010).in_flight == 8


def test_completion_is_wait_plus_first_for_a_batching_lane() -> None:
    made = taught(batch_max=4)
    for _ in range(3):
        made.enqueued(MODULE, 0.0)
    first_ms = made.first_ms(MODULE)
    assert first_ms == pytest.approx(10.0, rel=0.01)
    assert made.wait_ms(0.0) + first_ms == pytest.approx(
        22.0, rel=0.01
    )  # s(4), the batch of all four


def test_in_overrun_half_of_it_is_what_is_left() -> None:
    made = taught()
    made.enqueued(MODULE, 0.0)
    made.started(MODULE, 1, 0.0)  # s(1) = 10 ms
    assert made.wait_ms(0.010) == pytest.approx(0.0, abs=0.01)
    assert made.wait_ms(0.030) == pytest.approx(10.0, rel=0.01)


def test_several_busy_modules_wait_for_each_other() -> None:
    made = taught()
    made.enqueued(MODULE, 0.0)
    assert made.wait_ms(0.0) == pytest.approx(4.0, rel=0.01)
    made.enqueued(OTHER, 0.0)
    assert made.wait_ms(0.0) == pytest.approx(10.0 + PRIOR_MS, rel=0.01)


def test_who_withdraws_no_longer_waits_however_often_it_is_said() -> None:
    made = taught()
    made.enqueued(MODULE, 0.0)
    made.withdrawn(MODULE, 0.0)
    made.withdrawn(MODULE, 0.0)
    made.withdrawn(OTHER, 0.0)
    assert made.wait_ms(0.0) == 0.0
    made.enqueued(MODULE, 0.0)
    assert said(made, 0.0).in_flight == 1


def test_mean_and_sigma_follow_the_wait_over_two_seconds() -> None:
    made = taught()
    for _ in range(40):
        made.enqueued(MODULE, 0.0)
    steady_ms = made.wait_ms(0.0)
    for i in range(200):
        record = said(made, i / 10)
    assert record.wait_mean == pytest.approx(steady_ms * 10, rel=0.01)
    assert record.wait_sigma < record.wait_mean / 5
    made.withdrawn(MODULE, 20.0)
    for _ in range(39):
        made.withdrawn(MODULE, 20.0)
    later = said(made, 22.0)
    assert later.wait == 0
    assert later.wait_mean == pytest.approx(steady_ms * 10 / 2.718, rel=0.05)
    assert later.wait_sigma > 0


def test_records_say_which_modules_are_held_and_what_they_cost() -> None:
    record = said(taught(batch_max=4), 0.0, warm=(MODULE,))
    held = {m.module: m for m in record.modules}
    assert held[tag_of(MODULE)].warm
    assert held[tag_of(MODULE)].first == 100
    assert held[tag_of(MODULE)].unit == 55  # s(4) / 4
    assert (held[tag_of(OTHER)].warm, held[tag_of(OTHER)].first) == (False, 0)
    assert record.node == tag_of(node_id("own"))


def test_of_many_modules_the_warm_and_the_lately_run_are_named() -> None:
    made = taught()
    many = tuple(ContentHash(bytes([i]) * 32) for i in range(20))
    record = made.record(0.0, held=(*many, MODULE), warm=many[-2:], draining=True)
    named = [m.module for m in record.modules]
    assert named[:3] == [tag_of(many[18]), tag_of(many[19]), tag_of(MODULE)]
    assert len(named) == 8
    assert record.draining


def test_a_closed_lane_leaves_its_curve() -> None:
    made = taught()
    made.enqueued(MODULE, 0.0)
    made.forget(MODULE)
    assert made.wait_ms(0.0) == 0.0
    assert made.first_ms(MODULE) == pytest.approx(10.0, rel=0.01)
    assert made.first_ms(OTHER) is None


def test_sequences_rise_and_a_restart_starts_above() -> None:
    first = LoadMeter(node_id("own"), speed=1, started_unix_s=1_700_000_000)
    numbers = [said(first, i / 1000).sequence for i in range(100)]
    assert numbers == sorted(set(numbers))
    again = LoadMeter(node_id("own"), speed=1, started_unix_s=1_700_000_001)
    assert said(again, 0.0).sequence > numbers[-1]
    assert said(again, 0.0).sequence < 2**63


def test_a_word_is_an_excerpt_of_the_record_of_its_moment() -> None:
    made = taught()
    made.enqueued(MODULE, 1.0)
    whole = said(made, 1.0, warm=(MODULE,))
    for place, module in enumerate((MODULE, OTHER)):
        word = made.word(1.0, module, held=(MODULE, OTHER), warm=(MODULE,), draining=False)
        assert word == replace(excerpt(whole, place), sequence=word.sequence)
        assert word.sequence > whole.sequence
    for nobody in (None, ContentHash(b"n" * 32)):
        word = made.word(1.0, nobody, held=(MODULE, OTHER), warm=(MODULE,), draining=False)
        assert word == replace(excerpt(whole, 0, 0), sequence=word.sequence)
    lone = made.word(1.0, MODULE, held=(MODULE,), warm=(MODULE,), draining=False)
    assert lone.rest is None, "a record of one module is whole"


def test_numbers_stay_within_what_the_wire_can_say() -> None:
    made = meter()
    for _ in range(70_000):
        made.enqueued(MODULE, 0.0)
    made.started(MODULE, 1, 0.0)
    record = said(made, 1e9)
    assert record.wait == TIME_MAX
    assert record.in_flight == IN_FLIGHT_MAX


def test_modules_that_take_one_core_share_the_cores() -> None:
    made = meter(batch_max=1)
    for module in (MODULE, OTHER):
        made.opened(module, cores=1, of=2)
        made.started(module, 1, 0.0)
        made.finished(module, 1, 0.010)
    for _ in range(4):
        made.enqueued(MODULE, 1.0)
    assert made.wait_ms(1.0) == pytest.approx(40.0), "its own lane is one after the other"
    for _ in range(4):
        made.enqueued(OTHER, 1.0)
    assert made.wait_ms(1.0) == pytest.approx(40.0), "the other one has the other core"


def test_modules_that_take_every_core_add_up_whatever_runs_beside() -> None:
    made = meter(batch_max=1)
    made.opened(MODULE, cores=1, of=2)
    made.opened(OTHER, cores=2, of=2)
    for module in (MODULE, OTHER):
        made.started(module, 1, 0.0)
        made.finished(module, 1, 0.010)
        made.enqueued(module, 1.0)
    assert made.wait_ms(1.0) == pytest.approx(20.0)


def test_two_batches_may_run_at_once_and_both_are_learned() -> None:
    made = meter()
    made.started(MODULE, 1, 0.0)
    made.started(OTHER, 2, 0.005)
    made.finished(MODULE, 1, 0.010)
    made.finished(OTHER, 2, 0.045)
    assert made.first_ms(MODULE) == pytest.approx(10.0)
    assert made.first_ms(OTHER) == pytest.approx(20.0)
    assert made.wait_ms(0.05) == 0.0


def test_the_size_that_was_found_to_pay_is_what_is_reckoned_with() -> None:
    made = taught(batch_max=4, base_ms=6.0, each_ms=4.0)
    before = made.wait_ms(9.0)
    made.started(MODULE, 1, 9.0, batch_max=1)
    made.finished(MODULE, 1, 9.010)
    for _ in range(4):
        made.enqueued(MODULE, 10.0)
    assert before == 0.0
    assert made.wait_ms(10.0) == pytest.approx(40.0, rel=0.02), "four batches of one"


def test_a_module_that_is_being_loaded_counts_as_warm_and_its_load_as_waiting() -> None:
    made = taught()
    assert not said(made, 0.0).modules[0].warm
    made.load_began(MODULE, 400.0, 0.0)
    during = said(made, 0.1)
    assert [m.warm for m in during.modules] == [True, False]
    assert during.wait == 3000
    made.load_ended(MODULE, 0.4)
    assert not said(made, 0.4).modules[0].warm
    assert said(made, 0.4, warm=(MODULE,)).modules[0].warm


def test_who_is_never_waited_for_says_so_however_busy_it_is() -> None:
    """One after the other: the node runs all the time, and each request meets an empty queue."""
    made = taught(batch_max=1, base_ms=0.0, each_ms=20.0)
    now = 0.0
    for _ in range(200):
        made.asked(now)
        made.enqueued(MODULE, now)
        made.started(MODULE, 1, now)
        now += 0.020
        made.finished(MODULE, 1, now)
    record = said(made, now)
    assert (record.wait_mean, record.wait_sigma) == (0, 0)


def test_what_requests_at_random_meet_is_about_the_mean_over_time() -> None:
    plain, asked = taught(batch_max=1, base_ms=0.0, each_ms=20.0), taught(1, 0.0, 20.0)
    rng, now, done_at, queue = Random(5), 0.0, inf, 0
    came_at = now + rng.expovariate(30)
    means: dict[LoadMeter, int] = {plain: 0, asked: 0}
    for _ in range(2000):
        if came_at < done_at:
            now, came_at = came_at, came_at + rng.expovariate(30)
            asked.asked(now)
            queue += 1
            for made in (plain, asked):
                made.enqueued(MODULE, now)
        else:
            now, done_at = done_at, inf
            for made in (plain, asked):
                made.finished(MODULE, 1, now)
        if done_at == inf and queue:
            queue, done_at = queue - 1, now + 0.020
            for made in (plain, asked):
                made.started(MODULE, 1, now)
        for made in (plain, asked):
            means[made] += said(made, now).wait_mean
    assert 0.6 * means[plain] < means[asked] <= means[plain], "it is noise that makes it less"


def test_what_waits_and_runs_counts_by_its_rows() -> None:
    made = taught(batch_max=4)
    made.enqueued(MODULE, 0.0, rows=2)
    made.started(MODULE, 1, 0.0, rows=2)  # s(2) = 14 ms
    assert made.wait_ms(0.0) == pytest.approx(14.0, rel=0.01)
    made.enqueued(MODULE, 0.0, rows=10)  # more than a batch: alone, s(10) = 46 ms
    assert made.wait_ms(0.0) == pytest.approx(14.0 + 46.0, rel=0.01)
    assert said(made, 0.0).in_flight == 2
    made.withdrawn(MODULE, 0.0, rows=10)
    assert made.wait_ms(0.0) == pytest.approx(14.0, rel=0.01)
    assert made.first_ms(MODULE, rows=16) == pytest.approx(70.0, rel=0.01)


def test_a_place_in_the_queue_is_by_the_rows_before_it() -> None:
    made = taught(batch_max=4)
    for rows in (4, 2, 8):
        made.enqueued(MODULE, 0.0, rows=rows)
    assert made.completes_ms(MODULE, 0, 0.0, rows=4) == pytest.approx(22.0, rel=0.01)
    assert made.completes_ms(MODULE, 4, 0.0, rows=2) == pytest.approx(44.0, rel=0.01)
    assert made.completes_ms(MODULE, 6, 0.0, rows=8) == pytest.approx(22.0 + 38.0, rel=0.01)


def test_a_module_never_run_is_waited_for_by_requests_and_not_by_rows() -> None:
    made = meter()
    made.enqueued(MODULE, 0.0, rows=64)
    assert made.wait_ms(0.0) == PRIOR_MS


def test_a_record_says_what_one_more_row_takes() -> None:
    (told, _) = said(taught(base_ms=1.0, each_ms=0.02), 0.0).modules
    assert run_of(told, 1) == pytest.approx(1.0, abs=0.06)
    assert run_of(told, 64) == pytest.approx(1.0 + 64 * 0.02, rel=0.05)


def run_of(told: ModuleLoad, rows: int) -> float:
    return told.first * UNIT_MS + (rows - 1) * EACH_MS[told.each]
