"""`meshnode start`: run a node until it is stopped."""

import argparse
import logging
import os
import sys
import threading
from time import perf_counter
from typing import Any

from meshnode.config.home import Home, home_dir
from meshnode.errors import UsageError


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "start",
        description="Run a node until it is stopped. The first start makes an identity and a mesh "
        "of its own; to become part of another one, join it first.",
    )
    parser.add_argument("--name", help="shown to people (default: the host's name)")
    parser.add_argument("--listen", metavar="HOST:PORT", help="TCP and UDP (default 0.0.0.0:6174)")
    parser.add_argument(
        "--seed", action="append", metavar="KEY@HOST:PORT", help="a seed to ask for members"
    )
    parser.add_argument("--new-mesh", metavar="NAME", help="what to call the mesh of a first start")
    parser.add_argument(
        "--no-lan", action="store_true", help="neither announce this node on the LAN nor listen"
    )
    parser.add_argument("--caps", metavar="auto|cpu,nn", help="claim only these capabilities")
    parser.add_argument("--api", metavar="HOST:PORT|off", help="HTTP (default 127.0.0.1:6180)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override any key of node.toml",
    )
    parser.add_argument("--log-format", choices=("human", "json", "journal"), default="human")
    parser.add_argument("--foreground", action="store_true", help="the only mode, and the default")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run a node; exit 0 after a drain, 130 if it was hurried."""
    started = perf_counter()
    from meshnode.config.load import load

    home = home_dir(args.home)
    if args.new_mesh is not None and home.mesh_file.exists():
        raise UsageError(
            "this device belongs to a mesh already",
            because=[f"{home.mesh_file} says so"],
            try_="leave out --new-mesh, or give another --home",
        )
    config = load(home, overrides(args), default_name=admitted_as(home))

    from meshnode.gateway.access import access_for
    from meshnode.telemetry.logs import setup

    listen = config.api.listen
    access = None if listen is None else access_for(listen, config.api.token_file)
    setup(form=args.log_format, level="debug" if args.debug else config.observe.log)

    import trio

    from meshnode.cli.serving import Plan, run_node
    from meshnode.node.worker import LANE

    plan = Plan(
        config=config,
        home=home,
        access=access,
        new_mesh=args.new_mesh,
        as_json=args.json,
        quiet=args.quiet,
        started=started,
    )
    status = trio.run(run_node, plan)
    if any(thread.name.startswith(LANE) for thread in threading.enumerate()):
        # A guest outlived the time for goodbyes, inside native code that aborts the process when
        # the interpreter ends around it.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(status)
    return status


def admitted_as(home: Home) -> str:
    """Return the name this device was admitted under, or an empty one.

    A founder's certificate is the only one of its chain, and bears the mesh's name.
    """
    if not home.mesh_file.exists():
        return ""
    from meshnode.identity.certificates import read
    from meshnode.node.membership_files import load_mesh

    mesh = load_mesh(home.mesh_file)
    return read(mesh.chain[-1]).name if mesh is not None and len(mesh.chain) > 1 else ""


def overrides(args: argparse.Namespace) -> dict[str, object]:
    """Return the keys that flags set; None for a flag that was not given."""
    found: dict[str, object] = {}
    for text in args.set:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text}: write SECTION.KEY=VALUE")
        found[key.strip()] = value.strip()
    flags = {
        "node.name": args.name,
        "mesh.listen": args.listen,
        "mesh.seeds": args.seed,
        "caps.use": args.caps,
        "api.listen": args.api,
        "mesh.lan": False if args.no_lan else None,
    }
    return found | {key: value for key, value in flags.items() if value is not None}
