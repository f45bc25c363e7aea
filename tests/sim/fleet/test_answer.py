"""The case study's arithmetic, and the picture."""

from xml.etree import ElementTree as ET

import pytest

from meshnode.bench.fleet import policies_of, read_case, shape_of
from meshnode.sim.fleet.answer import Case, lines
from meshnode.sim.fleet.compare import held_line, held_load
from meshnode.sim.fleet.homes import moves
from meshnode.sim.fleet.picture import draw
from meshnode.sim.fleet.scenario import BadScenario
from meshnode.sim.fleet.shape import article, capacity, spots
from tests.sim.fleet.fleets import SMALL


def test_the_articles_rows_carry_a_tenth_to_a_quarter() -> None:
    text = "\n".join(lines(Case()))
    assert "30,000" in text
    assert "2,800 to 4,200" in text
    assert "5,857 to 7,895" in text
    assert "9% to 26%" in text


def test_its_fleet_has_the_capacity_that_the_rows_give() -> None:
    shape = article()
    assert (shape.nodes, shape.cameras, shape.sites) == (220, 2000, 20)
    assert capacity(spots(shape, 1)) == pytest.approx(6876, rel=0.03)


def test_cases_are_read_and_refused_by_name() -> None:
    case = read_case("cameras=100,fps=2,gateways=10,regional=1")
    assert (case.cameras, case.fps, shape_of(case).nodes) == (100, 2.0, 11)
    assert read_case(" cameras = 7 , fps=0.5 ") == Case(cameras=7, fps=0.5)
    for bad, word in (
        ("cams=3", "cams"),
        ("gateway=3", "did you mean gateways"),
        ("cameras=x", "whole number"),
        ("cameras=2.5", "whole number"),
        ("fps=-1", "above 0"),
        ("cameras", "whole number"),
        ("fps=1,fps=2", "twice"),
        ("=3", "no key"),
    ):
        with pytest.raises(BadScenario, match=f"--sim .*{word}"):
            read_case(bad)
    with pytest.raises(BadScenario, match="nodes"):
        shape_of(read_case("gateways=1000000"))
    with pytest.raises(BadScenario, match="nothing"):
        policies_of(["nothing"])
    assert policies_of(["c3"]) == ("oracle", "c3")


@pytest.mark.parametrize(("cameras", "gateways"), [(10, 200), (2001, 200), (100, 7), (7, 7)])
def test_no_camera_is_lost_or_invented(cameras: int, gateways: int) -> None:
    shape = article(cameras=cameras, gateways=gateways, regional=3)
    assert (shape.cameras, shape.nodes) == (cameras, gateways + 3)
    assert {group.kind.cameras for group in shape.groups} - {0} <= {
        cameras // gateways,
        cameras // gateways + 1,
    }


def test_the_load_that_is_held_lies_where_five_percent_are_late() -> None:
    assert held_load([(0.5, 0.01), (0.6, 0.03), (0.7, 0.07)]) == pytest.approx(0.65)
    assert held_load([(0.5, 0.06), (0.6, 0.09)]) is None
    assert held_load([(0.5, 0.0), (0.6, 0.05)]) == 0.6
    assert held_load([]) is None
    assert "65% of capacity, 650 frames" in held_line("mesh", 0.65, (0.5, 0.8), 1000.0)
    assert "less than 50%" in held_line("mesh", None, (0.5, 0.8), 1000.0)
    assert "or more" in held_line("mesh", 0.8, (0.5, 0.8), 1000.0)


def test_when_a_node_goes_only_who_lived_there_moves() -> None:
    found = moves(SMALL, seed=1)
    assert found.own_share == found.moved_share
    assert 0 < found.moved_share < 0.3


def test_the_picture_is_well_formed_and_has_every_curve() -> None:
    curves = {"mesh": [(0.5, 100.0), (0.9, 150.0)], "a <b>": [(0.5, 90.0), (0.9, 12000.0)]}
    root = ET.fromstring(draw(curves, title="p99 & load", sla_ms=100.0))
    assert len(root.findall("{http://www.w3.org/2000/svg}polyline")) == 2
    texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"mesh", "a <b>", "p99 & load"} <= set(texts)
    with pytest.raises(ValueError, match="point"):
        draw({}, title="", sla_ms=1.0)
