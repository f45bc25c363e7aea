"""`meshnode doctor`: how this node stands with its mesh, or with one peer, and what to do."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from meshnode.cli.output import print_json
from meshnode.client.client import connect

WARNINGS, FAILURES = 20, 21
"""Exit statuses."""
SIGNS = {"ok": "✓", "warning": "‼", "failure": "✗"}
AREA_CHARS = 10
CODE_COLUMN = 92


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "doctor",
        description="Examine the running node: its seeds, its neighbours, and whether others can "
        "connect to it. With --peer, examine the way to one node in both directions.",
    )
    parser.add_argument("--peer", default="", metavar="NAME", help="a node's name, or its id")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the findings; exit 0 if all is well, 20 with warnings, 21 with failures."""
    with connect(args.home) as client:
        found = client.doctor(args.peer)
    status = FAILURES if found["failures"] else WARNINGS if found["warnings"] else 0
    if args.json:
        print_json({"diagnosis": {**found, "exit": status}})
        return status
    for finding in found["findings"]:
        if not args.quiet or finding["level"] != "ok":
            print("\n".join(lines(finding)))
    if not args.quiet:
        print(summary(found))
    return status


def lines(finding: Mapping[str, Any]) -> Iterator[str]:
    """Yield a finding for people, its code at the right."""
    first = f"{finding['area']:<{AREA_CHARS}}{SIGNS[finding['level']]} {finding['text']}"
    code = finding["code"]
    yield f"{first}{' ' * max(2, CODE_COLUMN - len(first))}{code}" if code else first
    indent = " " * (AREA_CHARS + 2)
    for index, fact in enumerate(finding["because"]):
        yield f"{indent}{'because' if index == 0 else '':<8} {fact}"
    for word in ("likely", "try"):
        if finding[word]:
            yield f"{indent}{word:<8} {finding[word]}"


def summary(found: Mapping[str, Any]) -> str:
    """Return how bad it is in one line: `1 failure, 2 warnings`."""
    counts = [(found["failures"], "failure"), (found["warnings"], "warning")]
    parts = [f"{count} {word}{'s' if count != 1 else ''}" for count, word in counts if count]
    return ", ".join(parts) or "all is well"
