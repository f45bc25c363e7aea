"""Placement's figure: many unequal nodes under load, each placing requests by its own view."""

from math import exp, log

from meshnode.ids import ContentHash
from meshnode.machine import Random
from meshnode.sim.links import Link
from meshnode.sim.mesh import SimMesh
from meshnode.sim.node import Parts
from meshnode.sim.placing import Load, Placing
from meshnode.sim.serving import ServiceModel

MODULE = ContentHash(b"m" * 32)
LAN = Link(delay_s=0.0005, jitter_s=0.0005)
USED = 0.8
"""Share of what all nodes together can do."""
KNOW_S = 6.0
"""Until loads have gone round."""
MEASURED_S = 5.0
EACH_MS = (20.0, 140.0)
"""What one more row costs at the fastest node and at the slowest."""


def load(nodes: int | None, seed: int) -> list[str]:
    """220 nodes, the slowest seven times slower than the fastest, at 80 % of what they can do."""
    count = nodes or 220
    mesh = SimMesh(seed, link=LAN, parts=Parts(dht=None, announces=False))
    placing = Placing(mesh, Random(f"load {seed}"))
    per_s = 0.0
    for _ in range(count):
        node = mesh.add()
        model = _model(mesh.rng)
        per_s += 1000 * model.batch_max / model.batch_ms(model.batch_max)
        node.start()
        node.hold(MODULE, model)
    mesh.acquaint()
    mesh.run(KNOW_S)
    until = mesh.world.now + MEASURED_S
    placing.begin(Load(MODULE, USED * per_s, until), mesh.nodes)
    mesh.run(MEASURED_S + 2.0)
    facts = placing.facts()
    answered, asked = facts.get("requests_answered", 0.0), sum(placing.outcomes.values())
    served = sorted(placing.served_by.values())
    return [
        f"{count} unequal nodes at {100 * USED:.0f} %: {answered:.0f} of {asked} requests answered"
        f" ({asked / MEASURED_S:.0f}/s), p50 {facts.get('p50_ms', 0.0):.0f} ms,"
        f" p99 {facts.get('p99_ms', 0.0):.0f} ms",
        f"  {len(served)} nodes served, the busiest {served[-1] if served else 0}",
    ]


def _model(rng: Random) -> ServiceModel:
    """Return a machine whose speed is drawn evenly on a logarithmic scale."""
    fastest, slowest = map(log, EACH_MS)
    each_ms = round(exp(rng.uniform(fastest, slowest)), 1)
    return ServiceModel(fixed_ms=each_ms / 4, each_ms=each_ms, noise=0.15)
