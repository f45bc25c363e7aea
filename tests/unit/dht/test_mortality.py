"""How long contacts live, judged by when they were last heard before they were found dead."""

from math import inf

from meshnode.dht.mortality import STALE_S_MIN, Mortality


def test_where_few_died_nothing_is_known() -> None:
    life = Mortality()
    for _ in range(2):
        life.died(10.0, 1.0)
    assert life.stale_after_s == inf


def test_under_churn_it_tends_to_seven_tenths_of_a_life() -> None:
    life = Mortality()
    for _ in range(300):  # of lives of 100 s, questions after 50 s: two in five are dead
        for _ in range(3):
            life.heard(50.0, 1.0)
        for _ in range(2):
            life.died(50.0, 1.0)
    assert 60.0 < life.stale_after_s < 80.0


def test_an_outage_of_a_third_at_once_is_no_churn() -> None:
    life = Mortality()
    for _ in range(20):
        life.died(900.0, 1.0)
    for _ in range(40):
        life.heard(900.0, 1.0)
    assert life.stale_after_s > 1200.0


def test_it_is_forgotten() -> None:
    life = Mortality()
    for _ in range(5):
        life.died(10.0, 0.0)
    assert life.stale_after_s < inf
    life.heard(10.0, 1000.0)
    assert life.stale_after_s == inf


def test_dying_on_purpose_cannot_make_everybody_stale() -> None:
    life = Mortality()
    for _ in range(1000):
        life.died(0.0, 0.0)
    assert life.stale_after_s == STALE_S_MIN
