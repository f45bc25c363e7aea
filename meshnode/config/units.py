"""Sizes and durations as people write them: `512MiB`, `64KB`, `500ms`, `8h`."""

import re

_SIZES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_DURATIONS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_AMOUNT = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([a-zA-Z]*)")
DURATION_S_MAX = 10 * 366 * 86400.0
"""Ten years: more is a mistyped unit, and larger floats stop being exact in milliseconds."""


def parse_size(text: str | int) -> int:
    """Return bytes from `512MiB`, `64KB`, `1.5GiB` or a plain count, or raise ValueError."""
    number, unit = _split(str(text))
    if unit not in _SIZES:
        raise ValueError(f"'{text}' is not a size (units: B, KB, MB, GB, KiB, MiB, GiB)")
    return round(number * _SIZES[unit])


def parse_duration(text: str) -> float:
    """Return seconds from `100ms`, `2s`, `5min` or `8h`, or raise ValueError.

    A unit is required, because both 100 s and 100 ms are plausible readings of `100`.
    """
    number, unit = _split(text)
    if unit not in _DURATIONS_S:
        raise ValueError(f"'{text}' is not a duration (units: us, ms, s, min, h, d)")
    seconds = number * _DURATIONS_S[unit]
    if seconds > DURATION_S_MAX:
        raise ValueError(f"'{text}' is longer than ten years")
    return seconds


def size_text(count: int) -> str:
    """Return bytes in the largest binary unit that leaves a short number: `1.5 MiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{count} B" if unit == "B" else f"{value:.4g} {unit}"


def duration_text(seconds: float) -> str:
    """Return seconds in the largest unit that keeps the number whole: `90 min`, `1 h`, `1.5 s`."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds * 1000:.4g} ms" if seconds < 1 else f"{seconds:.6g} s"


def _split(text: str) -> tuple[float, str]:
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a number with a unit")
    return float(match[1]), match[2].lower()
