"""Many calls on one channel: replies find their calls, budgets hold, cancel leaves nothing."""

import pytest

from meshnode.errors import LocalProtocolError, Overloaded, RemoteProtocolError
from meshnode.wire.frames import Kind
from meshnode.wire.limits import CHUNK_BYTES_BULK, KIB
from meshnode.wire.mux import (
    CancelArrived,
    Event,
    GoodbyeArrived,
    Mux,
    ReplyArrived,
    ReplyRefused,
    RequestArrived,
    RequestRefused,
)
from meshnode.wire.tensor import Body
from tests.unit.wire.plumbing import deliver, size_of

BULK = b"b" * (3 * CHUNK_BYTES_BULK)


def pair(**changes: int) -> tuple[Mux, Mux]:
    return (
        Mux(initiator=True, body_size_of=size_of, **changes),
        Mux(initiator=False, body_size_of=size_of, **changes),
    )


def header(body: Body = ()) -> bytes:
    return sum(map(len, body)).to_bytes(4, "big") + b"header"


def ask(mux: Mux, *body: bytes) -> int:
    return mux.request(header(body), body)


def tell(mux: Mux, call_id: int, *body: bytes) -> None:
    mux.reply(call_id, header(body), body)


def pump(source: Mux, target: Mux) -> list[Event]:
    while source.has_output:
        deliver(source, target)
    return target.take_events()


def test_a_reply_finds_its_call_in_both_directions() -> None:
    a, b = pair()
    first, second = ask(a), ask(a, b"body")
    back = ask(b)
    assert pump(a, b) == [
        RequestArrived(first, header(), None),
        RequestArrived(second, header([b"body"]), memoryview(b"body")),
    ]
    tell(b, second, b"answer")
    assert pump(b, a) == [
        RequestArrived(back, header(), None),
        ReplyArrived(second, header([b"answer"]), memoryview(b"answer")),
    ]
    tell(a, back)
    tell(b, first)
    assert pump(a, b) == [ReplyArrived(back, header(), None)]
    assert pump(b, a) == [ReplyArrived(first, header(), None)]
    assert a.idle
    assert b.idle


def test_a_body_of_several_buffers_arrives_as_one() -> None:
    a, b = pair()
    body = (b"x" * 100, b"", b"y" * 400_000, memoryview(b"z" * 70_000), bytearray(b"w" * 3))
    a.request(header(body), body)
    (arrived,) = pump(a, b)
    assert isinstance(arrived, RequestArrived)
    assert arrived.body == b"".join(body)


def test_a_small_call_waits_for_one_chunk_at_most() -> None:
    a, b = pair()
    bulk = ask(a, BULK)
    deliver(a, b)
    small = ask(a)
    deliver(a, b)
    assert b.take_events() == [RequestArrived(small, header(), None)]
    (whole,) = pump(a, b)
    assert isinstance(whole, RequestArrived)
    assert (whole.call_id, whole.body) == (bulk, BULK)


def test_bulk_goes_on_beside_endless_small_calls() -> None:
    a, b = pair(calls_max=2000)
    bulk = ask(a, b"x" * (200 * KIB))
    for _ in range(10):
        ask(a)
        deliver(a, b)
    assert bulk in [e.call_id for e in b.take_events() if isinstance(e, RequestArrived)]


def test_chunks_grow_alone_and_are_small_in_company() -> None:
    a, _ = pair()
    ask(a, BULK)
    for size in (64, 128, 256):
        assert [len(part) for part in a.next_batch()][1:] == [size * KIB]
    ask(a)
    assert [len(part) for part in a.next_batch()][1:] == [64 * KIB]


def test_bulk_bodies_take_turns() -> None:
    a, b = pair()
    long, short = ask(a, BULK), ask(a, b"s" * (20 * KIB))
    events = pump(a, b)
    assert [e.call_id for e in events if isinstance(e, RequestArrived)] == [short, long]


def test_a_call_cancelled_before_it_was_sent_leaves_no_trace() -> None:
    a, b = pair()
    for body in ((), (BULK,)):
        a.cancel(ask(a, *body))
    assert a.idle
    assert a.outbound_bytes == 0
    ask(a)
    assert len(pump(a, b)) == 1


def test_a_cancel_stops_the_handler_and_its_late_reply_is_dropped() -> None:
    a, b = pair()
    call = ask(a)
    pump(a, b)
    a.cancel(call)
    assert pump(a, b) == [CancelArrived(call)]
    tell(b, call, BULK)
    assert b.idle
    assert a.idle


def test_a_body_cancelled_half_way_is_forgotten_on_both_sides() -> None:
    a, b = pair(inbound_bytes_max=len(BULK))
    call = ask(a, BULK)
    deliver(a, b)
    a.cancel(call)
    assert pump(a, b) == []
    assert a.idle
    assert b.idle
    ask(a, BULK)
    assert isinstance(pump(a, b)[0], RequestArrived), "the room was given back"


