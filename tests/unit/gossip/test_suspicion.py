"""Suspicion: the deadline falls from max to min as distinct accusers confirm."""

import pytest

from meshnode.gossip.settings import GossipSettings, without_lifeguard
from meshnode.gossip.suspicion import Suspicion, suspect_from
from tests.unit.gossip.people import ANN, BOB, CID, DOT, EVE, accusation, tag


def test_deadline_falls_with_distinct_confirmations() -> None:
    s = Suspicion(
        started_at=10.0,
        min_s=2.0,
        max_s=12.0,
        confirmations_wanted=3,
        accusations=(accusation(DOT, ANN),),
    )
    assert s.deadline() == 22.0
    assert s.confirm(accusation(DOT, ANN)).deadline() == 22.0
    two = s.confirm(accusation(DOT, BOB))
    assert 12.0 < two.deadline() < 22.0
    assert two.confirm(accusation(DOT, CID)).confirm(accusation(DOT, EVE)).deadline() == 12.0


def test_more_accusers_than_wanted_change_nothing() -> None:
    s = Suspicion(
        started_at=0.0,
        min_s=2.0,
        max_s=4.0,
        confirmations_wanted=1,
        accusations=(accusation(DOT, ANN), accusation(DOT, BOB)),
    )
    assert s.confirm(accusation(DOT, CID)) is s


def test_the_time_grows_with_the_logarithm_of_the_mesh() -> None:
    def deadline(size: int) -> float:
        return suspect_from(
            0.0, accusation(DOT, ANN), cluster_size=size, settings=GossipSettings()
        ).deadline()

    assert deadline(2) == 4.0  # nobody is there to confirm it: the shortest at once
    assert deadline(6) == 24.0
    assert deadline(1000) == pytest.approx(72.0)


def test_plain_swim_has_the_shortest_time_at_once() -> None:
    settings = without_lifeguard(GossipSettings())
    s = suspect_from(0.0, accusation(DOT, ANN), cluster_size=6, settings=settings)
    assert s.deadline() == 4.0
    assert not s.wants(tag(BOB))


def test_who_came_back_before_is_given_longer() -> None:
    def times(patience: float) -> tuple[float, float]:
        s = suspect_from(
            0.0,
            accusation(DOT, ANN),
            cluster_size=6,
            settings=GossipSettings(),
            patience=patience,
        )
        return s.min_s, s.max_s

    assert times(1.0) == (4.0, 24.0)
    assert times(3.0) == (12.0, 24.0)
    assert times(7.0) == (28.0, 28.0)
