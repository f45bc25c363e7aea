"""The Python client against a real control socket."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import meshnode
from meshnode.client.client import Client, connect
from meshnode.errors import (
    DeadlineExceeded,
    ModuleNotFound,
    NoNodeRunning,
    UnreadableInput,
    UsageError,
    WrongDtype,
    WrongShape,
    WrongTensors,
)
from tests.unit.client.serving import serving
from tests.unit.gateway.fake_node import FakeNode


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def client(tmp_path: Path, node: FakeNode) -> Iterator[Client]:
    with serving(tmp_path, node), meshnode.connect(tmp_path) as found:
        yield found


def test_a_predict_gives_arrays_and_says_where_they_come_from(client: Client) -> None:
    out = client.predict("double", {"x": np.ones((2, 3), np.float32)}, source="cam-7", deadline=0.5)
    np.testing.assert_array_equal(out["y"], np.full((2, 3), 2, np.float32))
    assert list(out) == ["y"]
    assert (str(out.node), out.timing.run_ms, out.batch) == ("nas", 2.0, 1)
    assert str(out.module) == "double@1.0.0"
    assert out.module.sha256 == "11" * 32
    assert out.attempts[0]["outcome"] == "ok"
    assert "y: float32[2, 3]" in repr(out)


def test_lists_take_the_declared_type_and_one_input_needs_no_name(client: Client) -> None:
    np.testing.assert_array_equal(client.predict("double", [[1, 2, 3]])["y"], [[2, 4, 6]])
    strided = np.ones((3, 2), np.float32).T
    assert client.predict("double", strided)["y"].shape == (2, 3)


def test_a_wrong_input_is_refused_before_it_is_sent(client: Client, node: FakeNode) -> None:
    with pytest.raises(WrongDtype, match="float64"):
        client.predict("double", {"x": np.ones((1, 3))})
    with pytest.raises(WrongShape):
        client.predict("double", {"x": np.ones((1, 4), np.float32)})
    with pytest.raises(WrongTensors):
        client.predict("double", {"z": [[1, 2, 3]]})
    with pytest.raises(UnreadableInput):
        client.predict("double", [["a"]])
    with pytest.raises(ModuleNotFound, match="duoble"):
        client.predict("duoble", [[1, 2, 3]])
    assert node.asked == []


def test_the_nodes_errors_are_raised_as_they_are(client: Client, node: FakeNode) -> None:
    node.failure = DeadlineExceeded("no answer within 5 ms", because=["nas: lost"])
    with pytest.raises(DeadlineExceeded) as raised:
        client.predict("double", [[1, 2, 3]], deadline=0.005)
    assert raised.value.because == ("nas: lost",)


def test_an_explanation_comes_with_the_answer_or_without_a_run(
    client: Client, node: FakeNode
) -> None:
    explained = client.predict("double", [[1, 2, 3]], explain=True).explain
    assert explained is not None
    assert explained["excluded"][0]["name"] == "mac"
    ran = len(node.asked)
    assert client.explain("double", [])["candidates"][0]["name"] == "nas"
    assert len(node.asked) == ran


@pytest.mark.parametrize(
    ("hedge", "ms"), [(0.02, 20), (0.0001, 1), (0.0, 0), (60.0, 60_000), (None, None)]
)
def test_a_hedge_goes_to_the_node_in_whole_ms_and_is_not_rounded_to_none(
    client: Client, node: FakeNode, hedge: float | None, ms: int | None
) -> None:
    client.predict("double", [[1, 2, 3]], priority="interactive", hedge=hedge)
    assert node.asked[-1]["haste"].hedge_ms == ms


@pytest.mark.parametrize("hedge", [-0.001, 60.1, float("nan")])
def test_a_hedge_out_of_bounds_is_refused_before_it_is_sent(
    client: Client, node: FakeNode, hedge: float
) -> None:
    with pytest.raises(UsageError, match="from 0 to 60 seconds"):
        client.predict("double", [[1, 2, 3]], hedge=hedge)
    assert node.asked == []


def test_the_lists_of_the_mesh_are_plain_values(client: Client) -> None:
    assert client.status()["name"] == "fake"
    assert [peer["name"] for peer in client.peers()] == ["nas", "mac"]
    assert client.modules()[0]["held_by"] == ["fake", "nas"]
    assert client.publishers()[0]["name"] == "lab"
    assert client.trust("KEY", "me")["key"] == "KEY"
    assert client.invite(uses=2, ttl=60)["uses"] == 2


def test_a_client_outlives_a_restart_of_its_node(tmp_path: Path) -> None:
    with serving(tmp_path, FakeNode()):
        client = connect(tmp_path)
    with pytest.raises(NoNodeRunning):
        client.status()
    with serving(tmp_path, FakeNode(name="again")):
        assert client.status()["name"] == "again"
        client.close()


def test_without_a_node_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NoNodeRunning) as raised:
        connect(tmp_path)
    assert raised.value.try_ == f"meshnode --home {tmp_path} start"


def test_an_address_is_not_a_home() -> None:
    with pytest.raises(UsageError, match="not to http://pi:6180"):
        connect("http://pi:6180")
