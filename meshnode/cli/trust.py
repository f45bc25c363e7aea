"""`meshnode trust`: the publishers whose modules may run here, and who is expelled."""

import argparse
from datetime import UTC, datetime
from typing import Any

from meshnode.cli.output import print_json, say, table
from meshnode.client.client import connect


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "trust",
        description="List the publishers trusted here and the devices revoked, or trust another "
        "publisher.",
    )
    actions = parser.add_subparsers(metavar="list|add")
    actions.add_parser("list", help="list the publishers trusted here (default)")
    add = actions.add_parser("add", help="trust a publisher's key from now on")
    add.add_argument("add", metavar="KEY", help="the key, as inspect and modules show it")
    add.add_argument("--name", required=True, help="what to call this publisher")
    parser.set_defaults(run=run, add=None)


def run(args: argparse.Namespace) -> int:
    """List or add."""
    with connect(args.home) as client:
        if args.add is not None:
            added = client.trust(args.add, args.name)
            if args.json:
                print_json({"added": added})
            say(args, f"modules signed by {added['name']} ({added['short']}) may run here now")
            return 0
        publishers, revoked = client.publishers(), client.revocations()
        members = 1 + sum(peer["state"] in ("alive", "suspect") for peer in client.peers())
    if args.json:
        print_json({"publishers": publishers, "members": members, "revoked": revoked})
        return 0
    if publishers:
        rows = [[p["name"], p["short"], p["by"], p["key"]] for p in publishers]
        print("\n".join(table(("PUBLISHER", "SHORT", "TRUSTED BY", "KEY"), rows)))
    else:
        print("no publisher is trusted here yet:  meshnode trust add KEY --name NAME")
    print(f"nodes: {members} here now, {len(revoked)} revoked")
    for r in revoked:
        day = datetime.fromtimestamp(r["at"], UTC).astimezone()
        print(f"  {r['name']} ({r['short']})  {r['reason']}  {day:%Y-%m-%d} by {r['by']}")
    return 0
