"""`meshnode rotate`: replace the mesh's key without an outage, and see how far it is."""

import argparse
import threading
from datetime import UTC, datetime
from typing import Any

from meshnode.cli.output import print_json, say
from meshnode.client.client import connect
from meshnode.config.units import parse_duration
from meshnode.errors import UsageError

POLL_S = 0.2
FOLLOW_S = 30.0
"""How long the command stays to watch; the node goes on without it."""


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "rotate",
        description="Replace the mesh's key: first every node gets the new one, then it is used, "
        "then the old one is thrown away. Requests go on throughout. Takes a node with the role "
        "admin, such as the founder.",
    )
    parser.add_argument("--status", action="store_true", help="only show how far it is")
    parser.add_argument(
        "--force", action="store_true", help="do not wait for nodes that do not answer"
    )
    parser.add_argument(
        "--wait", default="10min", help="how long a step waits for them (default 10min)"
    )
    parser.add_argument(
        "--keep", default="24h", help="how long the old key is still accepted (default 24h)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Begin, and watch until the new key is in use."""
    wait_s, keep_s = _duration("--wait", args.wait), _duration("--keep", args.keep)
    with connect(args.home) as client:
        if args.status:
            facts = client.rotation()
        else:
            facts = client.rotate(force=args.force, wait=wait_s, keep=keep_s)
            pause = threading.Event()
            for _ in range(round(FOLLOW_S / POLL_S)):
                if facts["stage"] != "accept":
                    break
                pause.wait(POLL_S)
                facts = client.rotation()
    if args.json:
        print_json({"rotation": facts})
    else:
        say(args, *lines(facts))
    return 0


def lines(facts: dict[str, Any]) -> list[str]:
    """Return how far a rotation is, for people."""
    if facts["epoch"] == 0:
        return ["the mesh's key was never replaced"]
    what = {
        "accept": "is being given out; the old one is in use",
        "use": "is in use; the old one is still accepted",
        "retire": "is in use; the old ones are thrown away",
    }[facts["stage"]]
    found = [f"  key {facts['epoch']} {what}"]
    if not facts["finished"]:
        found.append(f"  reached {facts['reached']}/{facts['members']} nodes that are alive")
        if facts["waiting"]:
            found.append(f"  waiting for {', '.join(facts['waiting'])}")
        if facts["stage"] == "use":
            found.append(f"  the old one is kept until {_time(facts['retire_at'])}")
    if facts["offline"]:
        found.append(f"  offline, will get it on return: {', '.join(facts['offline'])}")
    return found


def _duration(flag: str, text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from error


def _time(unix_s: int) -> str:
    return f"{datetime.fromtimestamp(unix_s, UTC).astimezone():%Y-%m-%d %H:%M}"
