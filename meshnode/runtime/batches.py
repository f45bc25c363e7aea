"""Runs the requests of a batch together, and finds out who was to blame when that fails.

One bad request must not take the others with it, nor their time:

- A batch that fails is halved, and the halves again: one bad request of n costs about 2 log2 n
  calls. When more calls than that have failed, the rest is run one by one.
- A batch that is stopped for its time is not halved: each half that holds the culprit would burn
  the time limit again. Its requests run one by one, first on a short leash (`Pace`), and only those
  that break it get their full time, last. So k endless requests burn k time limits, as they
  would have without batching, and the others have their answers before that.
- A batch that fails though each of its requests succeeds was too large (for the guest's memory,
  for its outputs, for a model that does not batch after all): later ones are cut to half of it, and
  grow again when that has gone well for long.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from time import perf_counter
from typing import Protocol, TypeAlias

import numpy as np

from meshnode.errors import (
    DeadlineExceeded,
    MeshnodeError,
    ModuleFailed,
    TimeLimit,
)
from meshnode.runtime.tensors import Arrays

Outcome: TypeAlias = dict[str, np.ndarray] | MeshnodeError
Call: TypeAlias = Callable[[Arrays, int, int], dict[str, np.ndarray]]
"""Runs arrays of so many rows within so many ms; raises MeshnodeError."""
LEASH_MS_MIN = 100
"""Far above any hiccup of a machine, far below what a stranger's limit may be."""
LEASH_FACTOR = 8
PACE_KNOWN = 8
"""Calls, after which the usual time of a call counts as known."""
PACE_MEMORY = 0.98
GROW_AFTER = 64
"""Full parts, after which a size that once was too large is tried again."""


class Audience(Protocol):
    """Who waits for the requests of a batch; called from the thread that runs it."""

    def wanted(self, index: int) -> bool:
        """Return whether anybody still waits for this request."""
        ...

    def answered(self, index: int, outcome: Outcome) -> None:
        """Take an outcome that is ready before the batch is."""
        ...


class Nobody:
    """An audience that waits for everything until the end."""

    def wanted(self, index: int) -> bool:
        """See `Audience`."""
        return True

    def answered(self, index: int, outcome: Outcome) -> None:
        """See `Audience`."""


