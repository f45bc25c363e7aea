"""The benches can be listed and named; their figures judge nothing, so none is run here."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.__main__ import BENCHES, main, parser

ROOT = Path(__file__).parents[2]


def test_the_benches_are_listed_by_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--list"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(BENCHES)


@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_has_a_file_that_yields_rows(name: str) -> None:
    assert "def rows() -> Iterator[Row]:" in (ROOT / "tests" / "bench" / f"{name}.py").read_text()


def test_an_unknown_bench_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node", "nothing"]) == 2
    assert "no bench nothing" in capsys.readouterr().out


def test_names_and_a_file_are_understood() -> None:
    args = parser().parse_args(["node", "demo", "--json", "figures.json"])
    assert (args.names, args.json) == (["node", "demo"], Path("figures.json"))
