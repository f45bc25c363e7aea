"""`meshnode bootstrap`: run a seed, which introduces nodes to each other and nothing else."""

import argparse
from time import perf_counter
from typing import Any

from meshnode.cli.output import print_json, say
from meshnode.config.home import home_dir


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "bootstrap",
        description="Run a seed until it is stopped: it keeps signed, expiring records of where "
        "nodes are, and leads them to each other. It holds no mesh secret, runs no module and "
        "reads no payload.",
    )
    parser.add_argument("--listen", metavar="HOST:PORT", help="TCP and UDP (default 0.0.0.0:6174)")
    parser.add_argument("--name", help="shown to people (default: the host's name)")
    parser.add_argument(
        "--relay",
        metavar="SIZE",
        help="pass on so many bytes a second between members that cannot connect to each other, "
        "such as 10MB (default: none)",
    )
    parser.add_argument("--log-format", choices=("human", "json", "journal"), default="human")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run a seed; exit 0 when it was asked to stop."""
    started = perf_counter()
    from meshnode.config.load import load
    from meshnode.telemetry.logs import setup

    home = home_dir(args.home)
    config = load(
        home,
        {"mesh.listen": args.listen, "node.name": args.name, "mesh.relay": args.relay},
    )
    setup(form=args.log_format, level="debug" if args.debug else config.observe.log)

    import trio

    from meshnode.cli.notify import sd_notify
    from meshnode.cli.signals import stop_on_signals
    from meshnode.node.seed import open_seed

    async def serve() -> None:
        async with stop_on_signals() as stopping, open_seed(config, home) as seed:
            facts = {"name": config.node.name, **seed.status()}
            say_ready(args, facts, perf_counter() - started)
            sd_notify("READY=1", f"STATUS=seed at {facts['address']}")
            await stopping.wait()
            sd_notify("STOPPING=1")

    trio.run(serve)
    return 0


def say_ready(args: argparse.Namespace, facts: dict[str, Any], took_s: float) -> None:
    """Print who the seed is and the line that makes a node use it."""
    if args.json:
        print_json({"ready": {**facts, "took_s": round(took_s, 2)}})
    say(
        args,
        f"meshnode · seed {facts['name']} ({facts['short']}) · no modules, no mesh secrets, "
        "cannot read payloads",
        f"  listens   tcp+udp {facts['address']}",
        "  relay     on: it passes on what it cannot read"
        if facts["relay"]
        else "  relay     off (enable: --relay 10MB)",
        f"  share this with nodes:   meshnode start --seed {facts['seed']}",
        f"ready in {took_s:.1f} s",
    )
    # Whoever started us by a pipe is waiting for these lines.
    print(end="", flush=True)
