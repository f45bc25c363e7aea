"""The bounds of batching."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchingSettings:
    """The `[batch]` section of the configuration file."""

    batch_max: int = 8
    """Requests in one batch. Larger batches gain little on small devices and delay the first."""

    window_ms_max: float = 0.0
    """How long a lone request waits for company on an idle lane; 0 is greedy: run at once."""

    queue_max: int = 256
    """Requests waiting for one module; more are refused. Eight full batches are seconds already."""
