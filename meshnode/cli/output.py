"""What verbs print: one JSON object, or tables and lines for people."""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from meshnode.wire.control import VERSION

Cell = str | int | float | None


def print_json(fields: Mapping[str, Any]) -> None:
    """Print one object on one line, with the schema version first."""
    print(json.dumps({"v": VERSION, **fields}, ensure_ascii=False, allow_nan=False))


def say(args: argparse.Namespace, *lines: str) -> None:
    """Print words for people; nothing with --json or --quiet."""
    if not args.json and not args.quiet:
        for line in lines:
            print(line)


def table(heads: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[str]:
    """Return aligned lines, the heads first. Numbers stand to the right, None is a dash."""
    texts = [[_text(cell) for cell in row] for row in rows]
    widths = [max(len(r[i]) for r in [list(heads), *texts]) for i in range(len(heads))]
    numeric = [
        bool(rows) and all(isinstance(row[i], int | float | None) for row in rows)
        for i in range(len(heads))
    ]
    lines = []
    for cells in [list(heads), *texts]:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=True)
        )
        lines.append("  ".join(padded).rstrip())
    return lines


def ms(value: object) -> str:
    """Return milliseconds for people: two digits below ten, one above."""
    if not isinstance(value, int | float):
        return "—"
    return f"{value:.2f} ms" if abs(value) < 10 else f"{value:.1f} ms"


def _text(cell: Cell) -> str:
    if cell is None:
        return "—"
    return f"{cell:.1f}" if isinstance(cell, float) else str(cell)
