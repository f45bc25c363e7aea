"""That every row is there is tested at the command: `tests/unit/cli/test_bench.py`."""

from meshnode.bench.runtime import BATCHES, FULL, QUICK


def test_a_quick_run_leaves_out_only_the_large_guest() -> None:
    assert FULL.batches == QUICK.batches == BATCHES
    assert FULL.large
    assert not QUICK.large
