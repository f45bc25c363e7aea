"""`meshnode bench`: what meshnode adds to onnxruntime here, and how it places. No node needed."""

import argparse
from typing import Any

from meshnode.cli.output import print_json

BENCHES = ("runtime", "placement")
SECONDS = 30.0


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "bench",
        description="runtime: measure in this process, each figure beside session.run of the same "
        "model: the overhead of each ABI, the stages of a cold start, batching, and throughput. "
        "About a minute. placement: start three nodes that play devices of 50, 100 and 200 ms, and "
        "send them Poisson load through one door and through three. About three minutes. Both "
        "judge nothing: a quiet machine gives better figures.",
    )
    parser.add_argument("what", choices=BENCHES)
    parser.add_argument("--quick", action="store_true", help="few samples, about ten seconds")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="of each case of placement (default 30)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print each row as it is measured, or one JSON object at the end."""
    from time import perf_counter

    from meshnode.bench.facts import load, machine_facts, text
    from meshnode.bench.rows import HEAD
    from meshnode.bench.runtime import FULL, QUICK, runtime_rows

    if args.what == "placement":
        return _placement(args)
    started, facts = perf_counter(), machine_facts()
    if not args.json:
        print(f"{text(facts)}\n{HEAD}", flush=True)
    rows = []
    for row in runtime_rows(QUICK if args.quick else FULL):
        rows.append(row.facts())
        if not args.json:
            print(row.line(), flush=True)
    took_s = round(perf_counter() - started, 1)
    if args.json:
        print_json(
            {
                "bench": args.what,
                "quick": args.quick,
                "machine": facts,
                "load_after": load(),
                "took_s": took_s,
                "rows": rows,
            }
        )
    else:
        print(f"  took {took_s} s; load average after: {load()}")
    return 0


def _placement(args: argparse.Namespace) -> int:
    """Print each case as it is measured, or one JSON object at the end."""
    from meshnode.bench.facts import machine_facts, text
    from meshnode.bench.placement import CAPACITY_PER_S, HEAD, line, placement_rows

    facts = machine_facts()
    if not args.json:
        print(f"{text(facts)}\n  capacity {CAPACITY_PER_S:g} requests/s\n{HEAD}", flush=True)
    rows = []
    for row in placement_rows(args.seconds):
        rows.append(row)
        if not args.json:
            print(line(row), flush=True)
    if args.json:
        print_json(
            {"bench": "placement", "machine": facts, "capacity_per_s": CAPACITY_PER_S, "rows": rows}
        )
    return 0
