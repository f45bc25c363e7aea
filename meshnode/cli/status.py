"""`meshnode status`: what the node here knows of itself."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from meshnode.cli.output import print_json
from meshnode.client.client import connect
from meshnode.config.units import duration_text, size_text

NOT_READY = 5


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "status",
        description="Show what the node here knows of itself. Exit 3 if none runs.",
    )
    parser.add_argument(
        "--ready",
        action="store_true",
        help="only say whether it is ready: its pinned modules are warm; exit 5 if not",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the local node's facts."""
    with connect(args.home) as client:
        facts = client.status()
    if args.ready:
        return _ready(args, facts)
    if args.json:
        print_json({"status": facts})
        return 0
    lines = list(_lines(facts))
    width = max((len(name) for name, _ in lines), default=0)
    for name, text in lines:
        print(f"  {name:<{width}}  {text}")
    return 0


def _ready(args: argparse.Namespace, facts: Mapping[str, Any]) -> int:
    ready, pins = bool(facts["ready"]), facts["pinned"]
    waiting = [f"{p['ref']}: {p['reason'] or p['state']}" for p in pins if p["state"] != "warm"]
    if args.json:
        print_json({"ready": ready, "waiting": waiting})
    elif not args.quiet:
        print("ready" if ready else "\n".join(["not ready", *(f"  {line}" for line in waiting)]))
    return 0 if ready else NOT_READY


def _lines(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a line for each fact, whatever the node chose to report."""
    for key, value in facts.items():
        if key == "pinned":
            yield from ((key, pin_text(pin)) for pin in value)
            continue
        if value in (None, [], {}, ""):
            continue
        name, text = _unit(key, value)
        yield name.replace("_", " "), text


def pin_text(pin: Mapping[str, Any]) -> str:
    """Return how a pinned module stands: `detect: warm (detect@1.2.0)`."""
    kept = f" ({pin['module']})" if pin["module"] else ""
    return f"{pin['ref']}: {pin['state']}{kept}" + (f", {pin['reason']}" if pin["reason"] else "")


def _unit(key: str, value: object) -> tuple[str, str]:
    """Return a name without its unit, and the value with it."""
    if isinstance(value, Mapping):
        parts = [" ".join(_unit(k, v)) for k, v in value.items()]
        return key, " · ".join(part.replace("_", " ") for part in parts)
    if isinstance(value, list | tuple):
        apart = " · " if any(" " in str(v) for v in value) else " "
        return key, apart.join(str(v) for v in value)
    if isinstance(value, bool):
        return key, "yes" if value else "no"
    if isinstance(value, int | float):
        if key.endswith("_bytes"):
            return key.removesuffix("_bytes"), size_text(int(value))
        if key.endswith("_ms"):
            return key.removesuffix("_ms"), f"{value:g} ms"
        if key.endswith("_s"):
            return key.removesuffix("_s"), duration_text(round(value, 1))
        return key, f"{value:g}"
    return key, str(value)
