"""What the network's acceptance is measured by, by name. Each takes (nodes or None, seed)."""

from collections.abc import Callable

from meshnode.sim.dht_figures import churn, many_dead, sybils
from meshnode.sim.gossip_figures import event, starved
from meshnode.sim.speed import speed

Figure = Callable[[int | None, int], list[str]]
"""Returns lines for people."""

FIGURES: dict[str, Figure] = {
    "dead": many_dead,
    "churn": churn,
    "sybils": sybils,
    "event": event,
    "starved": starved,
    "speed": speed,
}