class Pace:
    """How long a call usually takes: the slowest of late, by rows."""

    def __init__(self) -> None:
        self._calls = 0
        self._slowest_s = 0.0
        self._rows = 1

    def learn(self, rows: int, took_s: float) -> None:
        """Take a call that succeeded."""
        self._calls += 1
        if took_s >= self._slowest_s * PACE_MEMORY:
            self._slowest_s, self._rows = took_s, rows
        else:
            self._slowest_s *= PACE_MEMORY

    def leash_ms(self, rows: int, run_ms: int) -> int:
        """Return the time after which a call is suspicious; `run_ms` if that is not known."""
        if self._calls < PACE_KNOWN:
            return run_ms
        usual_ms = 1000 * self._slowest_s * max(1.0, rows / self._rows)
        return min(run_ms, max(LEASH_MS_MIN, ceil(LEASH_FACTOR * usual_ms)))


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One request of a batch: where it stands, what it brings."""

    index: int
    arrays: Arrays
    rows: int


class Batches:
    """Runs groups of requests of one module."""

    def __init__(self, call: Call, names: Sequence[str], run_ms: int) -> None:
        self._call = call
        self._names = names
        self._run_ms = run_ms
        self.pace = Pace()
        self.rows_max: int | None = None
        """Rows that fit a call; None while none was too large."""
        self._fitted = 0
        self.failed = False
        """Whether a call of the group at hand failed: its time is no measure."""

    def run(
        self,
        items: Sequence[Item],
        outcomes: list[Outcome],
        audience: Audience,
        *,
        final: bool = True,
    ) -> None:
        """Answer requests of one shape, together if they are several; fill in their outcomes.

        `final` says that nothing of the batch comes after them.
        """
        parts = self._parts(items)
        for number, part in enumerate(parts, 1):
            self._run_part(part, outcomes, audience, final=final and number == len(parts))

    def _parts(self, items: Sequence[Item]) -> list[Sequence[Item]]:
        """Cut a group to what is known to fit."""
        parts: list[list[Item]] = []
        rows = 0
        for item in items:
            rows += item.rows
            if not parts or (self.rows_max is not None and rows > self.rows_max):
                parts.append([])
                rows = item.rows
            parts[-1].append(item)
        return list(parts)

    def _run_part(
        self, items: Sequence[Item], outcomes: list[Outcome], audience: Audience, *, final: bool
    ) -> None:
        todo: list[Sequence[Item]] = [items]
        failures_left = 2 + len(items).bit_length()
        too_large: int | None = None
        suspects: list[Item] = []
        blamed = False
        while todo:
            group = self._still_wanted(todo.pop(), outcomes, audience)
            if not group:
                continue
            rows = sum(item.rows for item in group)
            # A lone request is nobody's danger; cut short, it might lose what its guest remembers.
            leash_ms = self.pace.leash_ms(rows, self._run_ms) if len(items) > 1 else self._run_ms
            try:
                answers = self._together(group, leash_ms)
            except MeshnodeError as error:
                self.failed = True
                late = isinstance(error, TimeLimit)
                failures_left -= 1
                if len(group) > 1:
                    too_large = too_large if late else rows
                    todo += reversed(_cut(group, apart=late or failures_left < 0))
                    continue
                blamed = True
                if late and leash_ms < self._run_ms:
                    suspects += group
                else:
                    self._tell(group, [error], outcomes, audience, last=final and not todo)
                continue
            self._tell(group, answers, outcomes, audience, last=final and not todo and not suspects)
        for item in suspects:
            for each in self._still_wanted([item], outcomes, audience):
                self._tell(
                    [each], [self.run_alone(each.arrays, each.rows)], outcomes, audience, last=final
                )
        self._note_size(items, None if blamed else too_large)

    def run_alone(self, arrays: Arrays, rows: int) -> Outcome:
        """Answer one request within its full time."""
        started = perf_counter()
        try:
            answer = self._call(arrays, rows, self._run_ms)
        except MeshnodeError as error:
            self.failed = True
            return error
        self.pace.learn(rows, perf_counter() - started)
        return answer

    def _together(self, items: Sequence[Item], limit_ms: int) -> list[dict[str, np.ndarray]]:
        """Run requests in one call, stacked along axis 0, and cut the answers apart."""
        started, rows = perf_counter(), sum(item.rows for item in items)
        if len(items) == 1:
            answers = [self._call(items[0].arrays, rows, limit_ms)]
        else:
            stacked = {n: np.concatenate([i.arrays[n] for i in items]) for n in self._names}
            whole = self._call(stacked, rows, limit_ms)
            if any(a.shape[:1] != (rows,) for a in whole.values()):
                raise ModuleFailed("the module did not keep the batch axis")
            ends = np.cumsum([item.rows for item in items])[:-1]
            parts = {name: np.split(array, ends) for name, array in whole.items()}
            answers = [{name: parts[name][i] for name in parts} for i in range(len(items))]
        self.pace.learn(rows, perf_counter() - started)
        return answers

    def _note_size(self, items: Sequence[Item], too_large: int | None) -> None:
        """Remember which size was too large, or that the present one was not."""
        if too_large is not None:
            self.rows_max, self._fitted = max(1, too_large // 2), 0
        elif self.rows_max is not None and len(items) > 1:
            self._fitted += 1
            if self._fitted >= GROW_AFTER:
                self.rows_max, self._fitted = 2 * self.rows_max, 0

    def _still_wanted(
        self, items: Sequence[Item], outcomes: list[Outcome], audience: Audience
    ) -> list[Item]:
        """Return those that somebody waits for; the time of a lane is not for the others."""
        if not self.failed:
            return list(items)
        left = [item for item in items if audience.wanted(item.index)]
        for item in items:
            if item not in left:
                outcomes[item.index] = DeadlineExceeded("nobody waited for it any more")
        return left

    def _tell(
        self,
        group: Sequence[Item],
        answers: Sequence[Outcome],
        outcomes: list[Outcome],
        audience: Audience,
        *,
        last: bool,
    ) -> None:
        """Keep outcomes; those that are ready before the rest are handed out at once."""
        for item, outcome in zip(group, answers, strict=True):
            outcomes[item.index] = outcome
            if not last:
                audience.answered(item.index, outcome)


def _cut(items: Sequence[Item], *, apart: bool) -> list[Sequence[Item]]:
    """Return halves; or each by itself, also where halving saves no call."""
    if apart or len(items) <= 3:
        return [[item] for item in items]
    middle = len(items) // 2
    return [items[:middle], items[middle:]]
