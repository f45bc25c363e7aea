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
    return _names().get(sha256(guest.wasm).digest(), "")


@cache
def _names() -> dict[bytes, str]:
    return {
        sha256(read_guest(asset(f"{name}.wasm").read_bytes()).wasm).digest(): name
        for name in GUESTS
    }
