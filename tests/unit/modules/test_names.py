from dataclasses import dataclass
from itertools import pairwise

import pytest

from meshnode.errors import UsageError
from meshnode.modules.names import (
    Reference,
    hint,
    is_name,
    is_version,
    nearest,
    newest,
    parse_reference,
    version_key,
)

HASH = "9f2c41" + "0" * 58


@dataclass(frozen=True)
class Entry:
    version: str


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("detect", Reference(name="detect")),
        ("detect@1.2.0", Reference(name="detect", version="1.2.0")),
        ("detect@1.3.0-rc.1", Reference(name="detect", version="1.3.0-rc.1")),
        ("detect@sha256:9f2c41", Reference(name="detect", hash_prefix="9f2c41")),
        ("sha256:9f2c41", Reference(hash_prefix="9f2c41")),
        ("lab/detect@1.2.0", Reference(name="detect", version="1.2.0", publisher="lab")),
        ("P7K2M4Q-ABC/d.e-t_1", Reference(name="d.e-t_1", publisher="P7K2M4Q-ABC")),
    ],
)
def test_references_are_read_and_written(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference
    assert str(reference) == text


def test_a_hash_may_be_pasted_with_its_dots_and_in_capitals() -> None:
    assert parse_reference("detect@sha256:9F2C41…").hash_prefix == "9f2c41"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a module's name"),
        ("Detect", "not a module's name"),
        ("-x", "not a module's name"),
        ("a" * 65, "not a module's name"),
        ("a" * 300, "at most 64"),
        ("detect@", "not a version"),
        ("detect@1.2", "not a version"),
        ("detect@01.2.0", "not a version"),
        ("detect@sha256:9f2c", "6 to 64 hex"),
        ("detect@sha256:xyzxyz", "6 to 64 hex"),
        ("detect:stable", "no channels"),
        ("a b/detect", "not a publisher"),
    ],
)
def test_what_is_wrong_with_a_reference_is_said(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_reference(text)


def test_a_whole_hash_is_known_as_such() -> None:
    assert parse_reference(f"sha256:{HASH}").full_hash == bytes.fromhex(HASH)
    assert parse_reference("sha256:9f2c41").full_hash is None


def test_a_reference_matches_by_name_version_and_hash() -> None:
    module = bytes.fromhex(HASH)
    assert parse_reference("detect").matches("detect", "1.0.0", module)
    assert parse_reference("detect@sha256:9f2c41").matches("detect", "1.0.0", module)
    assert parse_reference("sha256:9f2c41").matches("whatever", "1.0.0", module)
    assert not parse_reference("detect@1.0.1").matches("detect", "1.0.0", module)
    assert not parse_reference("detect@sha256:aaaaaa").matches("detect", "1.0.0", module)
    assert not parse_reference("other").matches("detect", "1.0.0", module)


def test_versions_sort_as_semver_says() -> None:
    # Semantic Versioning 2.0.0, section 11.4.
    ordered = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "1.0.0+build.5",
        "1.9.0",
        "1.10.0",
        "2.0.0",
    ]
    assert all(version_key(a) < version_key(b) for a, b in pairwise(ordered))


def test_only_semantic_versions_are_versions() -> None:
    good = ["0.0.0", "1.2.3-0a.b-c", "1.0.0--", "1.2.3+001"]
    bad = ["1", "1.2", "v1.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "1.2.3\n", "1.2.³", "9" * 70]
    assert all(map(is_version, good))
    assert not any(map(is_version, bad))
    assert not is_name("a\n")
    with pytest.raises(ValueError, match="not a version"):
        version_key("one")


def test_the_newest_release_wins_and_what_is_not_a_version_is_passed_over() -> None:
    found = [Entry("1.9.0"), Entry("1.10.0"), Entry("2.0.0-rc.1"), Entry("latest")]
    assert newest(found, Reference(name="d")) == Entry("1.10.0")
    assert newest(found[2:], Reference(name="d")) == Entry("2.0.0-rc.1")
    assert newest([], Reference(name="d")) is None


def test_the_nearest_name_helps() -> None:
    assert nearest("detct", ["detect", "anomaly"]) == "detect"
    assert nearest("DETECT", ["detect"]) == "detect"
    assert nearest("zzz", ["detect"]) is None
    assert hint("imges", ["images"]) == ", did you mean 'images'?"
    assert hint("q", ["images"]) == ""
