import mmap
from pathlib import Path

import pytest

from meshnode.identity import file_tags
from meshnode.identity.file_tags import SALT_BYTES, TAG_BYTES, is_tag, name, tag

SALT = bytes(SALT_BYTES)


@pytest.mark.parametrize("aegis", [True, False])
def test_a_tag_is_of_one_key_salt_context_and_file(
    aegis: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not aegis:
        monkeypatch.setattr(file_tags, "_aegis", None)
    elif file_tags._aegis is None:
        pytest.skip("this PyNaCl has no AEGIS")
    data = bytes(range(256)) * 40
    made = tag(b"secret", SALT, b"which", data)
    assert len(made) == TAG_BYTES
    assert is_tag(made, b"secret", SALT, b"which", data)
    assert not is_tag(made, b"Secret", SALT, b"which", data)
    assert not is_tag(made, b"secret", b"\1" * SALT_BYTES, b"which", data)
    assert not is_tag(made, b"secret", SALT, b"witch", data)
    for changed in (data[:-1], data + b"\0", data[:5000] + b"!" + data[5001:]):
        assert not is_tag(made, b"secret", SALT, b"which", changed)


def test_the_two_kinds_of_tag_are_not_taken_for_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if file_tags._aegis is None:
        pytest.skip("this PyNaCl has no AEGIS")
    made = tag(b"secret", SALT, b"which", b"data")
    monkeypatch.setattr(file_tags, "_aegis", None)
    assert not is_tag(made, b"secret", SALT, b"which", b"data")


@pytest.mark.parametrize("aegis", [True, False])
def test_a_mapped_file_has_the_tag_of_its_bytes(
    aegis: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not aegis:
        monkeypatch.setattr(file_tags, "_aegis", None)
    data = bytes(range(256)) * 40
    (tmp_path / "file").write_bytes(data)
    with (
        open(tmp_path / "file", "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as view,
    ):
        assert is_tag(tag(b"secret", SALT, b"", data), b"secret", SALT, b"", mapped)
        assert is_tag(tag(b"secret", SALT, b"", data[:100]), b"secret", SALT, b"", view[:100])


@pytest.mark.parametrize("aegis", [True, False])
def test_a_name_is_of_one_secret_and_one_file(aegis: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not aegis:
        monkeypatch.setattr(file_tags, "_aegis", None)
    data = bytes(range(256)) * 40
    flipped = (data[:i] + bytes((data[i] ^ 1,)) + data[i + 1 :] for i in range(0, len(data), 97))
    others = [b"", data[:-1], data + b"\0", *flipped]
    names = {name(b"secret", each) for each in others}
    assert len(names) == len(others)
    assert name(b"secret", data) not in names
    assert name(b"Secret", data) != name(b"secret", data) == name(b"secret", memoryview(data))
    assert name(b"secret", data) != tag(b"secret", SALT, b"", data)
