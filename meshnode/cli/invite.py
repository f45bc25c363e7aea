"""`meshnode invite`: one string that admits another device."""

import argparse
from datetime import UTC, datetime
from typing import Any

from meshnode.cli.output import print_json
from meshnode.client.client import connect
from meshnode.config.units import parse_duration
from meshnode.errors import UsageError


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "invite",
        description="Make a string that admits another device to this mesh. Whoever has it can "
        "join until it expires or is used up, while this node runs.",
    )
    parser.add_argument("--uses", type=int, default=1, metavar="N", help="devices (default 1)")
    parser.add_argument("--ttl", default="1h", help="how long it is good: 10min, 8h (default 1h)")
    parser.add_argument(
        "--role",
        default="member",
        help="member: serves, invites and publishes (default); worker: serves only",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Open an invite at the local node and print it."""
    try:
        ttl_s = parse_duration(args.ttl)
    except ValueError as error:
        raise UsageError(f"--ttl: {error}") from error
    with connect(args.home) as client:
        made = client.invite(uses=args.uses, ttl=ttl_s, role=args.role)
    if args.json:
        print_json(made)
        return 0
    if args.quiet:
        print(made["invite"])
        return 0
    until = datetime.fromtimestamp(made["expires_at"], UTC).astimezone()
    uses = "single use" if made["uses"] == 1 else f"{made['uses']} uses"
    print(made["invite"])
    print(f"  {uses} · expires {until:%Y-%m-%d %H:%M} ({args.ttl}) · role {made['role']}")
    print(f"  on the new device:   meshnode join {made['invite']}")
    return 0
