"""`meshnode bench`: what meshnode adds to onnxruntime on this machine. No node needed."""

import argparse
from typing import Any

from meshnode.cli.output import print_json

BENCHES = ("runtime",)


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "bench",
        description="Measure in this process, each figure beside session.run of the same model: "
        "the overhead of each ABI, the stages of a cold start, batching, and throughput. About a "
        "minute. It judges nothing: a quiet machine gives better figures.",
    )
    parser.add_argument("what", choices=BENCHES)
    parser.add_argument("--quick", action="store_true", help="few samples, about ten seconds")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print each row as it is measured, or one JSON object at the end."""
    from time import perf_counter

    from meshnode.bench.facts import load, machine_facts, text
    from meshnode.bench.rows import HEAD
    from meshnode.bench.runtime import FULL, QUICK, runtime_rows

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
