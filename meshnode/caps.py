"""What a device can do: the capability bits that modules require and nodes advertise.

Floor 0. Bits 0 to 4 are the guest ABI's `query_caps` bits and never change meaning; the bits
above them name host interfaces that a module's imports may need.
"""

from collections.abc import Iterable
from enum import IntFlag


class Caps(IntFlag):
    """Accelerators and host interfaces."""

    CPU = 1 << 0
    CUDA = 1 << 1
    OPENCL = 1 << 2
    VPU = 1 << 3
    DSP = 1 << 4
    NN = 1 << 8
    """Named models are run by the host (`meshnode.infer`, wasi-nn)."""
    NN_LOAD = 1 << 9
    """The guest may hand model bytes of its own to the host (wasi-nn `load`)."""
    WASI = 1 << 10
    """WASI preview 1 command guests."""

    def satisfies(self, required: "Caps") -> bool:
        """Return whether every required bit is present."""
        return required & self == required

    def names(self) -> list[str]:
        """Return the lower-case names of the bits set, lowest bit first."""
        return [str(c.name).lower().replace("_", ".") for c in Caps if c & self]


SWITCHED = Caps.NN_LOAD | Caps.WASI
"""What a node offers only if its operator says so, in `policy.caps`."""


def lacking(caps: Caps) -> str:
    """Return the words for capabilities that a node does not offer."""
    hint = " (off unless named in its policy.caps)" if caps & SWITCHED else ""
    return f"lacks cap {', '.join(caps.names())}{hint}"


GUEST_MASK = 0b11111
"""The bits that `query_caps` shows to a guest."""


def parse_caps(names: Iterable[str]) -> Caps:
    """Return the capabilities named, or raise ValueError naming an unknown one."""
    known = {n: c for c in Caps for n in Caps(c).names()}
    found = Caps(0)
    for name in names:
        if name not in known:
            raise ValueError(f"unknown capability '{name}' (known: {', '.join(known)})")
        found |= known[name]
    return found
