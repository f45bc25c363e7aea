"""Suspicion: the deadline falls from max to min as distinct accusers confirm."""

import pytest

from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.suspicion import Suspicion, suspect_from
from tests.unit.gossip.people import ANN, BOB, CID, DOT, tag


def test_deadline_falls_with_distinct_confirmations() -> None:
    s = Suspicion(
        started_at=10.0,
        min_s=2.0,
        max_s=12.0,
        confirmations_wanted=3,
        accusers=frozenset({tag(ANN)}),
    )
    assert s.deadline() == 22.0
    assert s.confirm(tag(ANN)).deadline() == 22.0
    two = s.confirm(tag(BOB))
    assert 12.0 < two.deadline() < 22.0
    assert two.confirm(tag(CID)).confirm(tag(DOT)).deadline() == 12.0


def test_more_accusers_than_wanted_change_nothing() -> None:
    s = Suspicion(
        started_at=0.0,
        min_s=2.0,
        max_s=4.0,
        confirmations_wanted=1,
        accusers=frozenset({tag(ANN), tag(BOB)}),
    )
    assert s.confirm(tag(CID)) is s


def test_time_slept_through_is_given_back() -> None:
    s = suspect_from(1.0, accuser=tag(ANN), cluster_size=2, settings=GossipSettings())
    assert s.delayed(3.0).deadline() == s.deadline() + 3.0


def test_the_time_grows_with_the_logarithm_of_the_mesh() -> None:
    def deadline(size: int) -> float:
        return suspect_from(
            0.0, accuser=tag(ANN), cluster_size=size, settings=GossipSettings()
        ).deadline()

    assert deadline(2) == 4.0  # nobody is there to confirm it: the shortest at once
    assert deadline(6) == 24.0
    assert deadline(1000) == pytest.approx(72.0)
