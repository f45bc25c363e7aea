import pytest

from meshnode.bench.rows import Row, interleaved


def row(*samples: float, baseline: Row | None = None, unit: str = "us") -> Row:
    return Row(what="it", unit=unit, samples=samples, baseline=baseline)


def test_a_row_is_set_beside_its_baseline() -> None:
    base = row(10.0, 12.0, 11.0)
    facts = row(22.0, 22.0, 40.0, baseline=base).facts()
    assert (facts["p50"], facts["p99"], facts["n"]) == (22.0, 40.0, 3)
    assert (facts["ratio"], facts["difference_p50"], facts["difference_p99"]) == (2.0, 11.0, 28.0)
    assert "x2 (+11.00) of it" in row(22.0, 22.0, 40.0, baseline=base).line()
    assert base.facts()["ratio"] is None


def test_a_tail_is_compared_where_there_are_samples_enough() -> None:
    base = row(*[1.0] * 100)
    assert "p99 +1.00" in row(*[2.0] * 100, baseline=base).line()
    assert "p99" not in row(*[2.0] * 100, baseline=base, unit="/s").line()


def test_works_take_turns() -> None:
    order: list[str] = []
    works = {name: (lambda n=name: order.append(n)) for name in "ab"}
    times = interleaved(works, rounds=3, budget_s=60, warm_up=0)
    assert order == ["a", "b"] * 3
    assert [len(samples) for samples in times.values()] == [3, 3]


def test_a_work_can_be_warmed_up_before_each_time() -> None:
    order: list[str] = []
    works = {name: (lambda n=name: order.append(n)) for name in "ab"}
    times = interleaved(works, rounds=2, budget_s=60, warm_up=0, warm_each=True)
    assert order == ["a", "a", "b", "b"] * 2
    assert [len(samples) for samples in times.values()] == [2, 2]


def test_a_budget_ends_a_measurement_early() -> None:
    times = interleaved({"a": lambda: None}, rounds=10**9, budget_s=0, warm_up=0)
    assert len(times["a"]) == 1


@pytest.mark.parametrize("per_s", [1.0, 1e6])
def test_times_come_in_the_unit_asked_for(per_s: float) -> None:
    (took,) = interleaved({"a": lambda: None}, rounds=1, budget_s=60, per_s=per_s)["a"]
    assert 0 < took < per_s
