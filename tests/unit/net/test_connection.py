"""Calls over memory streams on a virtual clock: answers, failures, cancel, deadlines, endings."""

import logging
from dataclasses import replace
from math import inf

import pytest
import trio
import trio.testing

from meshnode.errors import (
    BlobNotFound,
    DeadlineExceeded,
    LocalProtocolError,
    MeshnodeError,
    NotAMember,
    Overloaded,
    PeerUnreachable,
    RemoteProtocolError,
)
from meshnode.ids import NodeId, RequestId, tag_of
from meshnode.net.connection import NotCarriedOut, Peer
from meshnode.net.settings import NetSettings
from meshnode.wire.messages import (
    UNNAMED,
    AskHeld,
    Failure,
    Held,
    Join,
    LoadRecord,
    Predict,
    Prediction,
    Reply,
    Request,
    TensorHeader,
    Timing,
)
from meshnode.wire.mux import CALL_ID_MAX
from tests.unit.net.mesh import ALICE, BLOB, BOB, connected, says_yes

ASK = AskHeld(blobs=(BLOB,))
YES = Held(held=(True,))


def predict(data: bytes) -> Predict:
    return Predict(
        request_id=RequestId(bytes(16)),
        module=BLOB,
        source="",
        budget_ms=1000,
        hops_left=1,
        tensors=(TensorHeader(name="x", dtype="uint8", shape=(len(data),), size=len(data)),),
        body=(data, bytes(-len(data) % 8)),
    )


async def echo(peer: Peer, request: Request) -> Reply:
    if not isinstance(request, Predict):
        return await says_yes(peer, request)
    return Prediction(
        request_id=request.request_id,
        served_by=NodeId(bytes(32)),
        module=request.module,
        tensors=request.tensors,
        timing=Timing(),
        batch=1,
        body=request.body,
    )


class Stuck:
    """A handler that waits for ever and tells how it ended."""

    def __init__(self) -> None:
        self.started = trio.Event()
        self.cancelled = trio.Event()

    async def __call__(self, peer: Peer, request: Request) -> Reply:
        self.started.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            self.cancelled.set()
            raise


async def test_calls_go_both_ways(autojump_clock: trio.testing.MockClock) -> None:
    async with connected() as (a, b):
        assert await a.call(ASK) == YES
        assert await b.call(ASK) == YES
        assert (a.peer.node_id, b.peer.node_id) == (BOB.node_id, ALICE.node_id)


@pytest.mark.parametrize("size", [1, 20_000, 3_000_000])
async def test_a_body_comes_back_as_one_view(
    autojump_clock: trio.testing.MockClock, size: int
) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    async with connected(echo) as (a, _):
        reply = await a.call(predict(data[:size]))
        assert isinstance(reply, Prediction)
        (body,) = reply.body
        assert isinstance(body, memoryview)
        assert body[:size] == data[:size]


async def test_many_calls_at_once_each_get_their_own_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(echo) as (a, _), trio.open_nursery() as nursery:

        async def one(number: int) -> None:
            data = bytes([number]) * (number * 5000 + 1)
            reply = await a.call(predict(data))
            assert isinstance(reply, Prediction)
            assert bytes(reply.body[0][: len(data)]) == data

        for number in range(60):
            nursery.start_soon(one, number)


async def test_an_error_of_the_house_crosses_the_wire_with_its_load(
    autojump_clock: trio.testing.MockClock,
) -> None:
    load = LoadRecord(
        node=tag_of(BOB.node_id),
        sequence=1,
        age_ms=0,
        wait=1,
        wait_mean=1,
        wait_sigma=1,
        in_flight=1,
        draining=False,
        speed=1,
    )

    async def refuses(peer: Peer, request: Request) -> Reply:
        error = BlobNotFound("not here", because=["looked twice"], try_="elsewhere")
        error.load = load
        raise error

    async with connected(refuses) as (a, _):
        assert await a.call(ASK) == Failure(
            code=BlobNotFound.code,
            message="not here",
            because=("looked twice",),
            try_="elsewhere",
            load=replace(load, node=UNNAMED),
        )


