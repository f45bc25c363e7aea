"""A request's header before its payload, where moving the payload takes longer than asking."""

from dataclasses import dataclass

from meshnode.constraints import Constraints
from meshnode.ids import ContentHash, RequestId
from meshnode.wire.membership import LoadRecord
from meshnode.wire.tensor import TensorHeader
from meshnode.wire.terms import Terms
from meshnode.wire.urgency import Urgency


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Would you take this request? A Predict with all but its body follows if you would."""

    request_id: RequestId
    module: ContentHash
    source: str
    budget_ms: int
    terms: Terms
    urgency: Urgency
    constraints: Constraints
    load: LoadRecord | None
    tensors: tuple[TensorHeader, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """Answer to Intent: send it. A refusal is the Failure that the request itself would get."""

    load: LoadRecord
