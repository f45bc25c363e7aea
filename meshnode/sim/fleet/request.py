"""Request: one frame on its way, and what a policy remembers of it."""

from meshnode.ids import RequestId
from meshnode.sim.fleet.traffic import Camera


class Request:
    """One frame. Times in s of the fleet."""

    __slots__ = (
        "attempt",
        "born",
        "camera",
        "cold_ms",
        "done",
        "gone_at",
        "home",
        "id",
        "module",
        "note",
        "run_by",
        "sent_at",
        "server",
    )

    def __init__(self, number: int, camera: Camera, born: float, run_by: float) -> None:
        self.id = RequestId(number.to_bytes(16, "big"))
        self.camera = camera
        self.home = camera.home
        self.module = camera.module
        self.born = born
        self.run_by = run_by
        self.attempt = 0
        """Counts where it was sent; what comes of an earlier attempt is stale."""
        self.server = -1
        self.sent_at = born
        self.cold_ms = 0.0
        """What loading the module was expected to take where it was sent."""
        self.gone_at = -1
        """Where it is no longer wanted."""
        self.done = False
        self.note: object = None
        """The policy's own."""
