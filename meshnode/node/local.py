"""Local: runs a request on this node. The lower half of a request's way."""

from dataclasses import replace

import numpy as np
import trio

from meshnode.errors import DeadlineExceeded, MeshnodeError, Overpriced
from meshnode.ids import NodeId
from meshnode.modules.schema import check_inputs, rows_of
from meshnode.node.constraints import Bounds
from meshnode.node.lanes import Lanes
from meshnode.node.library import Library
from meshnode.node.load import LoadReporter
from meshnode.node.queued import Answer, Asker
from meshnode.node.repeats import Repeats, Run
from meshnode.placement.price import Price, is_overpriced
from meshnode.placement.score import UNIT_MS
from meshnode.placement.settings import PlacementSettings
from meshnode.runtime.tensors import from_arrays, to_arrays
from meshnode.wire.messages import Granted, Intent, Predict, Prediction
from meshnode.wire.terms import NO_ALTERNATIVE


class Local:
    """Lane, worker thread, sandbox and back."""

    def __init__(
        self, own_id: NodeId, library: Library, lanes: Lanes, load: LoadReporter, bounds: Bounds
    ) -> None:
        self._own_id = own_id
        self._bounds = bounds
        self._library = library
        self._lanes = lanes
        self._load = load
        self._settings = PlacementSettings()
        self._repeats = Repeats()

    async def run(
        self,
        request: Predict,
        deadline: float,
        *,
        peer: NodeId | None = None,
        keeper: Run | None = None,
    ) -> Prediction:
        """Run a request here, cold start included, or raise what went wrong.

        `peer` is who sent it, if not this node; `keeper` takes its answer if whoever asks leaves.
        """
        if peer is None:
            self._load.asked()
        info = await self._library.info(request.module)
        rows = check_inputs(info.manifest, request.tensors)  # before it costs a load or a place
        lane, cold_us = await self._lanes.get(
            request.module, cold_refusals=request.terms.cold_refusals
        )
        body = request.body[0] if len(request.body) == 1 else b"".join(request.body)
        outputs = [t.name for t in info.manifest.outputs]
        asked = request.constraints or info.manifest.constraints

        def pack(answer: Answer) -> Prediction:
            return self._packed(request, answer, outputs, cold_us)

        if keeper is not None:
            keeper.pack = pack
        waited_s = request.budget_ms / 1000 - (deadline - trio.current_time())
        answer = await lane.predict(
            to_arrays(request.tensors, memoryview(body)),
            run_by=deadline,
            rows=rows,
            asker=Asker(
                source=request.source,
                flow=(self._own_id if peer is None else peer, request.source),
                priority=request.urgency.priority,
                age_s=request.urgency.age_ms / 1000 + max(0.0, waited_s),
                # One that may not run everywhere is not given to whoever happens to be idle.
                movable=not (request.terms.moved or asked),
                keeper=keeper,
            ),
        )
        return pack(answer)

    def _packed(
        self, request: Predict, answer: Answer, outputs: list[str], cold_us: int
    ) -> Prediction:
        headers, out = from_arrays(answer.arrays, outputs)
        return Prediction(
            request_id=request.request_id,
            served_by=self._own_id,
            module=request.module,
            tensors=headers,
            timing=replace(answer.timing, cold_us=cold_us),
            batch=answer.batch,
            body=out,
        )

    async def consider(self, peer: NodeId, intent: Intent) -> Granted:
        """Say whether a request would be taken, before its payload is moved; see `serve`."""
        try:
            info = await self._library.info(intent.module)
            self._bounds.check(info.manifest, intent.constraints, peer)
            rows = check_inputs(info.manifest, intent.tensors)
            self._correct(intent, rows)
            lane = self._lanes.consider(intent.module, intent.terms.cold_refusals)
            if lane is not None:
                lane.consider(
                    {t.name: np.broadcast_to(np.uint8(0), t.shape) for t in intent.tensors},
                    run_by=trio.current_time() + intent.budget_ms / 1000,
                    rows=rows,
                    asker=Asker(source=intent.source, flow=(peer, intent.source)),
                )
        except MeshnodeError as error:
            error.load = self._load.word(intent.module)
            raise
        return Granted(load=self._load.word(intent.module))

    def _correct(self, request: Predict | Intent, rows: int) -> None:
        """Raise Overpriced if the sender does clearly better with its second best.

        A module that never ran here has no price: somebody has to be the first to measure it.
        """
        self._load.asked()
        terms = request.terms
        if terms.alternative == NO_ALTERNATIVE:
            return
        completion_ms = self._load.completion_ms(request.module, rows)
        price = Price(terms.alternative * UNIT_MS, terms.refusals)
        if completion_ms is not None and is_overpriced(completion_ms, price, self._settings):
            raise Overpriced(
                f"it would take {completion_ms:.0f} ms here, "
                f"{price.alternative_ms:.0f} ms at another node"
            )

    async def serve(self, peer: NodeId, request: Predict) -> Prediction:
        """Answer a request that another node placed here: run it or refuse it, never forward.

        Its input came in at the peer's door: a request is sent on once at most.
        """
        deadline = trio.current_time() + request.budget_ms / 1000

        async def run(keeper: Run) -> Prediction:
            info = await self._library.info(request.module)
            self._bounds.check(info.manifest, request.constraints, peer)
            self._correct(request, rows_of(info.manifest, request.tensors))
            return await self.run(request, deadline, peer=peer, keeper=keeper)

        try:
            with trio.fail_at(deadline):
                answer = await self._repeats.once(peer, request, deadline, run)
                return replace(answer, load=self._load.word(request.module))
        except trio.TooSlowError as error:
            raise DeadlineExceeded(f"not done within {request.budget_ms} ms") from error
        except MeshnodeError as error:
            error.load = self._load.word(request.module)
            raise
