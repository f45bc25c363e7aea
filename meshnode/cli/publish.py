"""`meshnode publish`: announce a module and spread copies of it."""

import argparse
from pathlib import Path
from typing import Any

from meshnode.cli.output import print_json
from meshnode.client.client import REPLICAS, connect
from meshnode.config.units import size_text


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "publish",
        description="Announce a packed module under its name and ask neighbours to hold copies. "
        "Weights that lie beside it are found by their hash.",
    )
    parser.add_argument("file", type=Path, metavar="FILE.wasm")
    parser.add_argument(
        "--replicas", type=int, default=REPLICAS, metavar="N", help=f"copies (default {REPLICAS})"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="weights elsewhere",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Publish and say where the copies are."""
    with connect(args.home) as client:
        done = client.publish(args.file, weights=args.weights, replicas=args.replicas)
    if args.json:
        print_json({"published": done})
        return 0
    print(f"{done['name']}@{done['version']} sha256:{done['module']}")
    if args.quiet:
        return 0
    copies = [replica for replica in done["replicas"] if replica["ok"]]
    print(f"  signed by   {done['publisher']}")
    print(f"  here        {size_text(done['size'])}, {done['tried_here']}")
    print(f"  announced   name record kept by {done['name_record_kept_by']} nodes")
    print(f"  replicas    {1 + len(copies)}/{args.replicas}", end="")
    print(f"  {', '.join(replica['name'] for replica in copies)}" if copies else "")
    for replica in done["replicas"]:
        if not replica["ok"]:
            print(f"  refused     {replica['name']}: {replica['detail']}")
    return 0
