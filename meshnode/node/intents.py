"""Intents: ask with a request's header first, where its payload would take longer than asking.

A refusal then costs a round trip and not the payload. On a LAN the payload is quicker than what two
event loops add to a round trip, so nothing is asked.
"""

from collections.abc import Callable
from dataclasses import replace

import trio

from meshnode.errors import RemoteProtocolError
from meshnode.ids import NodeId
from meshnode.net.pool import ConnectionPool
from meshnode.placement.choose import Scored
from meshnode.wire.messages import Granted, Intent, LoadRecord, Predict
from meshnode.wire.terms import NO_ALTERNATIVE

NEAR_MS = 8.0
"""A payload that takes no longer is sent at once: so long takes a round trip on a LAN whose event
loops are busy."""


class Intents:
    """Decides whether to ask first, and asks."""

    def __init__(
        self,
        pool: ConnectionPool,
        rate_of: Callable[[NodeId], float | None],
        on_load: Callable[[NodeId, LoadRecord], None],
    ) -> None:
        """`rate_of` gives the measured bytes per ms of the path to a node; None: not measured."""
        self._pool = pool
        self._rate_of = rate_of
        self._on_load = on_load

    def pays(self, scored: Scored, request: Predict) -> bool:
        """Return whether the payload is slower than the question."""
        rate = None if scored.candidate.is_self else self._rate_of(scored.node_id)
        if rate is None:
            return False
        payload_ms = sum(t.size for t in request.tensors) / rate
        return payload_ms > max(NEAR_MS, scored.score.network_ms)

    async def ask(self, scored: Scored, request: Predict, *, timeout_s: float) -> Predict:
        """Return the request as it is to be sent now, or raise its refusal."""
        began = trio.current_time()
        intent = Intent(
            request_id=request.request_id,
            module=request.module,
            source=request.source,
            budget_ms=request.budget_ms,
            terms=request.terms,
            urgency=request.urgency,
            constraints=request.constraints,
            load=request.load,
            tensors=request.tensors,
        )
        reply = await self._pool.call(scored.candidate.contact, intent, timeout_s=timeout_s)
        if not isinstance(reply, Granted):
            raise RemoteProtocolError(f"a {type(reply).__name__} came in answer to an Intent")
        self._on_load(scored.node_id, reply.load)
        spent_ms = round((trio.current_time() - began) * 1000)
        return replace(
            request,
            budget_ms=max(1, request.budget_ms - spent_ms),
            load=None,
            terms=replace(request.terms, alternative=NO_ALTERNATIVE),
            urgency=replace(request.urgency, age_ms=request.urgency.age_ms + spent_ms),
        )
