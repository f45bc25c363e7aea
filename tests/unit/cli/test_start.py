"""What `meshnode start` makes of its flags."""

from pathlib import Path

import pytest

from meshnode.cli.main import build_parser, main
from meshnode.cli.start import overrides
from meshnode.errors import UsageError


def parsed(*words: str) -> dict[str, object]:
    return overrides(build_parser("start").parse_args(["start", *words]))


def test_flags_become_keys_and_beat_set() -> None:
    assert parsed() == {}
    assert parsed(
        "--set", "batch.max=4", "--set", "node.name=a", "--name", "b", "--api", "off"
    ) == {
        "batch.max": "4",
        "node.name": "b",
        "api.listen": "off",
    }
    with pytest.raises(UsageError, match=r"SECTION\.KEY"):
        parsed("--set", "batch")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--set", "batch.mx=4"], 78, "did you mean batch.max?"),
        (["--api", "0.0.0.0:6180"], 78, "needs a token"),
        (["--listen", "nowhere"], 78, "mesh.listen must be an address"),
        (["--log-format", "xml"], 2, "meshnode start --help"),
    ],
)
def test_a_mistake_ends_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int, said: str
) -> None:
    assert main(["start", "--home", str(tmp_path / "n"), *words]) == status
    assert said in capsys.readouterr().err
    assert not (tmp_path / "n").exists()


def test_a_member_does_not_found_another_mesh(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mesh.cbor").write_bytes(b"")
    assert main(["start", "--home", str(tmp_path), "--new-mesh", "x"]) == 2
    assert "belongs to a mesh already" in capsys.readouterr().err
