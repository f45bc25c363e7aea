"""`python -m tests.fuzz.long [NAME ...] [--count N] [--seed S]`: hostile input until N were tried.

Each fuzzer prints its seed, what it tried and what came of it. Round i of seed S depends on S and i
alone (where rounds share an instance: on its block of rounds), so a failure says how to repeat it.
A process that dies without a word died in the ten seconds after its last line: `--start` there.
"""

import argparse
import faulthandler
import random
import sys
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from time import perf_counter

FUZZERS = {
    "preflight": ("modules, mutated and made up: structure, code scan, growth", 200_000),
    "metadata": ("the manifest of a module: bytes and plain values", 300_000),
    "signatures": ("signature sections and signed modules, changed", 200_000),
    "hostcalls": ("every host function, on the memory of a real instance", 2_000_000),
    "nncalls": ("wasi-nn, in sequences that are half right", 1_000_000),
    "wasicalls": ("WASI preview 1, on the memory of a real instance", 1_000_000),
}
"""Each is a file here with a class `Fuzzer`, and how many rounds `just fuzz` gives it."""
SAY_EVERY_S = 10.0


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = argparse.ArgumentParser(prog="python -m tests.fuzz.long", description=__doc__)
    made.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FUZZERS)}")
    made.add_argument("--count", type=int, metavar="N", help="rounds (default: each its own)")
    made.add_argument("--seed", type=int, metavar="S", help="default: a random one, printed")
    made.add_argument("--start", type=int, default=0, metavar="I", help="the first round")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run those that were named, or all."""
    args = parser().parse_args(argv)
    if unknown := set(args.names) - set(FUZZERS):
        print(f"no fuzzer {', '.join(sorted(unknown))}; there are {', '.join(FUZZERS)}")
        return 2
    faulthandler.enable()  # a crash of the process names the line that it came from
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(2**32)
    for name in args.names or FUZZERS:
        run(name, seed=seed, start=args.start, count=args.count or FUZZERS[name][1])
    return 0


def run(name: str, *, seed: int, start: int, count: int) -> Counter[str]:
    """Run one fuzzer; raise what it found, naming the round."""
    print(f"{name}: {FUZZERS[name][0]}; seed {seed}, rounds {start} to {start + count}", flush=True)
    fuzzer = import_module(f"tests.fuzz.long.{name}").Fuzzer()
    outcomes: Counter[str] = Counter()
    began = said = perf_counter()
    block = getattr(fuzzer, "block", 0)
    for i in range(start, start + count):
        if block and i % block == 0:
            fuzzer.fresh()
        try:
            outcomes[fuzzer.round(random.Random(seed << 32 | i))] += 1
        except BaseException as error:
            first = i - i % block if block else i
            again = f"{name} --seed {seed} --start {first} --count {i - first + 1}"
            error.add_note(f"again: python -m tests.fuzz.long {again}")
            raise
        if i % 256 == 0 and perf_counter() - said > SAY_EVERY_S:
            said = perf_counter()
            print(f"  round {i}, {(i - start) / (said - began):.0f}/s", flush=True)
    took = perf_counter() - began
    text = ", ".join(f"{what} {n}" for what, n in outcomes.most_common(24))
    print(
        f"  {count} rounds in {took:.1f} s ({count / took:.0f}/s), seed {seed}: {text}", flush=True
    )
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
