"""Guests that are known to keep nothing of a request: they need no fresh instance for a new source.

Known by what they do, not by what they say: only guests that come with meshnode (`shipped`).
"""

from meshnode.runtime.preflight import Guest
from meshnode.runtime.shipped import shipped_as

STATELESS = {
    "onnx-runner": "passes the host's records on to one model; writes nothing after `init`",
    "linear": "its weights are constants; it has no variable outside of `predict`",
    "echo": "copies its input; it has no variable outside of `predict`",
}
"""Shipped guests by file name, and why they are on this list."""


def keeps_nothing(guest: Guest) -> bool:
    """Return whether the guest is one of `STATELESS`."""
    return shipped_as(guest) in STATELESS
