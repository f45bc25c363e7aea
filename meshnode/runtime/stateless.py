"""Guests that are known to keep nothing of a request: they need no fresh instance for a new source.

Known by what they do, not by what they say: the code (every section but the custom ones) must be
that of a guest shipped here, byte for byte. A module packed around another build of it is treated
as a stranger's, which costs it instances and nothing else.
"""

from functools import cache
from hashlib import sha256

from meshnode.assets import asset
from meshnode.runtime.preflight import Guest, read_guest

STATELESS = {
    "onnx-runner": "passes the host's records on to one model; writes nothing after `init`",
    "linear": "its weights are constants; it has no variable outside of `predict`",
    "echo": "copies its input; it has no variable outside of `predict`",
}
"""Shipped guests by file name, and why they are on this list."""


def keeps_nothing(guest: Guest) -> bool:
    """Return whether the guest is one of `STATELESS`."""
    return sha256(guest.wasm).digest() in _known()


@cache
def _known() -> frozenset[bytes]:
    return frozenset(
        sha256(read_guest(asset(f"{name}.wasm").read_bytes()).wasm).digest() for name in STATELESS
    )
