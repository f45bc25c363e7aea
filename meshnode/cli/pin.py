"""`meshnode pin`: the modules that the node here keeps fetched, warm and up to date."""

import argparse
from typing import Any

from meshnode.cli.output import print_json
from meshnode.cli.status import pin_text
from meshnode.client.client import connect


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "pin",
        description="Keep a module at hand on the node here: fetched at once, warm, renewed when a "
        "new version is published, over restarts too. Without a name, list what is pinned. "
        "modules.pin in node.toml does the same.",
    )
    parser.add_argument("module", nargs="?", metavar="MODULE", help="name, name@1.2.0 or a hash")
    parser.add_argument("--remove", action="store_true", help="end the pin")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Pin, unpin or list at the local node."""
    with connect(args.home) as client:
        if args.module is None:
            pins = client.pins()
        elif args.remove:
            pins = client.unpin(args.module)
        else:
            pins = client.pin(args.module)
    if args.json:
        print_json({"pins": pins})
    elif pins:
        print("\n".join(pin_text(pin) for pin in pins))
    elif not args.quiet:
        print("nothing is pinned here")
    return 0
