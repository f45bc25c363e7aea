"""Turns: which lanes may run a batch now. Plain bookkeeping; first come, first served while that
costs nobody his deadline.

A batch that runs models takes every core, because onnxruntime does; two of them beside each other
would only slow each other down. A batch of a pure Wasm module takes one core, so there is room for
as many of those as there are cores. See decisions/0008.

Where more waits at the node than can be held, the next turn is not that of the oldest batch but of
the flow that has had least of the machine (`batching/fairness.py`): else a source that spreads over
k modules would have k turns in k + 1. A batch stands for the flows in it, and for those that wait
behind it for the same module: whoever has had least must not wait for a flood's batch to get its
turn.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from meshnode.batching.fairness import Flow, Shares


@dataclass(frozen=True, slots=True)
class _Asked:
    """A batch that waits for its turn."""

    cores: int
    start: Callable[[], None]
    flows: Collection[Flow]
    behind: Callable[[], Collection[Flow]]


class Turns:
    """Shares the cores among lanes."""

    def __init__(
        self,
        cores: int,
        shares: Shares | None = None,
        crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        """`crowded` tells whether more waits at the node than can be held."""
        self.cores = max(1, cores)
        self._free = self.cores
        self._shares = Shares() if shares is None else shares
        self._crowded = crowded
        self._waiting: list[_Asked] = []

    def ask(
        self,
        cores: int,
        start: Callable[[], None],
        flows: Collection[Flow] = (),
        behind: Callable[[], Collection[Flow]] = tuple,
    ) -> None:
        """Call `start` when so many cores are free: at once, or from a later `give_back`.

        `flows` are those of the batch, `behind` tells which wait for the same module now.
        """
        cores = min(cores, self.cores)
        if not self._waiting and cores <= self._free:
            self._free -= cores
            start()
            return
        self._waiting.append(_Asked(cores, start, flows, behind))
        for flow in flows:
            self._shares.joined(flow)
        self._grant()

    def give_back(self, cores: int) -> None:
        """A batch that had its turn is done."""
        self._free += min(cores, self.cores)
        assert self._free <= self.cores, "more turns were given back than were given"
        self._grant()

    def _grant(self) -> None:
        # In order, though a small one behind a large one might fit: else a module that needs all
        # cores might never get them.
        while self._waiting:
            asked = self._next()
            if asked.cores > self._free:
                return
            self._waiting.remove(asked)
            for flow in asked.flows:
                self._shares.left(flow)
            self._free -= asked.cores
            asked.start()

    def _next(self) -> _Asked:
        """Return whose turn it is."""
        if len(self._waiting) < 2 or not self._crowded():
            return self._waiting[0]
        served = [
            (asked, dict.fromkeys((*asked.flows, *asked.behind()))) for asked in self._waiting
        ]
        flows = [flow for _, its in served for flow in its]
        if not flows:
            return self._waiting[0]
        first = self._shares.first(flows)
        return next(asked for asked, its in served if first in its)
