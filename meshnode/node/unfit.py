"""Unfit: modules that fail their own self-tests on this node, remembered for a while.

A driver, a processor or a build of onnxruntime may compute wrongly here what is right elsewhere. So
such a module is not advertised by this node and not compiled again for each request: it is refused
at once, and another node is asked. After a while it is tried again; something may have been mended.
"""

from collections.abc import Callable

from meshnode.errors import SelfTestFailed
from meshnode.ids import ContentHash

UNFIT_S = 600.0


class Unfit:
    """Which modules failed here, why, and until when that counts."""

    def __init__(self) -> None:
        self._failed: dict[ContentHash, tuple[SelfTestFailed, float]] = {}
        self.on_failed: Callable[[ContentHash], None] = lambda module: None
        """Called when a module has just failed."""

    def note(self, module: ContentHash, error: SelfTestFailed, now: float) -> None:
        """A module failed its tests."""
        self._failed = {m: f for m, f in self._failed.items() if f[1] > now}
        self._failed[module] = (error, now + UNFIT_S)
        self.on_failed(module)

    def reason(self, module: ContentHash, now: float) -> str:
        """Return why a module is not run here, or an empty string."""
        failed = self._failed.get(module)
        return "" if failed is None or failed[1] <= now else failed[0].message

    def check(self, module: ContentHash, now: float) -> None:
        """Raise SelfTestFailed if the module failed here not long ago."""
        if self.reason(module, now):
            error, until = self._failed[module]
            raise SelfTestFailed(
                error.message,
                because=[*error.because, f"it is tried here again in {until - now:.0f} s"],
            )
