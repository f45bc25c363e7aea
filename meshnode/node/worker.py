"""Worker: the one thread of a lane. It owns the lane's store, from its making to its closing.

A job is put into its queue, and what became of it comes back through trio's own wake-up, without a
task, a limiter or a lock in between: 20 to 50 us less for each batch than `trio.to_thread`. For a
job that is known to be tiny the event loop may wait, a bounded moment and no longer: that saves
the wake-up, another 15 to 30 us (decisions/0008). The thread never spins while it waits: it would
hold the interpreter's lock that the event loop needs to hand it the next job.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import TypeAlias, TypeVar

import trio

from meshnode.wire.limits import MIB

_log = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")
LANE = "meshnode-lane-"
"""How the names of the threads of lanes begin."""
STACK_BYTES = 8 * MIB
"""A guest may use 512 KiB of its thread's stack, and onnxruntime's operators some of it: on a
thread with 256 KiB a guest's recursion is a segmentation fault."""
Done: TypeAlias = Callable[[ResultT | BaseException], None]
_Job: TypeAlias = Callable[[], None]


class Worker:
    """A thread that runs jobs one after the other. Made and used in the event loop's thread."""

    def __init__(self, name: str) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self.ended = trio.Event()
        """The thread has done what it was given before `stop`, and is gone."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        before = threading.stack_size(STACK_BYTES)
        try:
            self._thread.start()
        finally:
            threading.stack_size(before)

    def submit(self, work: Callable[[], ResultT], done: Done[ResultT]) -> None:
        """Run `work` in the thread; `done` is called in the event loop with what came of it."""

        def job() -> None:
            result: ResultT | BaseException
            try:
                result = work()
            except BaseException as error:  # it is the caller's to handle, in his own thread
                result = error
            self.post(lambda: done(result))

        self._jobs.put(job)

    def submit_tiny(
        self, work: Callable[[], ResultT], done: Done[ResultT], *, wait_s: float
    ) -> bool:
        """As `submit`, but hold the event loop until the job is over, for `wait_s` at most.

        Returns whether it was over by then, and `done` has been called; else it will be.
        """
        over = threading.Lock()
        over.acquire()
        undecided = [None]  # whoever pops it decides how the result is handed over
        results: list[ResultT | BaseException] = []

        def job() -> None:
            try:
                results.append(work())
            except BaseException as error:  # see `submit`
                results.append(error)
            if _popped(undecided):
                over.release()
            else:
                self.post(lambda: done(results[0]))

        self._jobs.put(job)
        if not over.acquire(timeout=wait_s):
            if _popped(undecided):
                return False
            over.acquire()  # it has ended this very moment
        done(results[0])
        return True

    def post(self, call: Callable[[], None]) -> None:
        """Call something in the event loop; from the worker's own thread."""
        with suppress(trio.RunFinishedError):  # the node has ended; nobody waits any more
            self._token.run_sync_soon(_safely, call)

    async def run(self, work: Callable[[], ResultT]) -> ResultT:
        """Run `work` in the thread and return its result or raise its error.

        Not interrupted by cancellation: whoever is cancelled learns it when the work has ended.
        """
        ended = trio.Event()
        results: list[ResultT | BaseException] = []

        def done(result: ResultT | BaseException) -> None:
            results.append(result)
            ended.set()

        self.submit(work, done)
        with trio.CancelScope(shield=True):
            await ended.wait()
        (result,) = results
        if isinstance(result, BaseException):
            raise result
        return result

    def stop(self) -> None:
        """End the thread when it has done what it was given before."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # or its arrays would be held until the next one
        self.post(self.ended.set)


def _popped(undecided: list[None]) -> bool:
    """Take the decision, if it is still open: `list.pop` is atomic."""
    with suppress(IndexError):
        undecided.pop()
        return True
    return False


def _safely(call: Callable[[], None]) -> None:
    """Trio ends with what is raised here; a lane must outlive any bug in what it is told."""
    try:
        call()
    except Exception:
        _log.exception("a worker's result met a bug")
