"""Guests that come with meshnode, known by their code: every section but the custom ones, hashed.

A module cannot claim to be one of them; it is one if its code is the same byte for byte. A module
packed around another build is treated as a stranger's, which costs it time and nothing else.
"""

from functools import cache
from hashlib import sha256

from meshnode.assets import asset
from meshnode.runtime.preflight import Guest, read_guest

GUESTS = ("anomaly", "detect", "dual", "echo", "linear", "nn-classify", "onnx-runner")
"""By file name. Those for benchmarks and the hostile ones are treated as strangers."""


def shipped_as(guest: Guest) -> str:
    """Return the name of the shipped guest whose code this is, or an empty string."""
    names = _names().get(len(guest.wasm))  # a large guest is not hashed to learn that it is none
    return names.get(sha256(guest.wasm).digest(), "") if names else ""


@cache
def _names() -> dict[int, dict[bytes, str]]:
    """Return the shipped guests by the size of their code, and by its hash."""
    found: dict[int, dict[bytes, str]] = {}
    for name in GUESTS:
        code = read_guest(asset(f"{name}.wasm").read_bytes()).wasm
        found.setdefault(len(code), {})[sha256(code).digest()] = name
    return found
