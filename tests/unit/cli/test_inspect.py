"""`meshnode inspect`, on good and bad files."""

import json
from pathlib import Path
from typing import Any

import pytest

from meshnode.cli.main import main
from meshnode.ids import to_text
from meshnode.modules.sections import HEADER, encode_custom
from tests.unit.modules.samples import GUEST, PUBLISHER, packed, signed


class Shown:
    """Runs the verb on bytes."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._file = root / "m.wasm"
        self._capsys = capsys

    def text(self, data: bytes, status: int = 0) -> str:
        self._file.write_bytes(data)
        assert main(["inspect", str(self._file)]) == status
        said = self._capsys.readouterr()
        return said.out or said.err

    def facts(self, data: bytes, status: int = 0) -> dict[str, Any]:
        self._file.write_bytes(data)
        assert main(["inspect", str(self._file), "--json"]) == status
        found: dict[str, Any] = json.loads(self._capsys.readouterr().out)["module"]
        return found


@pytest.fixture
def shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shown:
    return Shown(tmp_path, capsys)


def test_a_signed_module_is_shown_whole(shown: Shown) -> None:
    text = shown.text(signed())
    assert text.startswith("double@1.2.0  ")
    for part in (
        f"good, by publisher {to_text(PUBLISHER.public_key)[:7]}",
        "input      x float32[?,2]",
        "output     y float32[?,2]",
        "needs      cpu nn, abi infer",
        "memory 1 MiB, run 100 ms",
        "1 self-tests, requests may be batched",
        "weights    model, 1 KiB",
        "licence    Apache-2.0",
        "label      site = b",
        "imports    meshnode.log",
        "meshnode.weights.model",
    ):
        assert part in text


def test_the_same_facts_are_in_json(shown: Shown) -> None:
    facts = shown.facts(signed())
    assert facts["manifest"]["models"][0]["embedded"] is True
    assert facts["signature"] == {
        "state": "good",
        "publisher": to_text(PUBLISHER.public_key),
        "reason": "",
    }
    assert facts["imports"] == ["meshnode.log"]
    assert facts["sections"][0]["kind"] == "signature"


def test_an_unsigned_module_is_shown_as_such(shown: Shown) -> None:
    assert shown.facts(packed())["signature"]["state"] == "unsigned"
    assert "signature  none: the module is not signed" in shown.text(packed())


def test_a_tampered_module_is_shown_and_the_status_says_so(shown: Shown) -> None:
    module = bytearray(signed(embed=False))
    module[-1] ^= 1
    assert "signature  BROKEN" in shown.text(bytes(module), status=8)
    assert shown.facts(bytes(module), status=8)["signature"]["publisher"] is not None


def test_a_guest_that_is_not_packed_is_shown_as_far_as_it_goes(shown: Shown) -> None:
    facts = shown.facts(GUEST)
    assert facts["manifest"] is None
    assert facts["signature"]["state"] == "not packed"
    assert "has no metadata section" in shown.text(GUEST)


def test_what_is_no_module_is_refused(shown: Shown) -> None:
    assert "not a Wasm module" in shown.text(b"hello world", status=8)
    assert main(["inspect", "/absent.wasm"]) == 2


def test_a_terminal_obeys_nothing_that_a_stranger_wrote(shown: Shown) -> None:
    text = shown.text(HEADER + encode_custom("\x1b[2J\x07evil", b""))
    assert "\x1b" not in text
    assert "?[2J?evil" in text
