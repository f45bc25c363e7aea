"""The bounds of batching."""

from dataclasses import dataclass

from meshnode.wire.limits import BODY_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchingSettings:
    """The `[batch]` section of the configuration file, and what a module's own limits add to it."""

    batch_max: int = 32
    """Rows in one batch; most requests are one row. What pays is learned and often less."""

    window_ms_max: float = 0.0
    """How long an idle lane may wait for company when that pays; 0 is greedy: run at once."""

    queue_max: int = 256
    """Requests waiting for one module; more are refused. Eight full batches are seconds already."""

    batch_bytes_max: int = BODY_BYTES_MAX
    """Inputs and outputs of one batch: they lie in the guest's memory together."""
