"""The manifest: what a node must know of a module before it runs it, as values with their bounds.

`metadata.py` encodes and checks it; `module_toml.py` makes one from an author's file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from meshnode.caps import Caps
from meshnode.constraints import UNCONSTRAINED, Constraints
from meshnode.ids import ContentHash
from meshnode.wire.arrays import DTYPES
from meshnode.wire.limits import BODY_BYTES_MAX, KIB, MIB

SECTION_NAME = "meshnode"
FORMAT = 1
"""Raised when a field is added or changes its meaning; a node refuses formats it does not know.

A new word for `abi` is neither: a node that does not know it refuses the module by that word."""
MANIFEST_BYTES_MAX = 48 * KIB
"""With a signature section of at most 16 KiB it fits `limits.HEAD_BYTES_MAX`."""

ITEM_BYTES = {name: size for name, (_, _, size) in DTYPES.items()}
"""Bytes of one element, by dtype; the dtypes are numpy's names."""

ABIS = ("infer", "seed", "command")
AFFINITIES = ("finish-time", "source-hash", "round-robin", "bandit")
"""The first is the default. What they mean is `placement/affinity.py`."""
NO_CAPS = Caps(0)
MEMORY_BYTES_MIN = 64 * KIB
"""One Wasm page."""
MEMORY_BYTES_MAX = 4096 * MIB
"""What a 32-bit memory can address."""
RUN_MS_MAX = 600_000
OUTPUT_BYTES_MAX = BODY_BYTES_MAX
"""An answer travels as one body."""
DIMENSION_MAX = 2**31 - 1
MODELS_MAX = 16
SELF_TESTS_MAX = 8
LABELS_MAX = 32
LABEL_CHARS_MAX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output. -1 in `shape` is any size; on axis 0 of a batching module, the batch."""

    name: str
    dtype: str
    """A key of `ITEM_BYTES`."""
    shape: tuple[int, ...]
    layout: str = ""
    """How a reader should take the axes, for example "NCHW"; empty if unknown."""

    def __str__(self) -> str:
        """Return for example `images float32[?,3,96,96]`."""
        return f"{self.name} {describe(self.dtype, self.shape)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """A model that the host runs for the guest, by the name the guest opens it with."""

    name: str
    sha256: ContentHash
    size: int
    embedded: bool
    """It travels inside the module, in the section `meshnode.weights.NAME`; else as a blob."""
    root: bytes = b""
    """32 bytes: root of the blob's verification tree (`pieces`); empty if not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the guest may use; it is stopped when it wants more."""

    memory_bytes: int = 16 * MIB
    """Linear memory."""
    run_ms: int = 1_000
    """Wall time of one call."""
    output_bytes: int = 8 * MIB
    """All output tensors together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """Inputs and the outputs that the module promises for them.

    One buffer for each tensor in the manifest's order: little-endian, C order, no padding. Where
    a shape says -1 the size is 1, save that the first -1 takes what the buffer's length leaves.
    """

    inputs: tuple[bytes, ...]
    outputs: tuple[bytes, ...]
    tolerance: float = 0.0
    """Largest difference of two elements, absolute or relative; 0 means bit for bit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a module is, needs and promises."""

    name: str
    version: str
    abi: str
    """"infer" (several tensors), "seed" (one float32 array in, one out) or "command" (a WASI
    program: tensors on stdin and stdout)."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    required: Caps = Caps.CPU
    optional: Caps = NO_CAPS
    models: tuple[ModelRef, ...] = ()
    limits: Limits = field(default_factory=Limits)
    batch: bool = False
    """Requests may be joined along axis 0 of every input and output."""
    self_tests: tuple[SelfTest, ...] = ()
    licence: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    affinity: str = AFFINITIES[0]
    """In which order requests try nodes; one of `AFFINITIES`."""
    constraints: Constraints = UNCONSTRAINED
    """What it asks of every node that is given one of its inputs: `require` and `data`."""

    @property
    def need_bytes(self) -> int:
        """What it may come to take of a node: its memory's limit, and its models."""
        return self.limits.memory_bytes + sum(model.size for model in self.models)


def item_bytes(dtype: str) -> int:
    """Return the bytes of one element of a known dtype."""
    return ITEM_BYTES[dtype]


def describe(dtype: str, shape: tuple[int, ...]) -> str:
    """Return for example `float32[?,64]`."""
    return f"{dtype}[{','.join('?' if d < 0 else str(d) for d in shape)}]"