async def test_an_error_in_a_group_of_one_is_unwrapped(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def refuses(peer: Peer, request: Request) -> Reply:
        async with trio.open_nursery():
            raise BlobNotFound("not here")

    async with connected(refuses) as (a, _):
        reply = await a.call(ASK)
        assert isinstance(reply, Failure)
        assert reply.code == BlobNotFound.code


async def test_a_bug_in_a_handler_is_logged_here_and_shown_to_nobody(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def buggy(peer: Peer, request: Request) -> Reply:
        raise KeyError("/secret/path")

    with caplog.at_level(logging.ERROR, logger="meshnode"):
        async with connected(buggy) as (a, _):
            reply = await a.call(ASK)
            assert reply == Failure(code=MeshnodeError.code, message="internal error")
            assert await a.call(ASK) == reply, "the connection lives on"
    assert "/secret/path" in caplog.text


async def test_a_reply_that_cannot_be_encoded_becomes_a_failure(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def lies(peer: Peer, request: Request) -> Reply:
        reply = await echo(peer, predict(b"four"))
        assert isinstance(reply, Prediction)
        return replace(reply, body=())

    async with connected(lies) as (a, _):
        reply = await a.call(ASK)
        assert isinstance(reply, Failure)
        assert reply.code == LocalProtocolError.code


async def test_a_cancelled_caller_stops_the_handler_and_leaves_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stuck = Stuck()
    async with connected(stuck) as (a, b):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.call, ASK)
            await stuck.started.wait()
            nursery.cancel_scope.cancel()
        await stuck.cancelled.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert (a.calls, b.calls) == (0, 0)
        assert a._calls == {}
        assert len(b._answering) == 0


async def test_a_deadline_ends_the_call_on_both_sides(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stuck = Stuck()
    async with connected(stuck) as (a, _):
        started = trio.current_time()
        with pytest.raises(DeadlineExceeded):
            await a.call(ASK, deadline=started + 3)
        assert trio.current_time() - started == pytest.approx(3)
        await stuck.cancelled.wait()


async def test_a_call_that_is_overdue_does_not_keep_the_watch_spinning(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its task has not run yet when the watch looks again."""
    async with connected(Stuck()) as (a, _), trio.open_nursery() as nursery:
        later = trio.current_time() + 1

        async def one() -> None:
            with pytest.raises(DeadlineExceeded):
                await a.call(ASK, deadline=later)

        nursery.start_soon(one)
        await trio.testing.wait_all_tasks_blocked()
        assert a.tick(later) > later


async def test_a_bulk_body_cancelled_half_way_does_not_disturb_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(echo) as (a, b):
        with trio.move_on_after(0), pytest.raises(trio.Cancelled):
            await a.call(predict(bytes(5_000_000)))
        assert await a.call(ASK) == YES
        await trio.testing.wait_all_tasks_blocked()
        assert (a.calls, b.calls) == (0, 0)


async def test_a_lost_connection_fails_every_call_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stuck = Stuck()
    async with connected(stuck) as (a, b), trio.open_nursery() as nursery:

        async def one() -> None:
            with pytest.raises(PeerUnreachable) as caught:
                await a.call(ASK)
            assert not isinstance(caught.value, NotCarriedOut)

        for _ in range(5):
            nursery.start_soon(one)
        await trio.testing.wait_all_tasks_blocked()
        started = trio.current_time()
        b.close("test")
        await stuck.cancelled.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() == started
        assert not a.usable
        with pytest.raises(NotCarriedOut):
            await a.call(ASK)


async def test_a_call_that_was_never_written_says_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(echo) as (a, _), trio.open_nursery() as nursery:

        async def first() -> None:
            with pytest.raises(PeerUnreachable):
                await a.call(predict(bytes(5_000_000)))

        async def second() -> None:
            with pytest.raises(NotCarriedOut):
                await a.call(ASK)

        stream = a._transport._stream
        assert isinstance(stream, trio.StapledStream)
        stream.send_stream.send_all_hook = trio.sleep_forever  # the peer takes no more
        nursery.start_soon(first)
        await trio.testing.wait_all_tasks_blocked()
        assert a._writer.sending_since < inf
        nursery.start_soon(second)
        await trio.testing.wait_all_tasks_blocked()
        a.close("test")


async def test_retiring_finishes_what_is_in_flight_and_takes_nothing_new(
    autojump_clock: trio.testing.MockClock,
) -> None:
    go = trio.Event()

    async def slow(peer: Peer, request: Request) -> Reply:
        await go.wait()
        return YES

    async with connected(slow) as (a, b), trio.open_nursery() as nursery:
        replies: list[Reply] = []

        async def one() -> None:
            replies.append(await a.call(ASK))

        nursery.start_soon(one)
        await trio.testing.wait_all_tasks_blocked()
        b.retire()
        await trio.testing.wait_all_tasks_blocked()
        assert not a.usable
        with pytest.raises(NotCarriedOut):
            await a.call(ASK)
        go.set()
        await trio.testing.wait_all_tasks_blocked()
        assert replies == [YES]
        assert a._ended is not None
        assert b._ended is not None


async def test_a_call_that_crosses_a_goodbye_is_known_not_to_be_carried_out(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected() as (a, b):
        await a.call(ASK)
        b.retire()
        with pytest.raises(NotCarriedOut):
            await a.call(ASK)


async def test_an_idle_connection_closes_and_a_busy_one_does_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(settings=NetSettings(idle_close_s=60)) as (a, b):
        for _ in range(4):
            await trio.sleep(50)
            assert await a.call(ASK) == YES
        await trio.sleep(80)
        assert a._ended is not None
        assert b._ended is not None


@pytest.mark.parametrize(
    "settings",
    [NetSettings(rekey_records=3), NetSettings(rekey_every_s=60, idle_close_s=10_000)],
    ids=["each three records", "each minute"],
)
async def test_keys_move_on_under_calls_both_ways(
    autojump_clock: trio.testing.MockClock, settings: NetSettings
) -> None:
    async with connected(echo, settings=settings) as (a, b):
        before = [end._writer._key._key for end in (a, b)]
        for number in range(20):
            assert isinstance(await a.call(predict(bytes([number]) * 300_000)), Prediction)
            assert await b.call(ASK) == YES
            await trio.sleep(30)
        after = [end._writer._key._key for end in (a, b)]
        assert all(new != old for new, old in zip(after, before, strict=True))


async def test_a_connection_without_call_ids_gives_way_to_a_new_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected() as (a, _):
        a._mux._next_id = CALL_ID_MAX
        assert await a.call(ASK) == YES
        with pytest.raises(NotCarriedOut):
            await a.call(ASK)
        assert not a.usable


async def test_an_idle_connection_keeps_no_buffer(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(echo) as (a, b):
        await a.call(predict(bytes(600_000)))
        await trio.sleep(20)
        for end in (a, b):
            kept = (end._reader._view, end._reader._scratch, end._writer._buffer)
            assert [len(buffer) for buffer in kept] == [0, 0, 0]
        assert isinstance(await a.call(predict(bytes(600_000))), Prediction)


async def test_a_long_call_is_not_idleness(autojump_clock: trio.testing.MockClock) -> None:
    async def slow(peer: Peer, request: Request) -> Reply:
        await trio.sleep(500)
        return YES

    async with connected(slow) as (a, _):
        assert await a.call(ASK) == YES


async def test_a_joiner_may_only_join(autojump_clock: trio.testing.MockClock) -> None:
    seen: list[Request] = []

    async def keeps(peer: Peer, request: Request) -> Reply:
        seen.append(request)
        raise BlobNotFound("no admission in this test")

    async with connected(keeps, member=False) as (a, _):
        reply = await a.call(ASK)
        assert isinstance(reply, Failure)
        assert reply.code == NotAMember.code
        await a.call(Join(name="x"))
        assert seen == [Join(name="x")]


async def test_too_many_calls_are_refused_before_they_are_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stuck = Stuck()
    async with connected(stuck) as (a, b), trio.open_nursery() as nursery:
        for _ in range(256):
            nursery.start_soon(a.call, ASK)
        await trio.testing.wait_all_tasks_blocked()
        assert b.calls == 256
        with pytest.raises(Overloaded):
            await a.call(ASK)
        nursery.cancel_scope.cancel()


async def test_a_body_over_the_budget_is_answered_by_overloaded(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(echo, settings=NetSettings(inbound_bytes_max=1_000_000)) as (a, _):
        reply = await a.call(predict(bytes(1_000_008)))
        assert isinstance(reply, Failure)
        assert reply.code == Overloaded.code
        assert isinstance(await a.call(predict(bytes(1_000_000))), Prediction)


async def test_answers_that_nobody_reads_are_bounded(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(echo, settings=NetSettings(outbound_bytes_max=1_000_000)) as (a, b):
        kinds: list[type] = []

        async def one() -> None:
            kinds.append(type(await a.call(predict(bytes(600_000)))))

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(one)
        assert set(kinds) <= {Prediction, Failure}
        assert Prediction in kinds
        assert b.calls == 0


async def test_a_reply_where_a_request_belongs_ends_the_connection(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected() as (a, b):
        with pytest.raises(PeerUnreachable):
            await a.call(YES)  # type: ignore[arg-type]  # on purpose
        assert "not a request" in (b._ended or "")
    assert RemoteProtocolError.__name__ not in caplog.text


async def _never(peer: Peer, request: Request) -> Reply:
    await trio.sleep_forever()
    raise AssertionError("sleep_forever does not return")


async def test_a_call_given_up_as_the_connection_ends_does_no_harm() -> None:
    """Everything is cancelled at once: the call may hear of it after the connection's nursery."""
    for _ in range(20):
        async with connected(_never) as (a, _), trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(a.call, ASK)
            await trio.testing.wait_all_tasks_blocked()
            a._writer.shrink()
            await trio.testing.wait_all_tasks_blocked()
            a._nursery.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
