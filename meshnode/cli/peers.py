"""`meshnode peers`: the other nodes of the mesh."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from meshnode.cli.output import Cell, ms, print_json, table
from meshnode.client.client import connect
from meshnode.client.control import command
from meshnode.config.home import home_dir

HEADS = ("NODE", "RTT", "CAPS", "WAIT", "RUNNING", "WARM/HELD", "LABELS", "STATE", "ADDRESS")


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser("peers", description="List the other nodes of the mesh.")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a row for each peer."""
    with connect(args.home) as client:
        peers = client.peers()
    if args.json:
        print_json({"peers": peers})
        return 0
    if not peers:
        print("no other node is known: this one is alone")
        if not args.quiet:
            print(f"to add a device:  {command(home_dir(args.home))} invite")
        return 0
    print("\n".join(table(HEADS, [_row(peer) for peer in peers])))
    if not args.quiet:
        print(summary(peers))
    return 0


def summary(peers: Sequence[Mapping[str, Any]]) -> str:
    """Return how many peers there are, and how many in each state: `2 peers · 1 alive · 1 dead`."""
    states = [str(peer.get("state", "unknown")) for peer in peers]
    counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    return " · ".join([f"{len(peers)} peer{'s' if len(peers) != 1 else ''}", *counts])


def _row(peer: Mapping[str, Any]) -> list[Cell]:
    load = peer.get("load") or {}
    state = str(peer.get("state", ""))
    if state != "alive" and peer.get("state_for_s") is not None:
        state += f" {peer['state_for_s']:.0f} s"
    if load.get("draining"):
        state += " (draining)"
    return [
        f"{peer.get('name', '')} ({peer.get('short', '')})",
        ms(peer.get("rtt_ms")),
        " ".join(peer.get("caps", [])),
        ms(load.get("wait_ms")),
        load.get("in_flight"),
        f"{load['warm']}/{load['held']}" if "held" in load and "warm" in load else "—",
        " ".join(f"{key}={value}" for key, value in peer.get("labels", {}).items()) or "—",
        state,
        str(peer.get("address", "")),
    ]
