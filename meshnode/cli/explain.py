"""The table of `--explain`: every candidate with the parts of its predicted time."""

from collections.abc import Mapping
from typing import Any

from meshnode.cli.output import Cell, table

USUAL = "finish-time"
"""The order of the numbers themselves."""


def explain_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return the lines for a decision: candidates best first, then who is excluded and why.

    Whatever parts the score has become columns, so the table is never behind the score.
    """
    candidates = list(facts.get("candidates", []))
    parts = list(dict.fromkeys(name for c in candidates for name in c.get("parts", {})))
    heads = ["NODE", "SCORE", *(name.removesuffix("_ms") for name in parts), "NOTE"]
    rows = [_row(candidate, parts) for candidate in candidates]
    affinity = facts.get("affinity", USUAL)
    order = "" if affinity == USUAL else f", in the order of {affinity}"
    lines = [f"candidates for {facts.get('module', '?')}, predicted ms to completion{order}"]
    lines += [f"  {line}" for line in table(heads, rows)]
    width = max((len(str(c.get("name", ""))) for c in facts.get("excluded", [])), default=0)
    for excluded in facts.get("excluded", []):
        lines.append(f"  {excluded.get('name', ''):<{width}}  no: {excluded.get('reason', '')}")
    return lines


def _row(candidate: Mapping[str, Any], parts: list[str]) -> list[Cell]:
    notes = [*(["← chosen"] if candidate.get("chosen") else [])]
    notes += ["local"] if candidate.get("local") else []
    notes += ["run estimated"] if candidate.get("estimated") else []
    given = candidate.get("parts", {})
    numbers: list[Cell] = [_number(given.get(name)) for name in parts]
    name = str(candidate.get("name", ""))
    return [name, _number(candidate.get("score_ms")), *numbers, ", ".join(notes)]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
