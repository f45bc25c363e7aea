"""`meshnode bench`, with so little effort that only its form can be judged."""

import json
import math
from dataclasses import replace

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
