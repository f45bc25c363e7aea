"""Traffic: which camera's frame comes when, to which gateway. The same seed, the same frames."""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heapreplace
from itertools import accumulate
from math import exp

from meshnode.machine import Random
from meshnode.sim.fleet.shape import Shape, Spot


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """One source of frames."""

    name: str
    home: int
    """The gateway that dispatches for it."""
    module: int
    weight: float


def cameras(shape: Shape, machines: list[Spot], seed: int) -> list[Camera]:
    """Return all cameras with uneven rates: log-normal ones, at sites that differ too."""
    rng = Random(f"cameras {seed}")
    by_site = [1.0 + shape.uneven * (2 * rng.random() - 1) for _ in range(shape.sites)]
    ranks = [1.0 / (1 + m) for m in range(shape.modules)]
    found: list[Camera] = []
    for spot in machines:
        for _ in range(spot.kind.cameras):
            own = exp(rng.gauss(0.0, 0.5)) if shape.uneven else 1.0
            module = rng.choices(range(shape.modules), ranks)[0] if shape.modules > 1 else 0
            found.append(
                Camera(
                    name=f"camera {len(found)}",
                    home=spot.index,
                    module=module,
                    weight=own * by_site[spot.site],
                )
            )
    return found


@dataclass(frozen=True, slots=True)
class Bursts:
    """Each site's rate is `factor` times its own for `length_s`, once in `every_s` on average."""

    factor: float = 2.5
    length_s: float = 2.0
    every_s: float = 20.0


def frames(all_cameras: list[Camera], per_s: float, seed: int) -> Iterator[tuple[float, Camera]]:
    """Yield (time, camera) without end: a Poisson process at each gateway."""
    rng = Random(f"frames {seed}")
    homes: dict[int, list[Camera]] = {}
    for camera in all_cameras:
        homes.setdefault(camera.home, []).append(camera)
    total = sum(c.weight for c in all_cameras)
    doors = []
    for home in sorted(homes):
        own = homes[home]
        bounds = list(accumulate(c.weight for c in own))
        doors.append((bounds[-1] / total * per_s, own, bounds))
    due = [(rng.expovariate(rate), i) for i, (rate, _, _) in enumerate(doors)]
    heapify(due)
    while True:
        when, i = due[0]
        rate, own, bounds = doors[i]
        yield when, rng.choices(own, cum_weights=bounds)[0]
        heapreplace(due, (when + rng.expovariate(rate), i))
