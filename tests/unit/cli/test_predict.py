"""`meshnode predict` against a node behind a real control socket."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from meshnode.cli.main import main
from meshnode.cli.predict import file_names, tensor_line
from meshnode.constraints import Constraints, Scope
from meshnode.errors import NoCandidate
from meshnode.wire import arrays
from tests.unit.client.serving import serving
from tests.unit.gateway.fake_node import FakeNode

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def home(tmp_path: Path, node: FakeNode) -> Iterator[str]:
    np.save(tmp_path / "x.npy", np.array([[1, 2, 3]], np.float32))
    with serving(tmp_path, node):
        yield str(tmp_path)


def predict(home: str, *more: str) -> int:
    return main(["--home", home, "predict", "double", "--input", f"{home}/x.npy", *more])


def test_the_answer_and_where_it_came_from_are_printed(home: str, capsys: Captured) -> None:
    assert predict(home) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "y float32[1,3]  2 4 6"
    assert lines[1] == "  nas · 4.00 ms  (route 0.5, net 1.4, queue 0.1, run 2.0)"
    assert predict(home, "--quiet") == 0
    assert capsys.readouterr().out == "y float32[1,3]  2 4 6\n"


def test_json_has_everything(home: str, node: FakeNode, capsys: Captured) -> None:
    assert predict(home, "--json", "--source", "cam", "--deadline", "100ms", "--explain") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["v"] == 1
    assert answer["outputs"]["y"]["data"] == [[2.0, 4.0, 6.0]]
    assert answer["explain"]["candidates"][0]["chosen"]
    assert node.asked == [{"source": "cam", "deadline_ms": 100, "explain": True}]


def test_explain_lists_the_chosen_the_others_and_the_excluded(
    home: str, node: FakeNode, capsys: Captured
) -> None:
    assert predict(home, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert node.asked == []
    assert "← chosen" in shown.splitlines()[2]
    assert "mac  no: draining" in shown


def test_outputs_are_written_to_a_file_or_a_directory(home: str) -> None:
    wanted = np.array([[2, 4, 6]], np.float32)
    assert predict(home, "--out", f"{home}/y.npy") == 0
    np.testing.assert_array_equal(np.load(f"{home}/y.npy"), wanted)
    assert predict(home, "--out", f"{home}/results") == 0
    np.testing.assert_array_equal(np.load(f"{home}/results/y.npy"), wanted)


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        (["--input", "z={home}/x.npy"], 2, "MN-303"),
        (["--deadline", "soon"], 2, "MN-005"),
        (["--deadline", "2h"], 2, "MN-005"),
        (["--dtype", "int8"], 2, "MN-005"),
        (["--dtype", "int8", "--shape", "a,b"], 2, "MN-005"),
    ],
)
def test_mistakes_are_refused_before_anything_is_sent(
    home: str, node: FakeNode, capsys: Captured, more: list[str], status: int, code: str
) -> None:
    assert predict(home, *(m.format(home=home) for m in more)) == status
    assert code in capsys.readouterr().err
    assert node.asked == []


def test_a_wrong_shape_names_the_tensor(home: str, capsys: Captured) -> None:
    np.save(f"{home}/x.npy", np.ones((1, 4), np.float32))
    assert predict(home) == 2
    shown = capsys.readouterr().err
    assert "'x'" in shown
    assert "MN-302" in shown


def test_the_exit_status_is_the_failures(home: str, node: FakeNode, capsys: Captured) -> None:
    assert main(["--home", home, "predict", "duoble", "--input", "-"]) == 4
    node.failure = NoCandidate("nobody", because=["mac: draining"])
    assert predict(home) == 5
    assert "mac: draining" in capsys.readouterr().err


def test_file_names_stay_inside_the_directory() -> None:
    assert file_names(["a/b:0", "../../etc", "a/b:0", ""]) == [
        "a_b_0.npy",
        "_.._etc.npy",
        "a_b_0-2.npy",
        "output.npy",
    ]


def test_only_the_first_values_are_shown() -> None:
    head = arrays.header("y", "int64", (2, 10))
    line = tensor_line(head, np.arange(20).tobytes())
    assert line == "y int64[2,10]  0 1 2 3 4 5 6 7 …"
    assert tensor_line(arrays.header("s", "bool", ()), b"\x01") == "s bool[]  True"


def test_labels_and_the_data_policy_go_with_the_request(
    home: str, node: FakeNode, capsys: Captured
) -> None:
    asked = ("--require", "site=hall-3", "--tier", "edge", "--data", "site")
    wanted = Constraints((("site", "hall-3"), ("tier", "edge")), Scope.SITE)
    assert predict(home, *asked) == 0
    assert node.asked[-1]["constraints"] == wanted
    assert predict(home, "--dry-run", *asked) == 0
    assert node.asked[-1]["constraints"] == wanted
    assert predict(home, "--require", "hall-3") == 2
    assert "'hall-3' is not key=value" in capsys.readouterr().err
