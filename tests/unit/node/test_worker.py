"""Worker: jobs in order, in one thread, and what came of them back in the event loop."""

import threading

import pytest
import trio

from meshnode.node.worker import Worker


@pytest.fixture
async def worker() -> Worker:
    made = Worker("test-worker")
    yield made
    made.stop()


async def test_jobs_run_in_one_thread_and_end_in_the_event_loop(worker: Worker) -> None:
    main = threading.get_ident()
    threads = {await worker.run(threading.get_ident) for _ in range(3)}
    assert len(threads) == 1
    assert main not in threads
    ended, told = trio.Event(), []

    def done(result: int | BaseException) -> None:
        told.append((result, threading.get_ident()))
        ended.set()

    worker.submit(lambda: 7, done)
    await ended.wait()
    assert told == [(7, main)]


async def test_jobs_run_in_the_order_they_came(worker: Worker) -> None:
    seen: list[int] = []
    for number in range(20):
        worker.submit(lambda n=number: seen.append(n), lambda _: None)
    await worker.run(lambda: None)
    assert seen == list(range(20))


async def test_what_a_job_raises_is_told_and_the_next_one_runs(worker: Worker) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await worker.run(broken)
    assert await worker.run(lambda: 1) == 1


async def test_a_bug_in_what_is_told_does_not_end_the_event_loop(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    def done(_: object) -> None:
        raise ZeroDivisionError

    worker.submit(lambda: 1, done)
    assert await worker.run(lambda: 2) == 2
    assert "met a bug" in caplog.text


async def test_a_cancelled_caller_waits_until_the_job_is_over(worker: Worker) -> None:
    release, entered = threading.Event(), []

    async def asks() -> None:
        await worker.run(lambda: (entered.append(1), release.wait(5)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(asks)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        release.set()
    assert entered == [1]
    assert await worker.run(lambda: 3) == 3


async def test_a_worker_outlives_the_event_loop_it_reports_to() -> None:
    release, made = threading.Event(), []

    async def inner() -> None:
        worker = Worker("orphan")
        worker.submit(lambda: release.wait(5), lambda _: None)
        made.append(worker)

    await trio.to_thread.run_sync(lambda: trio.run(inner))
    release.set()
    made[0].stop()
    await trio.to_thread.run_sync(made[0]._thread.join, 5)
    assert not made[0]._thread.is_alive()


async def test_a_tiny_job_is_over_when_the_call_returns(worker: Worker) -> None:
    told: list[object] = []
    assert worker.submit_tiny(lambda: 7, told.append, wait_s=5)
    assert told == [7]
    assert worker.submit_tiny(lambda: 1 / 0, told.append, wait_s=5)
    assert isinstance(told[1], ZeroDivisionError)


async def test_the_event_loop_does_not_wait_for_a_job_that_is_not_tiny(worker: Worker) -> None:
    release, ended, told = threading.Event(), trio.Event(), []

    def done(result: object) -> None:
        told.append(result)
        ended.set()

    assert not worker.submit_tiny(lambda: release.wait(5), done, wait_s=0.0001)
    assert told == []
    release.set()
    await ended.wait()
    assert told == [True]


async def test_however_close_it_is_a_tiny_job_is_told_once(worker: Worker) -> None:
    told: list[int] = []
    for number in range(300):
        worker.submit_tiny(
            lambda n=number: (sum(range(200)), n)[1], told.append, wait_s=number % 30 * 1e-6
        )
    await worker.run(lambda: None)
    assert sorted(told) == list(range(300))
