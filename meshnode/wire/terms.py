"""What comes with a request beside its inputs, so that its server may correct where it went.

See `placement/price.py`. All of it is only advice from the sender about its own request: a liar
gets a worse place for himself.
"""

from dataclasses import dataclass

NO_ALTERNATIVE = 2**32 - 1
REFUSALS_MAX = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The price of a request, and what has become of it so far."""

    alternative: int = NO_ALTERNATIVE
    """The sender's prediction for its next best node, in 0.1 ms; the largest number: none."""
    refusals: int = 0
    """How often servers refused it on its price."""
    cold_refusals: int = 0
    """How often a server would not load its module just then."""
    moved: bool = False
    """A server gave it to an idle node before; no other does."""


NO_TERMS = Terms()
"""Of a request that is taken wherever it goes."""
