"""Hedging: a request that is not answered after a while is sent to a second node too.

Off unless the node's owner or the request asks for it, as it is load (`placement/hedging.py`). The
first answer wins, and the other copy is taken back. A copy has an id of its own: each is counted in
flight where it is, and may fail over for itself.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import trio

from meshnode.errors import MeshnodeError, NoCandidate
from meshnode.ids import NodeId, RequestId
from meshnode.node.attempts import Job, Placed
from meshnode.node.ordering import is_ordered
from meshnode.placement.course import Course
from meshnode.placement.hedging import HedgeBudget


@dataclass(slots=True)
class _Race:
    """A request and its copy, if there is one, and what became of them."""

    job: Job
    scope: trio.CancelScope
    copy: Job | None = None
    errors: list[MeshnodeError] = field(default_factory=list)
    answer: Placed | None = None
    answered_by: Job | None = None

    @property
    def other(self) -> Job | None:
        """Which of the two did not answer, if there are two."""
        return self.copy if self.answered_by is self.job else self.job

    def answered(self, placed: Placed, job: Job) -> None:
        """One has its answer: the other is not needed."""
        if self.answer is None:
            self.answer, self.answered_by = placed, job
        self.scope.cancel()

    def failed(self, error: MeshnodeError) -> None:
        """One has failed. If it would fail everywhere, or no other is on its way, that is all."""
        self.errors.append(error)
        running = (1 if self.copy is None else 2) - len(self.errors)
        if _is_final(error) or not running:
            self.scope.cancel()


class Hedging:
    """Places requests, some of them twice."""

    def __init__(self, place: Callable[[Job], Awaitable[Placed]]) -> None:
        self._place = place
        self._budget = HedgeBudget()

    async def place(self, job: Job, after_ms: int) -> Placed:
        """Return the answer that comes first, or raise what `place` raises; 0 ms: no second copy.

        A module whose author gave its requests an order may keep state for a source: those are
        never sent twice.
        """
        if not after_ms or is_ordered(job.manifest):
            return await self._place(job)
        self._budget.began()
        async with trio.open_nursery() as nursery:
            race = _Race(job, nursery.cancel_scope)
            nursery.start_soon(self._run, job, race)
            await trio.sleep(after_ms / 1000)
            if job.at is not None and self._budget.take():
                race.copy = _copy(job, job.at)
                nursery.start_soon(self._run, race.copy, race)
        if race.answer is None:
            raise next((e for e in race.errors if _is_final(e)), race.errors[0])
        if race.other is not None:
            race.answer.attempts[:0] = race.other.attempts  # whoever answered is named last
        placed, asked = race.answer, job.request.request_id
        if placed.prediction.request_id != asked:
            placed.prediction = replace(placed.prediction, request_id=asked)
        return placed

    async def _run(self, job: Job, race: _Race) -> None:
        try:
            placed = await self._place(job)
        except MeshnodeError as error:
            race.failed(error)
        else:
            race.answered(placed, job)


def _is_final(error: MeshnodeError) -> bool:
    """Return whether it would fail so everywhere: an error of the module, or of its inputs."""
    return not (error.retry_elsewhere or isinstance(error, NoCandidate))


def _copy(job: Job, at: NodeId) -> Job:
    """Return a second copy of a request that is with one node, for any other."""
    course = Course()
    course.avoid(at)
    number = blake2b(job.request.request_id, digest_size=16, person=b"meshnode-hedge").digest()
    request = replace(job.request, request_id=RequestId(number))
    return Job(request, job.manifest, False, job.visit, course=course, patient=True)
