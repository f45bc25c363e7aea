"""The first signal drains, the second ends."""

import os
import signal

import trio

from meshnode.cli.signals import stop_on_signals


async def test_the_first_signal_asks_and_the_second_cancels() -> None:
    with trio.fail_after(20):
        async with stop_on_signals() as stopping:
            os.kill(os.getpid(), signal.SIGTERM)
            await stopping.wait()
            assert not stopping.hurried
            os.kill(os.getpid(), signal.SIGTERM)
            await trio.sleep_forever()
    assert stopping.hurried


async def test_a_stop_may_be_asked_without_a_signal() -> None:
    async with stop_on_signals() as stopping:
        assert not stopping.asked
        stopping.ask()
        await stopping.wait()
    assert stopping.asked
