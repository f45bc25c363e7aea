"""The long fuzzers start, name their seed, and repeat what they did from it."""

import pytest

from tests.fuzz.long.__main__ import FUZZERS, main, run


@pytest.mark.parametrize("name", FUZZERS)
def test_a_fuzzer_repeats_itself_from_its_seed(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(name, seed=7, start=0, count=60)
    assert first.total() == 60
    assert "seed 7" in capsys.readouterr().out
    assert run(name, seed=7, start=0, count=60) == first


def test_an_unknown_fuzzer_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing"]) == 2
    assert "no fuzzer nothing" in capsys.readouterr().out
