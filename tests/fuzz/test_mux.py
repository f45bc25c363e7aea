"""A Mux survives any frames; two of them agree whatever is called, answered and cancelled."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from meshnode.errors import RemoteProtocolError
from meshnode.wire.frames import Kind
from meshnode.wire.mux import CancelArrived, Mux, ReplyArrived, RequestArrived, RequestRefused
from tests.unit.wire.plumbing import deliver, size_of

BUDGET = 400_000
SIZES = st.sampled_from([0, 0, 5, 20_000, 300_000, 500_000])
FRAME = st.tuples(
    st.sampled_from(list(Kind)), st.integers(0, 8), st.sampled_from([b"\0\0\0\x05x", b"", bytes(4)])
)


@settings(max_examples=200, deadline=None)
@given(frames=st.lists(FRAME, max_size=30), initiator=st.booleans(), own=st.integers(0, 3))
def test_any_frames_give_events_or_the_protocol_error(
    frames: list[tuple[Kind, int, bytes]], initiator: bool, own: int
) -> None:
    mux = Mux(initiator=initiator, body_size_of=size_of, inbound_bytes_max=12)
    for _ in range(own):
        mux.request(bytes(4), ())
    mux.next_batch() if own else None
    try:
        for kind, call_id, payload in frames:
            if kind is not Kind.BODY:
                mux.frame(call_id, kind, payload)
            elif mux.body_space(call_id, 5) is not None:
                mux.body_filled(call_id)
    except RemoteProtocolError:
        pass


class TwoMuxes(RuleBasedStateMachine):
    """Random calls, answers, cancels and deliveries between two sides."""

    def __init__(self) -> None:
        super().__init__()
        self.sides = [
            Mux(initiator=first, body_size_of=size_of, inbound_bytes_max=BUDGET)
            for first in (True, False)
        ]
        self.asked: list[dict[int, int]] = [{}, {}]
        self.todo: list[dict[int, bool]] = [{}, {}]

    @rule(side=st.integers(0, 1), size=SIZES)
    def ask(self, side: int, size: int) -> None:
        if len(self.asked[side]) < 20:
            body = bytes([size % 251]) * size
            call_id = self.sides[side].request(size.to_bytes(4, "big"), (body,) if size else ())
            self.asked[side][call_id] = size

    @rule(side=st.integers(0, 1), size=SIZES, pick=st.integers(0, 100))
    def answer(self, side: int, size: int, pick: int) -> None:
        todo = self.todo[side]
        if todo:
            call_id = sorted(todo)[pick % len(todo)]
            if todo.pop(call_id):
                size = 0
            self.sides[side].reply(call_id, size.to_bytes(4, "big"), (bytes(size),) if size else ())

    @rule(side=st.integers(0, 1), pick=st.integers(0, 100))
    def cancel(self, side: int, pick: int) -> None:
        if self.asked[side]:
            call_id = sorted(self.asked[side])[pick % len(self.asked[side])]
            del self.asked[side][call_id]
            self.sides[side].cancel(call_id)

    @rule(side=st.integers(0, 1))
    def send(self, side: int) -> None:
        if self.sides[side].has_output:
            deliver(self.sides[side], self.sides[1 - side])
            self._take(1 - side)

    def _take(self, side: int) -> None:
        for event in self.sides[side].take_events():
            if isinstance(event, RequestArrived):
                self.todo[side][event.call_id] = False
                body = event.body or b""
                assert len(body) == size_of(event.header)
                assert bytes(body) == bytes([len(body) % 251]) * len(body)
            elif isinstance(event, RequestRefused):
                self.todo[side][event.call_id] = True
            elif isinstance(event, CancelArrived):
                assert self.todo[side].pop(event.call_id) is False
            elif isinstance(event, ReplyArrived):
                del self.asked[side][event.call_id]
            else:
                self.asked[side].pop(event.call_id)

    @invariant()
    def no_more_is_held_than_the_budget(self) -> None:
        for mux in self.sides:
            assert 0 <= mux._inbound_left <= BUDGET

    def teardown(self) -> None:
        """Whatever happened: once all is answered and delivered, nothing is left anywhere."""
        for _ in range(200):
            for side in (0, 1):
                for _ in range(len(self.todo[side])):
                    self.answer(side, 0, 0)
                self.send(side)
        for side, mux in enumerate(self.sides):
            assert self.asked[side] == {}
            assert mux.idle
            assert mux._inbound_left == BUDGET
            assert mux.outbound_bytes == 0
            assert not mux._incoming


TestTwoMuxes = TwoMuxes.TestCase
TestTwoMuxes.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