def test_a_reply_cancelled_half_way_is_dropped_and_its_room_given_back() -> None:
    a, b = pair(inbound_bytes_max=len(BULK))
    for _ in range(2):
        call = ask(a)
        pump(a, b)
        tell(b, call, BULK)
        deliver(b, a)
        a.cancel(call)
        deliver(b, a)
        assert pump(a, b) == []
        assert pump(b, a) == []
        assert a.idle
        assert b.idle
    call = ask(a)
    pump(a, b)
    tell(b, call, BULK)
    assert isinstance(pump(b, a)[0], ReplyArrived)


def test_a_body_over_the_budget_is_refused_and_its_chunks_are_dropped() -> None:
    a, b = pair(inbound_bytes_max=1000)
    call = ask(a, BULK)
    deliver(a, b)
    (refused,) = b.take_events()
    assert isinstance(refused, RequestRefused)
    tell(b, call)
    assert pump(b, a) == [ReplyArrived(call, header(), None)]
    assert a.idle, "the rest of the body is not sent any more"
    assert b.idle
    again = ask(a, b"x" * 1000)
    assert pump(a, b) == [RequestArrived(again, header([b"x" * 1000]), memoryview(b"x" * 1000))]


def test_a_reply_over_the_budget_fails_the_call_and_stops_the_peer() -> None:
    a = Mux(initiator=True, body_size_of=size_of, inbound_bytes_max=1000)
    b = Mux(initiator=False, body_size_of=size_of)
    call = ask(a)
    pump(a, b)
    tell(b, call, BULK)
    deliver(b, a)
    assert [type(e) for e in a.take_events()] == [ReplyRefused]
    assert pump(a, b) == []
    assert a.idle
    assert b.idle


def test_the_budget_is_held_until_the_reply_is_sent() -> None:
    a, b = pair(inbound_bytes_max=1500)
    first = ask(a, b"x" * 1000)
    pump(a, b)
    ask(a, b"x" * 1000)
    assert [type(e) for e in pump(a, b)] == [RequestRefused]
    tell(b, first)
    pump(b, a)
    ask(a, b"x" * 1000)
    assert [type(e) for e in pump(a, b)] == [RequestArrived]


def test_calls_in_flight_are_bounded_on_both_sides() -> None:
    a = Mux(initiator=True, body_size_of=size_of, calls_max=3)
    b = Mux(initiator=False, body_size_of=size_of, calls_max=2)
    for _ in range(3):
        ask(a)
    with pytest.raises(Overloaded):
        ask(a)
    assert [type(e) for e in pump(a, b)] == [RequestArrived, RequestArrived, RequestRefused]


def test_a_peer_that_ignores_refusals_is_cut_off() -> None:
    a = Mux(initiator=True, body_size_of=size_of, calls_max=10_000)
    b = Mux(initiator=False, body_size_of=size_of, calls_max=1)
    for _ in range(600):
        ask(a)
    with pytest.raises(RemoteProtocolError):
        pump(a, b)


def test_a_goodbye_names_the_last_call_and_later_ones_are_not_carried_out() -> None:
    a, b = pair()
    first = ask(a)
    pump(a, b)
    b.goodbye("tired")
    late = ask(a, BULK)
    assert pump(a, b) == []
    assert pump(b, a) == [GoodbyeArrived(first, "tired")]
    a.cancel(late)
    assert pump(a, b) == []
    tell(b, first)
    assert pump(b, a) == [ReplyArrived(first, header(), None)]


def test_unsent_tells_whether_the_peer_can_know_of_a_call() -> None:
    a, b = pair()
    call = ask(a, BULK)
    assert a.unsent(call)
    deliver(a, b)
    assert not a.unsent(call)


@pytest.mark.parametrize(
    ("call_id", "kind"),
    [(2, Kind.HEADER), (2, Kind.CANCEL), (0, Kind.HEADER), (7, Kind.CANCEL), (5, Kind.GOODBYE)],
)
def test_frames_about_calls_that_never_were_are_refused(call_id: int, kind: Kind) -> None:
    _, b = pair()
    with pytest.raises(RemoteProtocolError):
        b.frame(call_id, kind, header())


def test_ids_only_rise() -> None:
    _, b = pair()
    b.frame(5, Kind.HEADER, header())
    for again in (5, 3):
        with pytest.raises(RemoteProtocolError):
            b.frame(again, Kind.HEADER, header())


def test_bodies_of_unknown_calls_and_too_long_ones_are_refused() -> None:
    _, b = pair()
    for call_id in (1, 2, 0):
        with pytest.raises(RemoteProtocolError):
            b.body_space(call_id, 10)
    b.frame(1, Kind.HEADER, header([b"four"]))
    with pytest.raises(RemoteProtocolError):
        b.body_space(1, 5)


def test_two_replies_to_one_call_are_refused() -> None:
    a, _ = pair()
    call = ask(a)
    a.frame(call, Kind.HEADER, header([b"four"]))
    with pytest.raises(RemoteProtocolError):
        a.frame(call, Kind.HEADER, header())


def test_a_header_that_is_too_long_is_our_bug() -> None:
    a, _ = pair()
    with pytest.raises(LocalProtocolError):
        a.request(b"x" * (64 * KIB + 1), ())
    assert a.idle
