"""Scenario: a user's own fleet from TOML.

sla_ms = 100
fps = 15
sites = 20
[lan]
rtt_ms = 1
transfer_ms = 0.5
[[nodes]]
name = "gateway"
count = 10            # at each site
fixed_ms = 0          # A and b of a batch's time A + b * n
each_ms = 62
batch = 1
cameras = 10          # dispatched by each
"""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from math import isfinite

from meshnode.sim.fleet.shape import KINDS_MAX, NODES_MAX, Group, Kind, Reach, Shape

SITES_MAX = 1000
TOP = {
    "sla_ms", "fps", "sites", "view", "uneven", "spread", "noise", "modules", "learned_batches",
    "lan", "wan", "nodes",
}  # fmt: skip
NODE = {
    "name", "count", "fixed_ms", "each_ms", "batch", "cameras", "warm", "cold_ms", "sites",
}  # fmt: skip


class BadScenario(ValueError):
    """A scenario file that says something impossible; the message names the key."""


def parse(text: str) -> Shape:
    """Return the fleet, or raise BadScenario naming the key that is wrong."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadScenario(f"not TOML: {error}") from None
    _known(table, TOP, "")
    sites = _whole(table, "sites", 1, 1, SITES_MAX)
    rows = table.get("nodes")
    if not isinstance(rows, list) or not 0 < len(rows) <= KINDS_MAX:
        raise BadScenario(f"nodes: 1 to {KINDS_MAX} tables [[nodes]] are needed")
    groups = tuple(_group(row, sites) for row in rows)
    shape = Shape(
        groups=groups,
        lan=_reach(table, "lan", Reach(rtt_ms=1.0, transfer_ms=0.5)),
        wan=_reach(table, "wan", Reach(rtt_ms=20.0, transfer_ms=4.8)),
        fps=_number(table, "fps", 15.0, 1e-6, 1e4),
        sla_ms=_number(table, "sla_ms", 100.0, 1.0, 1e6),
        view_max=_whole(table, "view", 32, 1, 256),
        uneven=_number(table, "uneven", 0.5, 0.0, 1.0),
        spread=_number(table, "spread", 0.1, 0.0, 1.0),
        noise=_number(table, "noise", 0.25, 0.0, 1.0),
        modules=_whole(table, "modules", 1, 1, 64),
        learned_batches=bool(table.get("learned_batches", False)),
    )
    if not 1 < shape.nodes <= NODES_MAX:
        raise BadScenario(f"nodes: 2 to {NODES_MAX} in all, not {shape.nodes}")
    if not shape.cameras:
        raise BadScenario("nodes: some kind needs cameras, or nothing is asked")
    return shape


def _group(row: object, sites: int) -> Group:
    if not isinstance(row, Mapping):
        raise BadScenario("nodes: each is a table")
    _known(row, NODE, "nodes.")
    name = row.get("name", "node")
    if not isinstance(name, str) or not 0 < len(name) <= 64:
        raise BadScenario("nodes.name: 1 to 64 characters")
    batch = _whole(row, "batch", 1, 1, 256)
    kind = Kind(
        name=name,
        fixed_ms=_number(row, "fixed_ms", 0.0, 0.0, 1e6),
        each_ms=_number(row, "each_ms", None, 0.01, 1e6),
        batch_max=batch,
        cameras=_whole(row, "cameras", 0, 0, 10_000),
        warm_max=_whole(row, "warm", 8, 1, 64),
        cold_ms=_number(row, "cold_ms", 400.0, 0.0, 1e6),
    )
    own = row.get("sites", list(range(sites)))
    if not isinstance(own, list) or not own or not all(_is_site(s, sites) for s in own):
        raise BadScenario(f"nodes.sites: a list of numbers from 0 to {sites - 1}")
    return Group(kind=kind, count=_whole(row, "count", 1, 1, NODES_MAX), sites=tuple(own))


def _is_site(value: object, sites: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < sites


def _reach(table: Mapping[str, object], key: str, default: Reach) -> Reach:
    row = table.get(key, {})
    if not isinstance(row, Mapping):
        raise BadScenario(f"{key}: a table with rtt_ms and transfer_ms")
    _known(row, {"rtt_ms", "transfer_ms"}, f"{key}.")
    return Reach(
        rtt_ms=_number(row, "rtt_ms", default.rtt_ms, 0.0, 1e5),
        transfer_ms=_number(row, "transfer_ms", default.transfer_ms, 0.0, 1e5),
    )


def _known(table: Mapping[str, object], keys: set[str], where: str) -> None:
    for key in table:
        if key not in keys:
            near = get_close_matches(key, keys, 1)
            asked = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(keys))}"
            raise BadScenario(f"{where}{key}: not a key; {asked}")


def _number(
    table: Mapping[str, object], key: str, default: float | None, low: float, high: float
) -> float:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise BadScenario(f"{key}: a number is needed")
    if not low <= value <= high:
        raise BadScenario(f"{key}: from {low:g} to {high:g}, not {value:g}")
    return float(value)


def _whole(table: Mapping[str, object], key: str, default: int, low: int, high: int) -> int:
    value = _number(table, key, default, low, high)
    if value != int(value):
        raise BadScenario(f"{key}: a whole number is needed")
    return int(value)
