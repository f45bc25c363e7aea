"""`meshnode accept`: let devices of this LAN into the mesh by a code that people compare."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from meshnode.cli.output import print_json, say
from meshnode.client.client import Client, connect
from meshnode.config.units import parse_duration
from meshnode.errors import PairingRefused, UsageError

if TYPE_CHECKING:
    from meshnode.net.lan import LanSockets

INVITE_S = 600
"""The invite that a device is given is good for so long, and once."""
WRONG_MAX = 3
"""Codes that were typed wrong: somebody in between gets no more attempts than these."""


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "accept",
        description="Wait for devices of this LAN that run `meshnode join --lan`, and let those in "
        "whose code you type. Needs the node here to run.",
    )
    parser.add_argument("--for", dest="for_", default="10min", help="how long (default 10min)")
    parser.add_argument("--role", default="member", help="as in meshnode invite")
    parser.add_argument("--devices", type=int, default=1, metavar="N", help="end after N (1)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Open a door, and let in whom the person at the keyboard lets in."""
    try:
        for_s = parse_duration(args.for_)
    except ValueError as error:
        raise UsageError(f"--for: {error}") from error
    if args.devices < 1:
        raise UsageError("--devices: at least 1")
    with connect(args.home) as client:
        mesh = client.status()["mesh"]["name"]
        say(args, f'letting devices into "{mesh}" for {args.for_}; on each:  meshnode join --lan')
        admitted = let_in(args, client, mesh, for_s)
    if args.json:
        print_json({"accepted": admitted})
    elif not admitted:
        say(args, "nobody was let in")
    return 0


def let_in(
    args: argparse.Namespace,
    client: Client,
    mesh: str,
    for_s: float,
    sockets: "LanSockets | None" = None,
) -> list[dict[str, str]]:
    """Return whom the person let in; raises PairingRefused after too many wrong codes."""
    import trio

    from meshnode.net.lan import LanSockets, outward
    from meshnode.net.pairing import Door

    admitted: list[dict[str, str]] = []
    wrong = 0

    async def decide(name: str, host: str, code: str) -> bytes:
        nonlocal wrong
        typed = await trio.to_thread.run_sync(_typed, name, host, abandon_on_cancel=True)
        if typed != code:
            wrong += bool(typed)
            say(args, f"  ✗ {'that is not its code: ' if typed else ''}{name} is not let in")
            if wrong >= WRONG_MAX:
                scope.cancel()
            return b""
        made = await trio.to_thread.run_sync(
            lambda: client.invite(uses=1, ttl=INVITE_S, role=args.role)
        )
        admitted.append({"name": name, "host": host})
        say(args, f"  ✓ {name} may join")
        return str(made["invite"]).encode()

    async def door() -> None:
        async with trio.open_nursery() as nursery:
            lan = sockets or LanSockets(interfaces=outward)
            opened = Door(mesh, decide, lan)
            nursery.start_soon(opened.run)
            while opened.let_in < args.devices:
                await opened.answered()
            nursery.cancel_scope.cancel()

    async def main() -> None:
        with trio.move_on_after(for_s), scope:
            await door()

    scope = trio.CancelScope()
    trio.run(main)
    if wrong >= WRONG_MAX:
        raise PairingRefused(
            f"{wrong} wrong codes were typed: nobody else is let in",
            because=["somebody on this LAN may be in between, or the digits were misread"],
            try_="meshnode accept   (or on a network that you trust more: meshnode invite)",
        )
    return admitted


def _typed(name: str, host: str) -> str:
    """Ask the person for the code that the other device shows; nothing refuses it."""
    print(
        f'"{name}" at {host} wants to join. The code that it shows (nothing: refuse): ',
        end="",
        file=sys.stderr,
        flush=True,
    )
    return "".join(sys.stdin.readline().split())
