"""Small fleets for these tests."""

from meshnode.sim.fleet.policy import Policy
from meshnode.sim.fleet.request import Request
from meshnode.sim.fleet.shape import CPU, GPU, NPU, Group, Kind, Shape

SMALL = Shape(
    groups=(
        Group(kind=CPU, count=2, sites=(0, 1)),
        Group(kind=NPU, count=2, sites=(0, 1)),
        Group(kind=GPU, count=1, sites=(0, 1)),
    )
)
"""Ten machines at two sites."""


class AtHome(Policy):
    """Every gateway serves its own frames: so many separate queues."""

    def choose(self, request: Request) -> int:
        """See `Policy`."""
        return request.home


def alone(count: int, each_ms: float, noise: float) -> Shape:
    """Return so many equal machines with equal loads, each by itself."""
    kind = Kind(name="queue", fixed_ms=0.0, each_ms=each_ms, cameras=1)
    return Shape(
        groups=(Group(kind=kind, count=count, sites=(0,)),), uneven=0.0, spread=0.0, noise=noise
    )
