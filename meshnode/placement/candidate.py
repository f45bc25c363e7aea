"""A node as placement sees it. Built by `node/view.py` from membership, loads and the library."""

from dataclasses import dataclass

from meshnode.caps import Caps
from meshnode.ids import Contact
from meshnode.wire.messages import LoadRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One node that might run the request; `is_self` marks this one."""

    contact: Contact
    name: str
    caps: Caps
    rtt_ms: float | None
    """None if no ping was acked yet."""
    load: LoadRecord | None
    """None if none was heard, or it is too old to mean anything."""
    load_age_s: float
    """How long ago the node wrote `load`; 0 for the own node."""
    holds: bool
    """The module is on its disk."""
    is_self: bool = False
    bytes_per_ms: float | None = None
    """What its path was measured to carry; None: not known, the setting's estimate."""
    rows: int = 1
    """How much there is to run in the request that is placed."""
    run_factor: float = 1.0
    """How many times a usual run a request of this size takes, by what was measured."""
    unfit: str = ""
    """Why membership says not to use it ("dead", "suspect"), or empty."""
    policy: str = ""
    """Why a policy says not to use it, or empty."""
