"""`meshnode revoke`: expel a device from the mesh, everywhere."""

import argparse
from typing import Any

from meshnode.cli.output import print_json
from meshnode.client.client import connect


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "revoke",
        description="Expel a device: every node refuses it, what it admitted and what it "
        "published, and the mesh's key is replaced. For ever: it comes back only with a new key "
        "and a new invite. Takes a node with the role admin, such as the founder.",
    )
    parser.add_argument("who", metavar="NAME|ID|KEY", help="as meshnode peers shows it")
    parser.add_argument("--reason", required=True, help="a few words, shown to everybody")
    parser.add_argument(
        "--keep-key",
        action="store_true",
        help="do not replace the mesh's key now; follow with meshnode rotate, for until then the "
        "expelled device can still read and disturb gossip",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Revoke at the local node and say who has heard of it."""
    with connect(args.home) as client:
        done = client.revoke(args.who, args.reason, rotate=not args.keep_key)
    if args.json:
        print_json({"revoked": done})
    elif not args.quiet:
        print("\n".join(lines(done)))
    return 0


def lines(done: dict[str, Any]) -> list[str]:
    """Return what is said about a revocation."""
    word = "revoked already" if done["already"] else f"signed revocation #{done['number']}"
    told = f"  {word} · reached {done['reached']}/{done['members']} nodes"
    found = [f"{told} · connections to {done['name']} closed"]
    if done["not_reached"]:
        names = ", ".join(done["not_reached"])
        verb = "is" if len(done["not_reached"]) == 1 else "are"
        found.append(f"  {names} {verb} offline, will get it on return")
    if done["seeds_told"] < done["seeds"]:
        silent = done["seeds"] - done["seeds_told"]
        found.append(f"  {silent} of {done['seeds']} seeds did not hear it yet, will be told")
    if done["fallen"]:
        found.append(f"  fall with it, for it had admitted them: {', '.join(done['fallen'])}")
        uses = f" --uses {len(done['fallen'])}" if len(done["fallen"]) > 1 else ""
        found.append(
            f"  to keep them, invite them anew:  meshnode invite{uses}   "
            "(on each: meshnode stop, then join and start; it keeps its key and files)"
        )
    if done["rotating"]:
        found.append("  the mesh's key is being replaced:  meshnode rotate --status")
    else:
        found.append(f"  {done['name']} still has the mesh's key:  meshnode rotate --keep 0s")
    return found
