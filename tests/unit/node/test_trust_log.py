"""The trust log: what was changed in it shows."""

from pathlib import Path
from typing import Any

import pytest

from meshnode.node import trust_log
from meshnode.node.trust_log import TrustLog
from meshnode.storage.state import read_state, write_state


def log(path: Path) -> TrustLog:
    return TrustLog(path / "trust.log", lambda: 1_800_000_000.5)


def filled(path: Path) -> TrustLog:
    made = log(path)
    for name in ("a", "b", "c"):
        made.note("admitted", name=name, id="ID")
    return made


def test_it_is_kept_and_goes_on(tmp_path: Path) -> None:
    head = filled(tmp_path).head
    again = log(tmp_path)
    assert again.head == head
    again.note("revoked", name="b", reason="stolen")
    facts = log(tmp_path).facts()
    assert [e["what"] for e in facts["entries"]] == ["admitted"] * 3 + ["revoked"]
    assert facts["entries"][3] == {
        "at": 1_800_000_000,
        "what": "revoked",
        "name": "b",
        "reason": "stolen",
    }
    assert facts["broken_at"] is None


@pytest.mark.parametrize("change", ["fact", "order", "removed", "time"])
def test_a_change_breaks_the_chain(tmp_path: Path, change: str) -> None:
    filled(tmp_path)
    saved: dict[str, Any] = read_state(tmp_path / "trust.log")
    entries = saved["entries"]
    match change:
        case "fact":
            entries[1][2]["name"] = "x"
        case "order":
            entries[1], entries[2] = entries[2], entries[1]
        case "removed":
            del entries[1]
        case "time":
            entries[1][0] += 1
    write_state(tmp_path / "trust.log", saved)
    changed = log(tmp_path)
    assert changed.broken_at() == 2
    changed.note("trusted", name="d")
    assert changed.broken_at() == 2, "nothing that follows repairs it"


def test_an_end_that_is_cut_off_changes_the_head(tmp_path: Path) -> None:
    head = filled(tmp_path).head
    saved: dict[str, Any] = read_state(tmp_path / "trust.log")
    del saved["entries"][-1]
    write_state(tmp_path / "trust.log", saved)
    cut = log(tmp_path)
    assert cut.broken_at() is None
    assert cut.head != head


def test_it_is_bounded_and_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_log, "ENTRIES_MAX", 2)
    made = filled(tmp_path)
    assert [e["name"] for e in made.facts()["entries"]] == ["b", "c"]
    assert made.broken_at() is None
    assert log(tmp_path).head == made.head


@pytest.mark.parametrize("saved", [{"format": 1}, {"format": 1, "base": b"", "entries": [[1]]}, 7])
def test_a_damaged_file_starts_anew(tmp_path: Path, saved: object) -> None:
    write_state(tmp_path / "trust.log", saved)
    assert log(tmp_path).facts()["entries"] == []
