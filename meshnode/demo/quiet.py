"""Predictions of quiet nodes: requests of several modules and sizes, one at a time.

Each is explained, and what is said of it is checked: the parts make the score, the lowest is
chosen, and it takes about as long as was predicted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np

from meshnode.client.client import Client
from meshnode.placement.accuracy import NEAR

WARM_UP = 60
"""Requests that teach the nodes each other's runs, ways and sizes, and are not counted."""
ROWS = (1, 4, 16, 64)
ROUNDING_MS = 0.05
"""What the rounded parts of a score may be off their rounded sum."""
DEADLINE_S = 10.0


@dataclass(slots=True)
class Quiet:
    """What was said of the requests, and what came of them."""

    requests: int = 0
    near: int = 0
    sums: int = 0
    """Explanations whose every score is the sum of its parts."""
    lowest: int = 0
    """Explanations in which the chosen candidate has the lowest score."""
    metrics: list[float] = field(default_factory=list)
    """What the doors themselves say: the share of their predictions that were near."""

    def take(self, explained: Mapping[str, Any], last: Mapping[str, Any]) -> None:
        """Count one answered request."""
        candidates = explained["candidates"]
        self.requests += 1
        self.near += abs(last["predicted_ms"] - last["took_ms"]) <= NEAR * last["took_ms"]
        self.sums += all(
            abs(sum(c["parts"].values()) - c["score_ms"]) <= ROUNDING_MS for c in candidates
        )
        chosen = [c["score_ms"] for c in candidates if c["chosen"]]
        self.lowest += chosen == [min(c["score_ms"] for c in candidates)]

    def facts(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        count = max(1, self.requests)
        return {
            "quiet": True,
            "requests": self.requests,
            "predicted_within_30_percent": self.near / count,
            "parts_make_the_score": self.sums / count,
            "chosen_is_lowest": self.lowest / count,
            "metric_of_the_doors": sum(self.metrics) / max(1, len(self.metrics)),
        }


def measure_quiet(
    doors: Sequence[Client], modules: Sequence[str], image: np.ndarray, count: int, seed: int
) -> Quiet:
    """Send one request after the other, each through a random door."""
    rng, found = Random(seed), Quiet()
    for number in range(WARM_UP + count):
        door = rng.choice(doors)
        batch = np.repeat(image, rng.choice(ROWS), axis=0)
        result = door.predict(rng.choice(modules), batch, deadline=DEADLINE_S, explain=True)
        if number >= WARM_UP and result.explain is not None:
            found.take(result.explain, result.attempts[-1])
    for door in doors:
        said = door.status()["predictions"]["within_30_percent"]
        if said is not None:
            found.metrics.append(said)
    return found


def quiet_line(facts: Mapping[str, Any]) -> str:
    """Return it as lines under the table."""
    return (
        f"  quiet, {facts['requests']} requests of several modules and sizes, one at a time: "
        f"{100 * facts['predicted_within_30_percent']:.0f} % within 30 %"
        f" (the doors' own metric: {100 * facts['metric_of_the_doors']:.0f} %)\n"
        f"  parts that make the score: {100 * facts['parts_make_the_score']:.0f} %,"
        f" the chosen one is the lowest: {100 * facts['chosen_is_lowest']:.0f} %"
    )
