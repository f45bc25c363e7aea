"""Labels: words by which an operator tells nodes apart, and what else a node says of itself.

`site` and `tier` have a meaning to placement: data that may not leave its site stays among nodes
of one `site`, and a request may ask for a `tier`. Every other key is the operator's own.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Pairs of key and value, ordered by key, no key twice."""

SITE, TIER = "site", "tier"
LABELS_MAX = 8
KEY_CHARS_MAX = 32
VALUE_CHARS_MAX = 64
LABELS_BYTES_MAX = 192
"""All keys and values of one node together: they travel in its word, of which a datagram should
hold several."""
MEMORY_MIB_MAX = 2**32 - 1
MEMORY_PAGE_BYTES = 64 * 1024
"""The Wasm specification's page."""
_KEY = re.compile(r"[a-z0-9][a-z0-9._-]*")
_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")


@dataclass(frozen=True, slots=True)
class Traits:
    """What a node says of itself beside its capabilities."""

    labels: Labels = ()
    memory_mib: int = 0
    """What modules may take there, all together; 0: it does not say."""
    memory_pages: int = 0
    """Pages of 64 KiB that one instance's linear memory may have; 0: it does not say."""


NO_TRAITS = Traits()


def labels_of(pairs: Mapping[str, str] | Iterable[tuple[str, str]]) -> Labels:
    """Return labels in order, or raise ValueError saying which is wrong."""
    items = list(pairs.items() if isinstance(pairs, Mapping) else pairs)
    if len(items) > LABELS_MAX:
        raise ValueError(f"there are {len(items)} labels, at most {LABELS_MAX} are allowed")
    for key, value in items:
        if not _KEY.fullmatch(key) or len(key) > KEY_CHARS_MAX:
            raise ValueError(
                f"'{key[:KEY_CHARS_MAX]}' is no label's name: 1 to {KEY_CHARS_MAX} of a-z 0-9 . _ -"
            )
        if not _VALUE.fullmatch(value) or len(value) > VALUE_CHARS_MAX:
            raise ValueError(
                f"label {key}: the value is not 1 to {VALUE_CHARS_MAX} of A-Z a-z 0-9 . _ - /"
            )
    found = dict(items)
    if len(found) != len(items):
        raise ValueError("a label is given twice")
    size = sum(len(key) + len(value) for key, value in items)
    if size > LABELS_BYTES_MAX:
        raise ValueError(f"the labels have {size} bytes, at most {LABELS_BYTES_MAX} are allowed")
    return tuple(sorted(found.items()))


def labels_from_texts(texts: Iterable[str]) -> Labels:
    """Return the labels in `key=value` texts, or raise ValueError."""
    pairs = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"'{text}' is not key=value")
        pairs.append((key.strip(), value.strip()))
    return labels_of(pairs)


def labels_text(labels: Labels) -> str:
    """Return `site=hall-3, tier=edge`, for people."""
    return ", ".join(f"{key}={value}" for key, value in labels)


def value_of(labels: Labels, key: str) -> str:
    """Return a label's value, or an empty string."""
    for each, value in labels:
        if each == key:
            return value
    return ""
