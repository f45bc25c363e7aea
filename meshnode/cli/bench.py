"""`meshnode bench`: what meshnode adds to onnxruntime here, and how it places. No node needed."""

import argparse
from pathlib import Path
from typing import Any

from meshnode.cli.output import print_json

BENCHES = ("runtime", "placement")
SECONDS = 30.0
LOAD = 0.8
LOADS = (0.5, 0.7)
SCENARIO_BYTES_MAX = 100_000


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "bench",
        description="runtime: measure in this process, each figure beside session.run of the same "
        "model: the overhead of each ABI, the stages of a cold start, batching, and throughput. "
        "About a minute. placement: start three nodes that play devices of 50, 100 and 200 ms, and "
        "send them Poisson load through one door and through three, at 50 and 70 % of what they "
        "can do or at --load; above 1 with deadlines and a source that floods. About three "
        "minutes. Both judge nothing: a quiet machine gives better figures. "
        "--sim or --scenario: a fleet on a virtual clock with the shipped placement, beside an "
        "oracle that knows everything and the usual policies.",
    )
    parser.add_argument("what", nargs="?", choices=BENCHES)
    parser.add_argument("--quick", action="store_true", help="few samples, about ten seconds")
    parser.add_argument(
        "--seconds",
        type=float,
        help="of each case of placement (default 30); virtual ones to measure a fleet for",
    )
    fleet = parser.add_argument_group("a fleet")
    fleet.add_argument(
        "--sim",
        metavar="KEY=N,...",
        help="like the article's: cameras=2000,fps=15,gateways=200,regional=20",
    )
    fleet.add_argument("--scenario", metavar="FILE.toml", help="one of your own")
    fleet.add_argument("--policy", action="append", default=[], help="may be given several times")
    parser.add_argument(
        "--load", type=float, help=f"share of capacity; of a fleet {LOAD:g} if not given"
    )
    fleet.add_argument("--seed", type=int, help="of machines, frames and noise (1)")
    fleet.add_argument("--svg", metavar="FILE", help="draw p99 against load; takes five runs each")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print each row as it is measured, or one JSON object at the end."""
    from meshnode.errors import UsageError

    if args.sim is not None and args.scenario is not None:
        raise UsageError("--sim and --scenario are two fleets: give one")
    if args.sim is not None or args.scenario is not None:
        if args.what is not None:
            raise UsageError(f"bench {args.what} has no fleet")
        if args.quick:
            raise UsageError("--quick is for bench runtime; a fleet takes --seconds")
        return _fleet(args)
    given = (
        ("policy", "seed", "svg") if args.what == "placement" else ("policy", "load", "seed", "svg")
    )
    if stray := next((key for key in given if getattr(args, key) not in (None, [])), None):
        raise UsageError(f"--{stray} is for a fleet: give --sim or --scenario with it")
    if args.what is None:
        raise UsageError("what is to be measured?", try_="meshnode bench runtime")
    return _placement(args) if args.what == "placement" else _runtime(args)


def _fleet(args: argparse.Namespace) -> int:
    """Simulate a fleet; the status is 0 whatever comes of it: it judges nothing."""
    from meshnode.bench import fleet
    from meshnode.errors import UsageError
    from meshnode.sim.fleet.scenario import BadScenario

    if args.seconds is not None and not 0.5 <= args.seconds <= 3600:
        raise UsageError("--seconds is from 0.5 to 3600")
    if args.svg is not None and not Path(args.svg).parent.is_dir():
        raise UsageError(f"--svg {args.svg}: there is no directory {Path(args.svg).parent}")
    case = None
    try:
        if args.sim is not None:
            case = fleet.read_case(args.sim)
            shape = fleet.shape_of(case)
        else:
            shape = fleet.read_scenario(_read(args.scenario))
        policies = fleet.policies_of(args.policy)
    except BadScenario as error:
        where = "" if str(error).startswith("--") else f"{args.scenario}: "
        raise UsageError(f"{where}{error}", try_="meshnode bench --help") from None
    wish = fleet.Wish(
        shape=shape,
        case=case,
        policies=policies,
        load=_load(args, LOAD),
        seconds=args.seconds,
        seed=1 if args.seed is None else args.seed,
        picture=args.svg is not None,
    )
    facts, picture = fleet.run(wish, _quiet if args.json else _say)
    if picture is not None:
        _write(args.svg, picture)
    if args.json:
        print_json({"bench": "fleet", **facts})
    return 0


def _load(args: argparse.Namespace, default: float) -> float:
    from meshnode.errors import UsageError

    if args.load is None:
        return default
    if not 0.01 <= args.load <= 5:
        hint = f"; {args.load:g} % is {args.load / 100:g}" if 5 < args.load <= 500 else ""
        raise UsageError(f"--load is a share of capacity, from 0.01 to 5{hint}")
    return float(args.load)


def _read(path: str) -> str:
    from meshnode.errors import UsageError

    try:
        with Path(path).open("rb") as file:
            data = file.read(SCENARIO_BYTES_MAX + 1)
        if len(data) > SCENARIO_BYTES_MAX:
            raise UsageError(f"{path} is larger than {SCENARIO_BYTES_MAX} bytes")
        return data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read", because=[str(error)]) from None


def _write(path: str, text: str) -> None:
    from meshnode.errors import UsageError

    try:
        Path(path).write_text(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written", because=[str(error)]) from None


def _say(line: str) -> None:
    print(line, flush=True)


def _quiet(line: str) -> None:
    """With --json only the object is printed."""


def _runtime(args: argparse.Namespace) -> int:
    """Measure what this runtime adds to onnxruntime."""
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


def _placement(args: argparse.Namespace) -> int:
    """Print each case as it is measured, or one JSON object at the end."""
    from meshnode.bench.facts import machine_facts, text
    from meshnode.demo.placement import CAPACITY_PER_S, HEAD, line, placement_rows

    loads = LOADS if args.load is None else (_load(args, 0.0),)
    facts = machine_facts()
    if not args.json:
        print(f"{text(facts)}\n  capacity {CAPACITY_PER_S:g} requests/s\n{HEAD}", flush=True)
    rows = []
    for row in placement_rows(args.seconds or SECONDS, loads):
        rows.append(row)
        if not args.json:
            print(line(row), flush=True)
    if args.json:
        print_json(
            {"bench": "placement", "machine": facts, "capacity_per_s": CAPACITY_PER_S, "rows": rows}
        )
    return 0
