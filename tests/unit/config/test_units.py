"""Sizes and durations as people write them."""

import pytest

from meshnode.config.units import duration_text, parse_duration, parse_size, size_text


@pytest.mark.parametrize(
    ("text", "count"),
    [("512MiB", 512 << 20), ("64KB", 64_000), ("1.5 GiB", 3 << 29), ("7", 7), (7, 7), ("0B", 0)],
)
def test_a_size_is_read_in_bytes(text: str | int, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "MiB", "-1KB", "12 parsecs", "1e9", "0x10", "9" * 40])
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("8h", 28800.0), ("2 s", 2.0), ("5min", 300.0), ("1d", 86400.0)],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["100", "ms", "1 week", "99999d", "-1s"])
def test_a_duration_needs_a_unit_and_sense(text: str) -> None:
    with pytest.raises(ValueError, match="'"):
        parse_duration(text)


def test_sizes_and_durations_are_shown_short() -> None:
    assert [size_text(n) for n in (12, 1536, 512 << 20, 5 << 40)] == [
        "12 B",
        "1.5 KiB",
        "512 MiB",
        "5120 GiB",
    ]
    assert [duration_text(s) for s in (0.25, 1.5, 60, 3600, 90, 86400)] == [
        "250 ms",
        "1.5 s",
        "1 min",
        "1 h",
        "90 s",
        "1 d",
    ]
