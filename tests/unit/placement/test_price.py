"""A server refuses what the sender could have clearly sooner elsewhere, twice at most."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.placement.price import Price, is_overpriced
from meshnode.placement.settings import PlacementSettings

SETTINGS = PlacementSettings()
times = st.floats(0, 1e6)


@pytest.mark.parametrize(
    ("completion", "alternative", "refusals", "refused"),
    [
        (50.0, 40.0, 0, True),
        (50.0, 40.0, 1, True),
        (50.0, 40.0, 2, False),
        (41.9, 40.0, 0, False),
        (42.1, 40.0, 0, True),
        (1e9, inf, 0, False),
    ],
)
def test_when_a_request_is_refused(
    completion: float, alternative: float, refusals: int, refused: bool
) -> None:
    assert is_overpriced(completion, Price(alternative, refusals), SETTINGS) is refused


@given(times, times, times, st.integers(0, 5))
def test_a_busier_server_refuses_no_less(a: float, b: float, alternative: float, n: int) -> None:
    price, (less, more) = Price(alternative, n), sorted((a, b))
    assert is_overpriced(less, price, SETTINGS) <= is_overpriced(more, price, SETTINGS)
