"""The one wasmtime engine: how guests are compiled and what of Wasm they may use.

An artifact only loads into an engine of the same configuration, so node and compiling child both
make theirs here. Nothing in it depends on a setting.
"""

import platform
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from wasmtime import Config, Engine

STACK_BYTES_MAX = 512 * 1024
"""Of a guest. A thread that has less hands the call to one that has more: see `stack`."""

_SWITCHES: dict[str, bool | int] = {
    "epoch_interruption": True,
    # The base address is read once and kept by the host.
    "memory_may_move": False,
    "max_wasm_stack": STACK_BYTES_MAX,
    # Two nodes must give the same answer to the same request.
    "cranelift_nan_canonicalization": True,
    "wasm_relaxed_simd_deterministic": True,
    # Not needed by inference, and each was a way to abort or to stall the host.
    "wasm_gc": False,
    "wasm_function_references": False,
    "wasm_exceptions": False,
    "wasm_threads": False,
    "shared_memory": False,
    "wasm_memory64": False,
    "wasm_multi_memory": False,
    "wasm_stack_switching": False,
    "wasm_custom_page_sizes": False,
    "wasm_wide_arithmetic": False,
    "wasm_component_model": False,
}


def make_engine() -> Engine:
    """Return an engine with our configuration."""
    config = Config()
    for name, value in _SWITCHES.items():
        setattr(config, name, value)
    return Engine(config)


@lru_cache(maxsize=1)
def fingerprint() -> bytes:
    """Return 32 bytes that change with anything that makes old artifacts unusable."""
    facts = (
        version("wasmtime"),
        repr(sorted(_SWITCHES.items())),
        platform.system(),
        platform.machine(),
        _processor_features(),
    )
    return sha256("\0".join(facts).encode()).digest()


def _processor_features() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
