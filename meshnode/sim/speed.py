"""The simulator's own figure: processor time for one virtual second of a whole mesh."""

from time import process_time

from meshnode.sim.links import Link
from meshnode.sim.mesh import SimMesh

WARM_UP_S = 2.0
MEASURED_S = 3.0


def speed(nodes: int | None, seed: int) -> list[str]:
    """2,000 whole nodes at rest: seconds of this processor for one virtual second."""
    count = nodes or 2000
    mesh = SimMesh(seed, link=Link())
    for _ in range(count):
        mesh.add().start()
    mesh.acquaint()
    mesh.run(WARM_UP_S)
    sent, began = mesh.network.sent, process_time()
    mesh.run(MEASURED_S)
    took_s = (process_time() - began) / MEASURED_S
    packets = (mesh.network.sent - sent) / MEASURED_S
    return [
        f"{count} whole nodes: {took_s:.2f} s of processor for one virtual second,"
        f" {packets:.0f} packets/s, {1e6 * took_s / packets:.0f} us a packet",
        "  goal: <= 1 s at 2,000 nodes",
    ]
