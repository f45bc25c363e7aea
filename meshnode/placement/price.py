"""The price on a request: what its sender could have elsewhere, so that the server may correct it.

A sender decides by records that are always a little old; the server knows its own queue exactly.
So a request carries the sender's second best prediction, and the server refuses it, with a fresh
record, when that is clearly better than what the server itself can do (placement.md section 2).
The error of a decision is then bounded by one round trip and not by the age of a record.
"""

from dataclasses import dataclass
from math import inf

from meshnode.placement.score import UNIT_MS
from meshnode.placement.settings import PlacementSettings
from meshnode.wire.terms import NO_ALTERNATIVE, Terms


@dataclass(frozen=True, slots=True)
class Price:
    """What comes with a request to another node."""

    alternative_ms: float = inf
    """The sender's prediction for its next best node; infinite if there is none."""
    refusals: int = 0
    """How often this request was refused on its price already."""

    @classmethod
    def of(cls, terms: Terms) -> "Price":
        """Return the price that came with a request."""
        if terms.alternative == NO_ALTERNATIVE:
            return cls(inf, terms.refusals)
        return cls(terms.alternative * UNIT_MS, terms.refusals)


def is_overpriced(completion_ms: float, price: Price, settings: PlacementSettings) -> bool:
    """Return whether a server should refuse a request.

    `completion_ms` is the server's own wait, run and cold start for it now. The answer travels as
    long as a refusal does, so the way back does not count; what the sender then sends elsewhere
    has its whole round trip in `alternative_ms`.
    """
    if price.refusals >= settings.refusals_max:
        return False
    return completion_ms > price.alternative_ms + settings.refusal_margin_ms
