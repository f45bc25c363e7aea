"""LoadReporter: often while there is work, once a second at rest, at once when a lane changes."""

import trio
import trio.testing

from meshnode.ids import ContentHash, NodeId
from meshnode.node.load import RECENT_S, LoadReporter
from meshnode.placement.observe import LoadMeter
from meshnode.wire.messages import LoadRecord

MODULE = ContentHash(b"m" * 32)


async def test_a_node_at_rest_says_so_once_a_second_and_work_four_times(
    autojump_clock: trio.testing.MockClock,
) -> None:
    meter = LoadMeter(NodeId(b"n" * 32), speed=100)
    warm: list[ContentHash] = []
    said: list[tuple[float, LoadRecord]] = []
    reporter = LoadReporter(meter, held=tuple, warm=lambda: tuple(warm), draining=lambda: False)

    def publish(record: LoadRecord) -> None:
        said.append((trio.current_time(), record))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reporter.run, publish)
        await trio.sleep(4.1)
        assert len(said) == 5
        warm.append(MODULE)
        await trio.sleep(0.3)
        assert len(said) == 6
        assert said[-1][1].modules[0].warm
        said.clear()
        meter.enqueued(MODULE, trio.current_time())
        await trio.sleep(2.0)
        assert len(said) == 8
        assert said[-1][1].in_flight == 1
        nursery.cancel_scope.cancel()


async def test_a_recent_record_is_made_anew_when_something_happens_or_time_passes(
    mock_clock: trio.testing.MockClock,
) -> None:
    meter = LoadMeter(NodeId(b"n" * 32), speed=100)
    load = LoadReporter(
        meter, held=lambda: (MODULE,), warm=lambda: (MODULE,), draining=lambda: False
    )
    first = load.recent()
    assert load.recent() is first
    mock_clock.jump(RECENT_S / 2)
    assert load.recent() is first
    meter.enqueued(MODULE, trio.current_time())
    second = load.recent()
    assert second.in_flight == 1
    mock_clock.jump(2 * RECENT_S)
    assert load.recent().sequence > second.sequence
    assert load.record().sequence > load.recent().sequence - 1
