"""The table of `--explain`."""

from meshnode.cli.explain import explain_lines


def test_parts_of_the_score_are_columns_whatever_they_are() -> None:
    lines = explain_lines(
        {
            "module": "d@1",
            "candidates": [
                {"name": "a", "chosen": True, "score_ms": 3.0, "parts": {"run_ms": 2.0}},
                {"name": "b", "local": True, "score_ms": 5.5, "parts": {"cold_ms": 3.5}},
            ],
            "excluded": [{"name": "c", "reason": "lacks cap nn"}],
        }
    )
    assert lines[1].split() == ["NODE", "SCORE", "run", "cold", "NOTE"]
    assert lines[2].split() == ["a", "3.0", "2.0", "—", "←", "chosen"]
    assert lines[3].split() == ["b", "5.5", "—", "3.5", "local"]
    assert lines[4] == "  c  no: lacks cap nn"


def test_nobody_at_all_is_a_table_too() -> None:
    assert len(explain_lines({})) == 2
