"""Bounds what all models of this process may allocate, and gives back what none of them needs.

A model of 200 bytes can ask for any amount of memory, in one operator that nothing interrupts, and
onnxruntime would take it as long as the machine has any. So every session takes its memory from one
arena of this process, which has an upper bound: a model that wants more fails, and the node lives.
An arena keeps what it once had; after a model was let go, it is told to shrink.
"""

import os
from contextlib import suppress
from pathlib import Path

_SHARE = 0.5
"""Of the machine's memory. Weights count too, so it cannot be as low as one module's limit."""
_GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_MIB = 1 << 20
AS_REQUESTED = 1
"""The arena's strategy: a block for each need, so that a block can be given back by itself."""
IDENTITY = bytes.fromhex(
    "08083a370a100a017812017922084964656e746974791201675a0f0a0178120a"
    "0a08080112040a020801620f0a0179120a0a08080112040a02080142040a001011"
)
"""An ONNX file, float32 x[1] -> y[1]: an arena shrinks at the end of a run, so it takes one."""


def arena() -> dict[str, int]:
    """Return the arena's configuration, by onnxruntime's names."""
    return {
        "max_mem": bytes_max(),
        "arena_extend_strategy": AS_REQUESTED,
        "initial_chunk_size_bytes": _MIB,
        "max_dead_bytes_per_chunk": -1,
        "initial_growth_chunk_size_bytes": _MIB,
    }


def bytes_max() -> int:
    """Return what all models together may have: half of this machine's memory, or its group's."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no group, or "max"
        whole = min(whole, int(_GROUP_LIMIT.read_text()))
    return int(whole * _SHARE)
