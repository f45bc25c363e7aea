"""Who may be given an input at all, by labels, data policy and memory, and how a refusal is told.

A reason begins with what it is; particulars follow in brackets, after a colon or as numbers. So
reasons of one kind can be counted where there are too many nodes to name each.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from meshnode.constraints import Constraints, Scope
from meshnode.labels import MEMORY_PAGE_BYTES, SITE, Labels, Traits, value_of
from meshnode.wire.limits import KIB, MIB

NAMED_MAX = 16
"""Nodes that an error names one by one."""
KINDS_MAX = 8
_PARTICULARS = re.compile(r" \(|: | ?\d")


def unmet(wanted: Constraints, *, theirs: Labels, origin: Labels, at_origin: bool) -> str:
    """Return why a node may not be given an input, or an empty string.

    `theirs` are its labels, `origin` those of the node at whose door the input came in.
    """
    too_far = "" if at_origin else _too_far(wanted.data, theirs, origin)
    if too_far:
        return too_far
    for key, value in wanted.labels:
        has = value_of(theirs, key)
        if not has:
            return f"no label {key} (needs {key}={value})"
        if has != value:
            return f"other {key} ({has}, needs {value})"
    return ""


def _too_far(data: Scope, theirs: Labels, origin: Labels) -> str:
    if data is Scope.MESH:
        return ""
    if data is Scope.NODE:
        return "data may not leave its node"
    site, there = value_of(origin, SITE), value_of(theirs, SITE)
    if not site:
        return "data may not leave its site (the node where it is has no label site)"
    return "" if there == site else f"other site ({there or 'none'}, data may not leave {site})"


def too_large(need_bytes: int, linear_bytes: int, traits: Traits) -> str:
    """Return why a module cannot fit a node whatever else it unloads, or an empty string.

    `need_bytes` is what it may take with its models, `linear_bytes` its linear memory alone.
    """
    have_mib, have_bytes = traits.memory_mib, traits.memory_pages * MEMORY_PAGE_BYTES
    if have_mib and need_bytes > have_mib * MIB:
        return f"memory budget (needs {-(-need_bytes // MIB)} MiB, has {have_mib})"
    if have_bytes and linear_bytes > have_bytes:
        return f"memory policy (needs {_size(linear_bytes)}, gives an instance {_size(have_bytes)})"
    return ""


def _size(count: int) -> str:
    return f"{count // MIB} MiB" if count % MIB == 0 else f"{-(-count // KIB)} KiB"


def in_time(predicted_ms: float, left_ms: float) -> str:
    """Return what is said of a node that could run a request whose time was short."""
    if predicted_ms <= left_ms:
        return f"in time (predicted {predicted_ms:.0f} ms of {left_ms:.0f} ms)"
    return f"too late (predicted {predicted_ms:.0f} ms, has {left_ms:.0f} ms)"


def reach_labels(wanted: Constraints, origin: Labels) -> Labels | None:
    """Return the labels that every other node must have; None: no other node can do at all."""
    if wanted.data is Scope.MESH:
        return wanted.labels
    site = value_of(origin, SITE)
    if wanted.data is Scope.NODE or not site:
        return None
    return tuple(sorted({*wanted.labels, (SITE, site)}))


def kind_of(reason: str) -> str:
    """Return what a reason is, without its particulars."""
    return _PARTICULARS.split(reason, maxsplit=1)[0].strip() or reason


def told(reasons: Sequence[tuple[str, str]], *, named_max: int = NAMED_MAX) -> list[str]:
    """Return a line for each (name, reason), ordered; beyond `named_max`, one line counts them.

    For example `and 212 more: 180 lacks cap cuda, 32 other site`.
    """
    listed = sorted(reasons)
    lines = [f"{name}: {reason}" for name, reason in listed[:named_max]]
    rest = listed[named_max:]
    return [*lines, f"and {len(rest)} more: {counted(r for _, r in rest)}"] if rest else lines


def counted(reasons: Iterable[str]) -> str:
    """Return how many there are of each kind, the most frequent first."""
    kinds = Counter(map(kind_of, reasons))
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    texts = [f"{count} {kind}" for kind, count in ordered[:KINDS_MAX]]
    others = sum(count for _, count in ordered[KINDS_MAX:])
    return ", ".join([*texts, *([f"{others} for other reasons"] if others else [])])
