"""The root of every failure that meshnode raises on purpose."""

from collections.abc import Sequence


class MeshnodeError(Exception):
    """Something failed that has no better name."""

    code = "MN-000"
    exit_status = 1
    http_status = 500
    retry_elsewhere = False

    def __init__(self, message: str, *, because: Sequence[str] = (), try_: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.because = tuple(because)
        """Facts that were observed, one a line."""
        self.try_ = try_
        """A command that can be pasted, or an instruction; empty if there is none."""
        self.load: object | None = None
        """The `LoadRecord` of the node that failed, where one rides on the Failure."""
        self.instead: bytes | None = None
        """The tag of the node to try next, where the failing one named it."""
        self.retry_after_ms: int | None = None
        """In how many ms there will be a place for the request; None if nobody knows."""
