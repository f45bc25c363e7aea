"""Hedged requests: a second copy goes out late, to another node, and the first answer wins."""

from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from meshnode.errors import MeshnodeError, ModuleFailed, NoCandidate
from meshnode.ids import ContentHash, NodeId, RequestId
from meshnode.modules.manifest import Manifest
from meshnode.node.attempts import Attempt, Job, Placed
from meshnode.node.hedging import Hedging
from meshnode.node.visits import Visits
from meshnode.placement.hedging import BURST, SHARE, HedgeBudget
from meshnode.wire.messages import Predict, Prediction, Timing

ASKED = RequestId(b"r" * 16)
SLOW, QUICK = NodeId(b"s" * 32), NodeId(b"q" * 32)


@dataclass
class Mesh:
    """Answers each node's copies after a time, or with an error; notes who was asked when."""

    takes_ms: dict[NodeId, float]
    fails: dict[NodeId, MeshnodeError] = field(default_factory=dict)
    asked: list[tuple[NodeId, float, RequestId]] = field(default_factory=list)
    gone: list[NodeId] = field(default_factory=list)

    async def place(self, job: Job) -> Placed:
        node = job.at = next(n for n in self.takes_ms if n not in job.course.avoided)
        self.asked.append((node, trio.current_time(), job.request.request_id))
        outcome = "no answer yet"
        try:
            await trio.sleep(self.takes_ms[node] / 1000)
            outcome = "ok"
        except trio.Cancelled:
            self.gone.append(node)
            raise
        finally:
            job.attempts.append(Attempt(node, node.hex()[:2], 1.0, self.takes_ms[node], outcome))
        if node in self.fails:
            raise self.fails[node]
        return Placed(
            Prediction(
                request_id=job.request.request_id,
                served_by=node,
                module=job.request.module,
                tensors=(),
                timing=Timing(),
                batch=1,
            ),
            job.attempts,
        )


PLAIN = Manifest(name="m", version="1.0.0", abi="infer", inputs=(), outputs=())


def job(manifest: Manifest = PLAIN) -> Job:
    request = Predict(
        request_id=ASKED,
        module=ContentHash(b"m" * 32),
        source="cam",
        budget_ms=60_000,
        hops_left=1,
        tensors=(),
    )
    return Job(request, manifest, explain=False, visit=Visits().visit("cam"))


async def test_whoever_answers_in_time_is_asked_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    mesh = Mesh({SLOW: 15, QUICK: 1})
    placed = await Hedging(mesh.place).place(job(), 20)
    assert placed.prediction.served_by == SLOW
    assert len(mesh.asked) == 1


async def test_a_late_request_goes_to_another_node_and_the_first_answer_wins(
    autojump_clock: trio.testing.MockClock,
) -> None:
    mesh = Mesh({SLOW: 500, QUICK: 5})
    started = trio.current_time()
    placed = await Hedging(mesh.place).place(job(), 20)
    assert placed.prediction.served_by == QUICK
    assert placed.prediction.request_id == ASKED, "the answer is to what was asked"
    assert trio.current_time() - started == pytest.approx(0.025)
    assert mesh.gone == [SLOW], "the slow copy is taken back"
    (_, first_at, first_id), (_, second_at, second_id) = mesh.asked
    assert second_at - first_at == pytest.approx(0.020)
    assert first_id != second_id, "each is counted for itself"
    assert [a.outcome for a in placed.attempts] == ["no answer yet", "ok"]


async def test_the_first_may_still_win(autojump_clock: trio.testing.MockClock) -> None:
    mesh = Mesh({SLOW: 30, QUICK: 300})
    placed = await Hedging(mesh.place).place(job(), 20)
    assert placed.prediction.served_by == SLOW
    assert mesh.gone == [QUICK]
    assert [a.node for a in placed.attempts] == [QUICK, SLOW], "who answered is named last"


async def test_the_other_goes_on_where_one_finds_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    mesh = Mesh({SLOW: 30, QUICK: 300}, fails={SLOW: NoCandidate("nobody else")})
    placed = await Hedging(mesh.place).place(job(), 20)
    assert placed.prediction.served_by == QUICK


async def test_an_error_of_the_module_is_final(autojump_clock: trio.testing.MockClock) -> None:
    mesh = Mesh({SLOW: 30, QUICK: 300}, fails={SLOW: ModuleFailed("it says no")})
    with pytest.raises(ModuleFailed):
        await Hedging(mesh.place).place(job(), 20)
    assert mesh.gone == [QUICK]


async def test_of_two_failures_the_first_is_told(autojump_clock: trio.testing.MockClock) -> None:
    first, second = NoCandidate("first"), NoCandidate("second")
    mesh = Mesh({SLOW: 30, QUICK: 30}, fails={SLOW: first, QUICK: second})
    with pytest.raises(NoCandidate) as raised:
        await Hedging(mesh.place).place(job(), 20)
    assert raised.value is first


@pytest.mark.parametrize("affinity", ["source-hash", "round-robin", "bandit"])
async def test_a_module_with_an_order_of_its_own_is_never_sent_twice(
    affinity: str, autojump_clock: trio.testing.MockClock
) -> None:
    ordered = Manifest(
        name="m", version="1.0.0", abi="infer", inputs=(), outputs=(), affinity=affinity
    )
    mesh = Mesh({SLOW: 500, QUICK: 5})
    placed = await Hedging(mesh.place).place(job(ordered), 20)
    assert placed.prediction.served_by == SLOW


async def test_no_more_than_a_share_is_sent_twice(autojump_clock: trio.testing.MockClock) -> None:
    hedging, count = Hedging((mesh := Mesh({SLOW: 30, QUICK: 300})).place), 300
    for _ in range(count):
        await hedging.place(job(), 20)
    copies = len(mesh.asked) - count
    assert BURST <= copies <= BURST + SHARE * count


def test_a_budget_that_rested_has_no_more_than_its_burst() -> None:
    budget = HedgeBudget()
    for _ in range(1000):
        budget.began()
    assert sum(budget.take() for _ in range(100)) == BURST
