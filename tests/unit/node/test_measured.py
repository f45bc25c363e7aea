"""What an answer teaches: the way, the size, and how near the prediction was."""

from math import inf

import pytest

from meshnode.ids import RequestId
from meshnode.node.measured import Measured
from meshnode.placement.choose import Scored
from meshnode.placement.score import Score
from meshnode.wire.messages import Predict, Prediction, TensorHeader, Timing
from tests.unit.placement.nodes import MODULE, node

USUAL_MS = 10.0


def asked(size: int) -> Predict:
    head = TensorHeader(name="x", dtype="uint8", shape=(size,), size=size)
    return Predict(
        request_id=RequestId(bytes(16)),
        module=MODULE,
        source="",
        budget_ms=1000,
        hops_left=1,
        tensors=(head,),
    )


def answer(run_ms: float, batch: int = 1, size: int = 0) -> Prediction:
    head = TensorHeader(name="y", dtype="uint8", shape=(size,), size=size)
    return Prediction(
        request_id=RequestId(bytes(16)),
        served_by=node("a").contact.node_id,
        module=MODULE,
        tensors=(head,),
        timing=Timing(queue_us=2000, run_us=round(run_ms * 1000)),
        batch=batch,
    )


def learn(
    known: Measured,
    size: int,
    run_ms: float,
    way_ms: float,
    *,
    trips: int = 1,
    answered: int = 0,
    **how: bool,
) -> None:
    scored = Scored(
        node("a", is_self=how.get("here", False)),
        Score(
            1.0,
            0.0,
            0.0,
            USUAL_MS * known.factor(MODULE, size),
            5.0 if how.get("cold") else 0.0,
            0.0,
            0.0,
            how.get("estimated", False),
        ),
    )
    took_ms = way_ms + 2.0 + run_ms
    known.answered(
        scored,
        asked(size),
        answer(run_ms, 4 if how.get("batched") else 1, answered),
        predicted_ms=took_ms,
        took_ms=took_ms,
        trips=trips,
    )


def test_a_size_and_a_way_are_learned_from_one_answer() -> None:
    known = Measured()
    learn(known, 1000, 40.0, 3.0)
    assert known.factor(MODULE, 1000) == pytest.approx(4.0)
    assert known.paths.rtt_of(node("a").contact.node_id) == pytest.approx(3.0)
    assert known.accuracy.near == 1.0
    for _ in range(20):
        learn(known, 1000, 40.0, 3.0)
    assert known.factor(MODULE, 1000) == pytest.approx(4.0), "it is no factor of itself"


def test_the_question_before_a_big_payload_is_not_its_carrying() -> None:
    known = Measured()
    learn(known, 1000, 10.0, 1.0)
    learn(known, 1_000_000, 10.0, 102.0, trips=2)
    assert known.rate_of(node("a").contact.node_id) == pytest.approx(10_000)


@pytest.mark.parametrize("how", ["estimated", "batched"])
def test_what_is_no_measurement_of_a_lone_run_teaches_no_size(how: str) -> None:
    known = Measured()
    learn(known, 1000, 40.0, 3.0, **{how: True})
    assert known.factor(MODULE, 1000) == 1.0


def test_the_own_node_has_a_way_too_and_a_cold_start_is_no_prediction() -> None:
    known = Measured()
    learn(known, 1000, 40.0, 3.0, here=True, cold=True)
    learn(known, 1_000_000, 40.0, 4.0, here=True, cold=True)
    assert known.paths.rtt_of(node("a").contact.node_id) == pytest.approx(3.0)
    assert known.paths.rate_of(node("a").contact.node_id) == pytest.approx(1_000_000)
    assert known.accuracy.near is None


def test_an_answer_is_carried_too() -> None:
    known = Measured()
    assert known.carried_bytes(MODULE, 1000) == 1000
    learn(known, 1000, 40.0, 3.0, answered=2000)
    assert known.carried_bytes(MODULE, 500) == 1500


def test_a_price_is_that_of_a_usual_request() -> None:
    known = Measured()
    learn(known, 1000, 40.0, 3.0)
    best = Scored(node("a"), score_of(40.0))
    assert known.price_ms(asked(1000), best, 65.0) == pytest.approx(35.0)
    assert known.price_ms(asked(1_000_000), best, 65.0) == 65.0
    assert known.price_ms(asked(1000), best, inf) == inf


def score_of(run_ms: float) -> Score:
    return Score(1.0, 0.0, 0.0, run_ms, 0.0, 0.0, 0.0, False)
