"""A user's own fleet: what is read, and what is refused by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.sim.fleet.scenario import BadScenario, parse

TEXT = """
sla_ms = 80
fps = 5
sites = 3
view = 12
[wan]
rtt_ms = 40
[[nodes]]
name = "small"
count = 4
each_ms = 50
cameras = 2
[[nodes]]
name = "large"
fixed_ms = 10
each_ms = 2
batch = 16
sites = [0, 2]
"""


def test_a_fleet_is_read() -> None:
    shape = parse(TEXT)
    assert (shape.nodes, shape.cameras, shape.sites) == (14, 24, 3)
    assert (shape.wan.rtt_ms, shape.lan.rtt_ms, shape.sla_ms) == (40.0, 1.0, 80.0)
    assert shape.offered_per_s == 120.0
    assert shape.groups[1].kind.per_s == pytest.approx(1000 * 16 / 42)


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("fps = 5", "fsp = 5", "fsp"),
        ("fps = 5", "fps = true", "fps"),
        ("fps = 5", "fps = inf", "fps"),
        ("sites = 3", "sites = 0", "sites"),
        ("sites = [0, 2]", "sites = [3]", "nodes.sites"),
        ("each_ms = 50", "", "each_ms"),
        ("count = 4", "count = 1.5", "count"),
        ("cameras = 2", "", "cameras"),
        ('name = "small"', "name = 5", "nodes.name"),
        ("[wan]", "[wan", "TOML"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, word: str) -> None:
    with pytest.raises(BadScenario, match=word):
        parse(TEXT.replace(old, new))


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except BadScenario:
        return
    raise AssertionError("a scenario needs [[nodes]] with each_ms, which no short text has")
