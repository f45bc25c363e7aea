"""`python -m meshnode.sim`: run seeds, replay one, check that two runs are one, measure figures."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from os import cpu_count

from meshnode.sim.scenario import Outcome, run_seed


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the status is 1 if anything did not hold."""
    options = _parser().parse_args(arguments)
    run = options.run
    assert callable(run), "every command has one"
    return int(run(options))


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m meshnode.sim", description=__doc__)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("run", help="replay one seed and say what came of it")
    one.add_argument("--seed", type=int, required=True)
    one.add_argument("--nodes", type=int, help="instead of what the seed draws")
    one.set_defaults(run=_run)
    many = commands.add_parser("many", help="run many seeds on all cores; print those that fail")
    many.add_argument("count", type=int)
    many.add_argument("--first", type=int, default=1, help="the first seed")
    many.add_argument("--nodes", type=int)
    many.add_argument("--jobs", type=int, default=cpu_count() or 1)
    many.set_defaults(run=_many)
    twice = commands.add_parser("twice", help="run seeds twice; the event logs must be equal")
    twice.add_argument("seeds", type=int, nargs="+")
    twice.set_defaults(run=_twice)
    figures = commands.add_parser("figures", help="what the network's acceptance is measured by")
    figures.add_argument("names", nargs="*", help="which; all by default")
    figures.add_argument("--nodes", type=int, help="instead of each figure's own number")
    figures.add_argument("--seed", type=int, default=1)
    figures.set_defaults(run=_figures)
    placement = commands.add_parser(
        "placement-figures", help="what the placement's acceptance is measured by"
    )
    placement.add_argument("names", nargs="*", help="which; all by default")
    placement.add_argument("--seconds", type=float, default=20.0, help="virtual ones of each run")
    placement.add_argument("--seed", type=int, default=1)
    placement.set_defaults(run=_placement_figures)
    return parser


def _run(options: Namespace) -> int:
    outcome = run_seed(options.seed, nodes=options.nodes)
    _show(outcome)
    for name, value in outcome.facts.items():
        _say(f"  {name} {value:g}")
    return bool(outcome.failure)


def _many(options: Namespace) -> int:
    seeds = range(options.first, options.first + options.count)
    failed = 0
    for done, outcome in enumerate(_outcomes(seeds, options.nodes, options.jobs), 1):
        if done % 20 == 0:
            _say(f"{done} of {len(seeds)}, {failed} failed")
        if outcome.failure:
            failed += 1
            _show(outcome)
    _say(f"{len(seeds)} seeds, {failed} failed")
    return failed > 0


def _outcomes(seeds: range, nodes: int | None, jobs: int) -> Iterator[Outcome]:
    if jobs < 2:
        yield from (run_seed(seed, nodes=nodes) for seed in seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(partial(run_seed, nodes=nodes), seeds, chunksize=1)


def _twice(options: Namespace) -> int:
    different = 0
    for seed in options.seeds:
        first, second = run_seed(seed), run_seed(seed)
        same = first.digest == second.digest
        different += not same
        _say(f"seed {seed}: {first.digest} {'' if same else 'but then ' + second.digest}")
    return different > 0


def _figures(options: Namespace) -> int:
    from meshnode.sim.figures import FIGURES  # seconds of measuring are loaded when asked for

    for name in _chosen(options.names, FIGURES):
        for line in FIGURES[name](options.nodes, options.seed):
            _say(line)
    return 0


def _placement_figures(options: Namespace) -> int:
    from meshnode.sim.fleet.figures import FIGURES, Run

    for name in _chosen(options.names, FIGURES):
        for line in FIGURES[name](Run(seconds=options.seconds, seed=options.seed)):
            _say(line)
    return 0


def _chosen(names: Sequence[str], figures: Mapping[str, object]) -> Sequence[str]:
    """Return the figures asked for, all if none is named; ends the program at an unknown name."""
    for name in names:
        if name not in figures:
            raise SystemExit(f"no figure named '{name}'; there are {', '.join(figures)}")
    return names or list(figures)


def _show(outcome: Outcome) -> None:
    _say(f"seed {outcome.seed}: {outcome.knobs}")
    _say(f"  {outcome.packets} packets, {outcome.steps} steps, log {outcome.digest}")
    if outcome.failure:
        _say(f"  FAILED {outcome.failure}")
        _say(f"  replay: {outcome.command}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
