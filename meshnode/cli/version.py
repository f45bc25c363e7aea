"""`meshnode version`: this package's version."""

import argparse
import platform
from typing import Any

from meshnode import __version__
from meshnode.cli.output import print_json


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser("version", description="Show the version of meshnode.")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the version."""
    if args.json:
        print_json({"version": __version__, "python": platform.python_version()})
    else:
        print(f"meshnode {__version__}")
    return 0
