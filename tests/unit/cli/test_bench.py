"""`meshnode bench`, with so little effort that only its form can be judged."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from meshnode.bench import runtime
from meshnode.bench.guests import ABIS
from meshnode.cli.main import main

ONCE = replace(runtime.QUICK, rounds=1, budget_s=0, rate_s=0.02, warm_up=1, batches=(1, 2))
"""Everything once: the figures mean nothing, the rows are all there."""
MODELS = ("tiny", "mlp", "conv")
STAGES = (
    "verify and hash",
    "verify and hash, a MB",
    "preflight",
    "compile",
    "compile as a node does",
    "open models",
    "open compiled",
    "link",
    "start",
    "init",
    "AOT file to ready instance",
    "self-test",
    "first request",
)
WANTED = {
    *(
        f"{m}: {side}{c.name}"
        for m in MODELS
        for c in ABIS
        for side in ("", "session.run beside ")
        if c.offered
    ),
    "cold: SHA-256",
    *(f"cold mlp: {stage}" for stage in STAGES),
    *(
        f"batch {m}: {side} of {n}"
        for m in MODELS[1:]
        for side in ("module", "session.run")
        for n in (1, 2)
    ),
    *(f"lane {m}: loop of session.run" for m in MODELS),
    *(f"lane {m}: worker, batches of {n}" for m in MODELS for n in (1, 8)),
}


def test_json_has_the_machine_and_every_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "QUICK", ONCE)
    assert main(["bench", "runtime", "--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["v"], found["bench"], found["quick"]) == (1, "runtime", True)
    assert found["machine"]["onnxruntime"]
    rows = {row["what"]: row for row in found["rows"]}
    assert len(rows) == len(found["rows"])
    assert set(rows) >= WANTED
    for row in rows.values():
        numbers = [row[key] for key in ("min", "p50", "p99", "max")]
        if row["baseline"]:
            numbers += [row["difference_p50"], row["difference_p99"]]
            # A rate is 0 where the machine gave this process no time in most of a few ms.
            numbers += [row["ratio"]] if rows[row["baseline"]]["p50"] else []
        assert all(math.isfinite(number) for number in numbers)


def test_what_is_not_measured_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "disk"]) == 2
    assert "runtime" in capsys.readouterr().err


TINY = ["bench", "--sim", "cameras=20,gateways=4,regional=1,fps=2", "--seconds", "0.5"]


def test_a_fleet_is_simulated_and_said_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--policy", "mesh", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["nodes"], said["cameras"], said["cameras_offer_per_s"]) == (5, 20, 40.0)
    assert [p["policy"] for p in said["policies"]] == ["oracle", "mesh"]
    assert all(p["lost"] == 0 < p["requests"] for p in said["policies"])


def test_a_fleet_is_said_in_lines_and_drawn(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "p99.svg"
    assert main([*TINY, "--policy", "hash", "--svg", str(picture)]) == 0
    text = capsys.readouterr().out
    assert "20 cameras x 2 fps = 40 frames/s" in text
    assert "xoracle" in text
    assert "oracle holds, with at most 5% late: " in text
    assert "source-hash, when a node goes: " in text
    assert picture.read_text().startswith("<svg")


def test_a_fleet_of_ones_own_is_read_from_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text("[[nodes]]\ncount = 3\neach_ms = 20\ncameras = 2\n")
    words = ["bench", "--scenario", str(path), "--seconds", "0.5", "--policy", "mesh"]
    assert main(words) == 0
    assert "3 nodes, 6 cameras" in capsys.readouterr().out
    path.write_text("[[nodes]]\ncount = 3\n")
    assert main(words) == 2
    assert "each_ms" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["bench"],
        ["bench", "runtime", "--sim", "fps=1"],
        ["bench", "--sim", "fps=1", "--scenario", "x"],
        ["bench", "--sim", "cars=1"],
        ["bench", "--sim", "fps=1", "--load", "9"],
        ["bench", "--sim", "fps=1", "--policy", "luck"],
        ["bench", "--scenario", "/nowhere/fleet.toml"],
        ["bench", "--sim", "fps=1", "--svg", "/nowhere/p99.svg"],
        ["bench", "--sim", "fps=1", "--quick"],
        ["bench", "--policy", "mesh"],
        ["bench", "runtime", "--load", "0.5"],
    ],
)
def test_a_fleet_that_cannot_be_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err
