"""`meshnode stop`: drain the node here and stop it."""

import argparse
from typing import Any

from meshnode.cli.output import print_json, say
from meshnode.client.client import connect


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "stop", description="Let the node here finish what it is running (10 s at most), and end."
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask the local node to stop; it goes on draining after this returns."""
    with connect(args.home) as client:
        stopping = client.stop()
    if args.json:
        print_json({"stopping": stopping})
    say(args, f"{stopping['name']} (process {stopping['pid']}) is draining and will stop")
    return 0
