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
    parser.add_argument(
        "--invite",
        metavar="mesh1-…",
        help="try the addresses of an invite from here; needs no node, and does not use the invite",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the findings; exit 0 if all is well, 20 with warnings, 21 with failures."""
    if args.invite is not None:
        found = of_invite(args.invite)
    else:
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


def of_invite(text: str) -> dict[str, Any]:
    """Try an invite's addresses; one that leads to the sponsor is enough."""
    import trio

    from meshnode.identity.invites import parse
    from meshnode.net.invite_check import try_addresses

    tried = trio.run(try_addresses, parse(text))
    good = any(each.error is None for each in tried)
    findings = [
        {
            "area": "invite",
            "level": "ok" if each.error is None else "warning" if good else "failure",
            "text": f"the sponsor answers at {each.address} and knows the invite"
            if each.error is None
            else f"{each.address} does not lead to the sponsor",
            "code": "" if each.error is None else each.error.code,
            "because": [each.because] if each.because else [],
            "likely": "",
            "try": "" if each.error is None or good else "on the sponsor: meshnode status",
        }
        for each in tried
    ]
    bad = sum(each.error is not None for each in tried)
    return {
        "findings": findings,
        "failures": 0 if good else bad,
        "warnings": bad if good else 0,
    }


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
