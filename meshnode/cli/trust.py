"""`meshnode trust`: the publishers whose modules may run here, and who is expelled."""

import argparse
import sys
from datetime import UTC, datetime
from typing import Any

from meshnode.cli.output import print_json, say, table
from meshnode.client.client import connect

BROKEN = 9
"""The exit status of what fails its verification."""


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "trust",
        description="List the publishers trusted here and the devices revoked, or trust another "
        "publisher.",
    )
    actions = parser.add_subparsers(metavar="list|add|log")
    actions.add_parser("list", help="list the publishers trusted here (default)")
    add = actions.add_parser("add", help="trust a publisher's key from now on")
    add.add_argument("add", metavar="KEY", help="the key, as inspect and modules show it")
    add.add_argument("--name", required=True, help="what to call this publisher")
    log = actions.add_parser("log", help="who was admitted, trusted, revoked here, and when")
    log.set_defaults(log=True)
    parser.set_defaults(run=run, add=None, log=False)


def run(args: argparse.Namespace) -> int:
    """List or add."""
    with connect(args.home) as client:
        if args.log:
            return show_log(args, client.trust_log())
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


def show_log(args: argparse.Namespace, log: dict[str, Any]) -> int:
    """Print the trust log; exit 9 if its chain is broken."""
    if args.json:
        print_json({"log": log})
    else:
        for entry in log["entries"]:
            at = datetime.fromtimestamp(entry["at"], UTC).astimezone()
            facts = "  ".join(f"{k} {v}" for k, v in entry.items() if k not in ("at", "what"))
            print(f"{at:%Y-%m-%d %H:%M:%S}  {entry['what']:<9}  {facts}")
        if log["broken_at"] is None:
            say(args, f"the chain is whole, its head is {log['head']}")
    if log["broken_at"] is not None:
        print(f"the chain breaks at entry {log['broken_at']}: it was changed", file=sys.stderr)
        return BROKEN
    return 0
