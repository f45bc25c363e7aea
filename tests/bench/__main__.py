"""`python -m tests.bench [NAME ...] [--json FILE]`: prints figures; judges none of them."""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

from meshnode.bench.facts import load, machine_facts, text
from meshnode.bench.rows import HEAD
from tests.bench.meshes import bytecode

BENCHES = {
    "node": "start-up, --help, memory and idle CPU of a node",
    "runtime": "what the sandbox adds to onnxruntime, in one process",
    "batching": "what batches gain by size and model, and what a lane costs, in one process",
    "channel": "channels and datagrams against bare trio sockets, between two processes",
    "dht": "records put and got among 30 and 100 real nodes, 30 % of them killed",
    "predict": "a predict at a warm node, here and remote, against onnxruntime",
    "predictions": "predicted against actual time of requests of many sizes, at three nodes",
    "fetch": "a module fetched by its hash, against a plain TCP copy",
    "placement": "a decision over 32 candidates",
    "soak": "resident memory over 10^5 requests, 10^4 traps, 100 loads and unloads",
    "gossip": "an event to 2,000 simulated nodes, its bytes and CPU; false deaths by one starved",
    "demo": "wall time of meshnode demo",
}
"""Each bench is a file here whose `rows` yields its figures."""


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    made.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    made.add_argument("--list", action="store_true", help="list the benches and run none")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benches that were named, or all."""
    args = parser().parse_args(argv)
    if unknown := set(args.names) - set(BENCHES):
        print(f"no bench {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
        return 2
    if args.list:
        print("\n".join(f"{name:<12}{meaning}" for name, meaning in BENCHES.items()))
        return 0
    facts = machine_facts()
    print(text(facts))
    with bytecode():
        results = {name: run(name) for name in args.names or BENCHES}
    if args.json is not None:
        args.json.write_text(json.dumps({"v": 1, "machine": facts, "benches": results}, indent=1))
    return 1 if any(result["failed"] for result in results.values()) else 0


def run(name: str) -> dict[str, Any]:
    """Run one bench, printing its rows as they come; return all that is known of it."""
    print(f"\n{name}: {BENCHES[name]}  (load {load()})", flush=True)
    before, started = load(), perf_counter()
    rows: list[dict[str, Any]] = []
    failure = None
    try:
        print(HEAD)
        for row in import_module(f"tests.bench.{name}").rows():
            print(row.line(), flush=True)
            rows.append(row.facts())
    except Exception as error:  # the other benches are worth running all the same
        failure = f"{type(error).__name__}: {error}"
        print(f"  FAILED {failure}")
    took_s = round(perf_counter() - started, 1)
    print(f"  took {took_s} s; load after {load()}")
    return {"load_before": before, "took_s": took_s, "rows": rows, "failed": failure}


if __name__ == "__main__":
    sys.exit(main())
