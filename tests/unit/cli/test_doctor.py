"""What the doctor prints, and with which status it ends."""

from pathlib import Path
from typing import Any

import pytest

from meshnode.cli.doctor import lines, summary
from meshnode.cli.main import main
from tests.unit.cli.verbs import Terminal
from tests.unit.client.serving import serving

GOOD: dict[str, Any] = {
    "area": "udp",
    "level": "ok",
    "text": "there and back in 0.4 ms",
    "code": "",
    "because": [],
    "likely": "",
    "try": "",
}
BAD = GOOD | {
    "area": "tcp there",
    "level": "failure",
    "text": "nas can reach us, we cannot reach nas (tcp 10.0.0.2:6174)",
    "code": "MN-119",
    "because": ["no answer within 3 s", "meanwhile: called back"],
    "likely": "a firewall on nas",
    "try": "on nas: ufw allow 6174",
}


def test_a_finding_has_its_code_what_was_seen_a_guess_and_what_to_try() -> None:
    shown = list(lines(BAD))
    assert shown[0].startswith("tcp there ✗ nas can reach us")
    assert shown[0].endswith("  MN-119")
    assert [line.split()[0] for line in shown[1:]] == ["because", "meanwhile:", "likely", "try"]
    assert list(lines(GOOD)) == ["udp       ✓ there and back in 0.4 ms"]


def test_the_summary_counts() -> None:
    assert summary({"failures": 1, "warnings": 2}) == "1 failure, 2 warnings"
    assert summary({"failures": 0, "warnings": 0}) == "all is well"


@pytest.mark.parametrize(
    ("failures", "warnings", "status"), [(0, 0, 0), (0, 2, 20), (1, 2, 21), (1, 0, 21)]
)
def test_the_status_says_how_bad_it_is(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    failures: int,
    warnings: int,
    status: int,
) -> None:
    terminal = Terminal(tmp_path, capsys)
    terminal.node.diagnosis = {
        "findings": [GOOD, BAD],
        "failures": failures,
        "warnings": warnings,
    }
    with serving(tmp_path, terminal.node):
        assert main(["--home", str(tmp_path), "doctor", "--peer", "nas"]) == status
        assert terminal.node.asked == [{"doctor": "nas"}]
        assert "MN-119" in capsys.readouterr().out
        assert main(["--home", str(tmp_path), "doctor", "--quiet"]) == status
        assert "there and back" not in capsys.readouterr().out


def test_without_a_node_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--home", str(tmp_path), "doctor"]) == 3
    assert "no node is running here" in capsys.readouterr().err
