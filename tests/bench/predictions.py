"""Predicted against actual time of warm requests, one at a time: real models, three real nodes.

The baseline of each figure is hindsight: one line through all that the requests took, by rows, for
each module and each way (own node or another), drawn afterwards. What is beyond that is noise that
no prediction can know.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random

import numpy as np

from meshnode.bench.rows import Row
from meshnode.client.client import Client
from meshnode.demo.processes import Playground
from meshnode.placement.accuracy import NEAR
from tests.bench import models
from tests.bench.meshes import found, joined, packed, playground

WARM_UP, COUNT, SEED, DEADLINE_S = 60, 150, 1, 10.0
ANY = tuple(range(1, 65))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is asked, and through whose door."""

    what: str
    modules: tuple[tuple[str, tuple[int, ...]], ...]
    """Of `models`, each with the rows that its requests may have."""
    doors: str = "workers"
    """"gate" has no models: every request goes to another node."""


CASES = (
    Case(what="perceptron of 1 to 64 rows", modules=(("perceptron", ANY),)),
    Case(what="the same from a node without models", modules=(("perceptron", ANY),), doors="gate"),
    Case(what="transformer of 1 to 64 rows", modules=(("transformer", ANY),)),
    Case(what="two modules on all nodes", modules=(("perceptron", ANY), ("tiny", (1, 2, 4)))),
    Case(what="tiny inputs", modules=(("tiny", (1,)),)),
    Case(what="tiny inputs from a node without models", modules=(("tiny", (1,)),), doors="gate"),
    Case(what="600 KB", modules=(("wide", (1,)),)),
    Case(what="600 KB from a node without models", modules=(("wide", (1,)),), doors="gate"),
    Case(what="convolutions of 5 and 20 ms", modules=(("slow", (1, 4)),)),
    Case(what="the same from a node without models", modules=(("slow", (1, 4)),), doors="gate"),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One answered request."""

    group: tuple[str, bool]
    rows: int
    predicted_ms: float
    took_ms: float


def rows() -> Iterator[Row]:
    """Yield for each case the share within 30 % and what hindsight would have had."""
    with playground() as play, ExitStack() as held:
        first = found(play, "a")
        procs = [first, joined(play, first, "b"), joined(play, first, "c")]
        gate = joined(play, first, "gate", "--caps", "cpu")
        workers = [held.enter_context(play.client(p)) for p in procs]
        doors = {"workers": workers, "gate": [held.enter_context(play.client(gate))]}
        names = sorted({name for case in CASES for name, _ in case.modules})
        inputs = {name: _published(play, workers[0], name) for name in names}
        for case in CASES:
            seen = _measure(case, doors[case.doors], inputs)
            near = [abs(s.predicted_ms - s.took_ms) <= NEAR * s.took_ms for s in seen]
            base = Row(what="  hindsight", unit="%", samples=_shares(_hindsight(seen)))
            yield Row(what=case.what, unit="%", samples=_shares(near), baseline=base)
            yield base


def _published(play: Playground, client: Client, name: str) -> dict[str, np.ndarray]:
    model, inputs = getattr(models, name)()
    proc = next(iter(play.procs.values()))
    client.publish(packed(play, proc, model, name), replicas=3)
    return dict(inputs)


def _measure(
    case: Case, doors: Sequence[Client], inputs: dict[str, dict[str, np.ndarray]]
) -> list[Seen]:
    rng, seen = Random(SEED), []
    for number in range(WARM_UP + COUNT):
        name, sizes = rng.choice(case.modules)
        count, door = rng.choice(sizes), rng.choice(doors)
        batch = {key: np.repeat(value, count, axis=0) for key, value in inputs[name].items()}
        result = door.predict(name, batch, deadline=DEADLINE_S, explain=True)
        last = result.attempts[-1]
        assert result.explain is not None
        own = next(c["local"] for c in result.explain["candidates"] if c["chosen"])
        if number >= WARM_UP:
            seen.append(Seen((name, own), count, last["predicted_ms"], last["took_ms"]))
    return seen


def _hindsight(seen: Sequence[Seen]) -> list[bool]:
    """Return who is within 30 % of the line through its group: least error in shares, by IRLS."""
    near: list[bool] = []
    for group in {s.group for s in seen}:
        count = np.array([s.rows for s in seen if s.group == group], float)
        took = np.array([s.took_ms for s in seen if s.group == group])
        columns = [np.ones_like(count)] + ([count] if len(set(count)) > 1 else [])
        shape, weight = np.stack(columns, axis=1), 1 / took
        for _ in range(30):
            line = np.linalg.lstsq(shape * weight[:, None], took * weight, rcond=None)[0]
            off = np.abs(shape @ line - took) / took
            weight = 1 / took / np.sqrt(np.maximum(off, 0.05))
        near += list(off <= NEAR)
    return near


def _shares(near: Sequence[bool]) -> list[float]:
    return [100 * sum(near) / len(near)]
