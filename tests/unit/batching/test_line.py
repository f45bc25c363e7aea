"""Line: oldest first in the mesh; priorities and ages that can be told only so much."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from meshnode.batching.events import Offer
from meshnode.batching.fairness import Flow
from meshnode.batching.line import AGE_S_MAX, HANDICAP_S, Line
from meshnode.ids import RequestId

INTERACTIVE, NORMAL, BATCH = 0, 1, 2


def offer(name: str, *, flow: Flow = ("p", "s"), run_by: float = 1e6) -> Offer:
    return Offer(RequestId(name.encode()), run_by, flow=flow)


def names(line: Line) -> list[str]:
    return [o.request_id.decode() for o in line]


def test_a_request_that_was_refused_elsewhere_keeps_its_age() -> None:
    line = Line()
    line.add(offer("here"), now=10.0)
    line.add(replace(offer("elsewhere"), age_s=0.5), now=10.2)
    assert names(line) == ["elsewhere", "here"]
    assert line.head.request_id == b"elsewhere"


def test_a_claimed_age_is_worth_no_more_than_the_bound_or_the_time_left() -> None:
    line = Line()
    line.add(offer("first"), now=10.0)
    line.add(replace(offer("liar"), age_s=1e9), now=10.0 + AGE_S_MAX + 0.1)
    assert names(line) == ["first", "liar"]
    line.add(replace(offer("hurried", run_by=13.3), age_s=1e9), now=13.0)
    assert names(line) == ["first", "liar", "hurried"], "it has 0.3 s left, so it is 0.3 s old"


def test_a_priority_is_worth_a_bounded_time() -> None:
    line = Line()
    line.add(replace(offer("batch"), priority=BATCH), now=1.0)
    line.add(replace(offer("normal"), priority=NORMAL), now=1.0)
    line.add(replace(offer("interactive"), priority=INTERACTIVE), now=1.0)
    assert names(line) == ["interactive", "normal", "batch"]
    line.add(replace(offer("late"), priority=INTERACTIVE), now=1.0 + HANDICAP_S[BATCH] + 0.1)
    assert names(line)[-1] == "late", "batch has waited long enough"


def test_a_full_line_lets_go_of_the_newest_of_who_has_most() -> None:
    line = Line()
    for n in range(5):
        line.add(offer(f"flood-{n}", flow=("p", "flood")), now=1.0 + n)
    line.add(offer("other", flow=("p", "other")), now=9.0)
    assert line.crowder(("p", "flood")) is None
    assert line.crowder(("p", "other")) == b"flood-4"
    assert line.crowder(("q", "new")) == b"flood-4"
    even = Line()
    for n in range(4):
        even.add(offer(str(n), flow=(n, "s")), now=1.0)
    assert even.crowder((9, "s")) is None, "nobody has more than his share"


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.floats(0, 3), st.integers(0, 2)),
        min_size=1,
        max_size=30,
    )
)
def test_within_a_flow_the_order_is_that_of_the_line(
    entries: list[tuple[str, str, float, int]],
) -> None:
    line = Line()
    for n, (peer, source, age_s, priority) in enumerate(entries):
        made = offer(str(n), flow=(peer, source))
        line.add(replace(made, age_s=age_s, priority=priority), now=5.0 + n / 10)
    fair = list(line.fair(0.01))
    assert {o.request_id for o in fair} == {o.request_id for o in line}
    assert len(fair) == len(line)
    for flow in line.flows:
        assert [o for o in fair if o.flow == flow] == [o for o in line if o.flow == flow]
    for o in fair:
        assert line.take(o.request_id) is o
    assert not len(line)
    assert not line.flows
