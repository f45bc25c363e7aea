"""A device that plays a slower one."""

import pytest

from meshnode.node.pretence import REAL, Pretence


@pytest.mark.parametrize(
    ("pretence", "run_us", "extra_s"),
    [
        (REAL, 5000, 0.0),
        (Pretence(slowdown=3.0), 5000, 0.010),
        (Pretence(run_s=0.05), 5000, 0.045),
        (Pretence(run_s=0.05), 80_000, 0.0),
        (Pretence(slowdown=3.0, run_s=0.05), 5000, 0.045),
    ],
)
def test_how_much_longer_a_run_seems(pretence: Pretence, run_us: int, extra_s: float) -> None:
    assert pretence.extra_s(run_us) == pytest.approx(extra_s)
