"""How near this node's predictions came: the metric by which a mesh shows that it knows itself."""

from collections import deque

NEAR = 0.30
"""A prediction is near if it is off by no more than this share of what the request took."""
KEPT = 512


class Accuracy:
    """The last predictions of warm requests, and what those took."""

    def __init__(self) -> None:
        self._errors: deque[float] = deque(maxlen=KEPT)

    def __len__(self) -> int:
        return len(self._errors)

    def learn(self, predicted_ms: float, took_ms: float) -> None:
        """A request was answered; whatever it was refused or moved by before does not count."""
        if took_ms > 0.0:
            self._errors.append((predicted_ms - took_ms) / took_ms)

    @property
    def near(self) -> float | None:
        """The share of predictions that were near; None before the first."""
        if not self._errors:
            return None
        return sum(abs(error) <= NEAR for error in self._errors) / len(self._errors)

    @property
    def error(self) -> float | None:
        """The middle one of all errors, as shares of what the requests took; above 0: too long."""
        if not self._errors:
            return None
        return sorted(self._errors)[len(self._errors) // 2]
