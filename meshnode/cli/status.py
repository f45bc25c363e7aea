"""`meshnode status`: what the node here knows of itself."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from meshnode.cli.output import print_json
from meshnode.client.client import connect
from meshnode.config.units import duration_text, size_text


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "status",
        description="Show what the node here knows of itself. Exit 3 if none runs.",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the local node's facts."""
    with connect(args.home) as client:
        facts = client.status()
    if args.json:
        print_json({"status": facts})
        return 0
    lines = list(_lines(facts))
    width = max((len(name) for name, _ in lines), default=0)
    for name, text in lines:
        print(f"  {name:<{width}}  {text}")
    return 0


def _lines(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a line for each fact, whatever the node chose to report."""
    for key, value in facts.items():
        if value in (None, [], {}, ""):
            continue
        name, text = _unit(key, value)
        yield name.replace("_", " "), text


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
