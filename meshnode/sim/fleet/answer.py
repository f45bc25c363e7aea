"""Answer: what the case study's fleet can hold, by its own numbers.

Its table has frames a second (gateways 8 with a CPU and 15 with an NPU, a regional GPU 60) and
latencies (62, 38 and 19 ms, GPU batches of eight at 2.5 times one). They contradict each other:
62 ms one after the other would be 16 frames a second and not 8. Both are reckoned.
"""

from dataclasses import dataclass
from math import ceil

THROUGHPUT = {"CPU": 8.0, "NPU": 15.0, "GPU": 60.0}
LATENCY_MS = {"CPU": 62.0, "NPU": 38.0, "GPU": 19.0}
GPU_GAIN = 2.5
HELD = 0.7
"""Share of capacity at which at most 5 % are over 100 ms: docs/placement.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A fleet like the article's."""

    cameras: int = 2000
    fps: float = 15.0
    gateways: int = 200
    regional: int = 20

    @property
    def offered(self) -> float:
        """Frames a second."""
        return self.cameras * self.fps


def per_s(row: str) -> float:
    """Return the frames a second of one machine by the latency row."""
    return 1000.0 / LATENCY_MS[row] * (GPU_GAIN if row == "GPU" else 1.0)


def lines(case: Case) -> list[str]:
    """Return the arithmetic in sentences."""
    by_table = [
        case.gateways * THROUGHPUT[row] + case.regional * THROUGHPUT["GPU"]
        for row in ("CPU", "NPU")
    ]
    by_latency = [
        case.gateways * per_s(row) + case.regional * per_s("GPU") for row in ("CPU", "NPU")
    ]
    low, high = by_table[0], by_latency[1]
    gpus = ceil(case.offered / HELD / per_s("GPU"))
    npu_gpus = ceil(max(0.0, case.offered / HELD - case.gateways * per_s("NPU")) / per_s("GPU"))
    fps = HELD * by_latency[1] / case.cameras
    return [
        f"offered: {case.cameras} cameras x {case.fps:g} fps = {case.offered:,.0f} frames/s",
        f"by the article's throughput row: {case.gateways} x 8 (CPU) or 15 (NPU) + "
        f"{case.regional} x 60 (GPU) = {by_table[0]:,.0f} to {by_table[1]:,.0f} frames/s, "
        f"{by_table[0] / case.offered:.0%} to {by_table[1] / case.offered:.0%}",
        f"by its latency row: {case.gateways} x 1000/62 or 1000/38 + {case.regional} x 2.5 x "
        f"1000/19 = {by_latency[0]:,.0f} to {by_latency[1]:,.0f} frames/s, "
        f"{by_latency[0] / case.offered:.0%} to {by_latency[1] / case.offered:.0%}",
        f"so it carries {low / case.offered:.0%} to {high / case.offered:.0%} of what it is "
        f"offered, and no placement can change that",
        f"with at most 5 % over 100 ms a fleet holds about {HELD:.0%} of its capacity: "
        f"at best {fps:.1f} fps a camera here",
        f"what would carry all of it: {npu_gpus} GPUs beside {case.gateways} NPU gateways, or "
        f"{gpus} GPUs alone (batches of eight), or one frame in "
        f"{ceil(case.offered / (HELD * high))} looked at",
    ]
