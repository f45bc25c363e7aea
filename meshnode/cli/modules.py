"""`meshnode modules`: the modules known in the mesh."""

import argparse
from collections.abc import Mapping
from typing import Any

from meshnode.cli.output import Cell, print_json, table
from meshnode.client.client import connect
from meshnode.config.units import size_text

HEADS = ("NAME", "VERSION", "SHA256", "SIGNED BY", "SIZE", "WARM/HELD", "HELD BY")
HOLDERS_SHOWN = 4


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser("modules", description="List the modules known in the mesh.")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a row for each version of each module."""
    with connect(args.home) as client:
        modules = client.modules()
    if args.json:
        print_json({"modules": modules})
    elif modules:
        print("\n".join(table(HEADS, [_row(module) for module in modules])))
    else:
        print("no modules yet:  meshnode pack model.onnx --name NAME --version 1.0.0")
    return 0


def _row(module: Mapping[str, Any]) -> list[Cell]:
    holders, warm = list(module.get("held_by", [])), list(module.get("warm_at", []))
    shown = ", ".join(holders[:HOLDERS_SHOWN])
    more = f" and {len(holders) - HOLDERS_SHOWN} more" if len(holders) > HOLDERS_SHOWN else ""
    return [
        str(module.get("name", "")),
        str(module.get("version", "")),
        str(module.get("module", ""))[:12],
        str(module.get("publisher", "")),
        size_text(int(module.get("size", 0))),
        f"{len(warm)}/{len(holders)}",
        shown + more,
    ]
