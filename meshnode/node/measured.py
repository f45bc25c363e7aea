"""Measured: what this node learns from its own requests about ways, sizes and its predictions."""

from meshnode.ids import ContentHash, NodeId
from meshnode.placement.accuracy import Accuracy
from meshnode.placement.choose import Scored
from meshnode.placement.paths import Answers, Paths
from meshnode.placement.sizes import Sizes
from meshnode.wire.messages import Predict, Prediction


class Measured:
    """The memories that one answer teaches."""

    def __init__(self) -> None:
        self.paths = Paths()
        self.sizes = Sizes()
        self.accuracy = Accuracy()
        self._answers = Answers()

    def rate_of(self, node: NodeId) -> float | None:
        """Return what the path to a node carries, in bytes a ms; None if it is not known."""
        return self.paths.rate_of(node)

    def factor(self, module: ContentHash, payload_bytes: int) -> float:
        """Return how many times a module's usual run a request of this size takes."""
        return self.sizes.factor(module, payload_bytes)

    def carried_bytes(self, module: ContentHash, payload_bytes: int) -> int:
        """Return what a request of a module will carry there and back."""
        return self._answers.carried_bytes(module, payload_bytes)

    def price_ms(self, request: Predict, best: Scored, second_ms: float) -> float:
        """Return what the next best would take if this were a usual request.

        A server reckons with the time that it publishes, and does not know what another size takes.
        """
        factor = self.sizes.factor(request.module, sum(t.size for t in request.tensors))
        return max(0.0, second_ms - best.score.run_ms * (1.0 - 1.0 / factor))

    def answered(
        self,
        scored: Scored,
        request: Predict,
        answer: Prediction,
        *,
        predicted_ms: float,
        took_ms: float,
        trips: int,
    ) -> None:
        """A request was answered `took_ms` after it was sent, cold start excluded.

        In so many round trips: two if its header went first.
        """
        score, timing = scored.score, answer.timing
        payload_bytes = sum(t.size for t in request.tensors)
        run_ms = timing.run_us / 1000
        answer_bytes = sum(t.size for t in answer.tensors)
        self._answers.learn(request.module, payload_bytes, answer_bytes)
        there_ms = timing.queue_us / 1000 + run_ms
        moved_ms = took_ms - there_ms - (trips - 1) * score.network_ms
        carried = payload_bytes + answer_bytes
        self.paths.learn(scored.node_id, carried, moved_ms, score.network_ms)
        if answer.batch == 1 and not score.estimated:
            usual_ms = score.run_ms / self.sizes.factor(request.module, payload_bytes)
            self.sizes.learn(request.module, payload_bytes, run_ms, usual_ms)
        if not (score.cold_ms or score.estimated or timing.cold_us):
            self.accuracy.learn(scored.node_id, predicted_ms, took_ms)
