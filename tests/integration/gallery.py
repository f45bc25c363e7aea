"""What the files of the sandbox gallery share: a node with a neighbour, and how to attack it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from meshnode.errors import MeshnodeError
from meshnode.modules.manifest import Limits, Manifest
from meshnode.modules.module_toml import from_toml
from meshnode.runtime.runtime import LoadedModule, Runtime
from meshnode.runtime.settings import RuntimeSettings
from meshnode.wire.limits import MIB
from tests.unit.runtime.support import ALL, dist, manifest

GUESTS = Path(__file__).parents[2] / "guests"
ROW = np.array([[1, 0, 0, 0]], np.float32)
RUN_MS = 60
OVERRUN_S = 5.0
"""One tick (5 ms) on a quiet machine, as `bench` measures; here it only says: not for ever."""


def limited(**changes: object) -> Manifest:
    """A manifest of float32 x[?,4] -> y[?,4] with tight limits."""
    limits = Limits(memory_bytes=2 * MIB, run_ms=RUN_MS, output_bytes=MIB)
    return manifest(**({"limits": limits} | changes))


class Node:
    """A runtime that serves a neighbour while strangers are loaded and run."""

    def __init__(self, cache: Path, settings: RuntimeSettings | None = None) -> None:
        self.cache = cache
        self.runtime = Runtime(
            settings or RuntimeSettings(), cache_dir=cache, mac_key=b"k" * 32, caps=ALL
        )
        echo = from_toml((GUESTS / "echo" / "module.toml").read_text()).manifest
        self._neighbour = self.runtime.load(dist("echo"), echo, {})

    def neighbour_answers(self) -> None:
        """Assert that the neighbour gives the right answer."""
        (outcome,) = self._neighbour.run([{"x": ROW}]).outcomes
        assert not isinstance(outcome, MeshnodeError), outcome
        assert np.array_equal(outcome["y"], ROW)

    def load(
        self,
        wasm: bytes,
        about: Manifest | None = None,
        models: Mapping[str, bytes] | None = None,
    ) -> LoadedModule:
        """Load a stranger's module."""
        return self.runtime.load(wasm, about or limited(), models or {})


def asked(loaded: LoadedModule, x: np.ndarray = ROW) -> dict[str, np.ndarray] | MeshnodeError:
    """Return what became of one request."""
    (outcome,) = loaded.run([{"x": x}]).outcomes
    return outcome


def failed(loaded: LoadedModule, x: np.ndarray = ROW) -> MeshnodeError:
    """Return the error that one request ended in."""
    outcome = asked(loaded, x)
    assert isinstance(outcome, MeshnodeError), outcome
    return outcome


def answered(loaded: LoadedModule, x: np.ndarray = ROW) -> np.ndarray:
    """Return the answer of one request."""
    outcome = asked(loaded, x)
    assert not isinstance(outcome, MeshnodeError), outcome
    return outcome["y"]


def number(value: int) -> np.ndarray:
    """A request whose first element chooses what a guest does."""
    return np.array([[value, 0, 0, 0]], np.float32)


def choosing(attacks: Mapping[str, str]) -> str:
    """Return the body of a predict that runs the attack its first element names, by order.

    One guest for many attacks: each costs a compilation in a child otherwise.
    """
    cases = "".join(
        f"(if (i32.eq (local.get $k) (i32.const {i})) (then {body}))"
        for i, body in enumerate(attacks.values(), 1)
    )
    return (
        "(local $k i32) (local.set $k (i32.trunc_sat_f32_s (f32.load (local.get $in))))"
        f" {cases} i32.const 0"
    )
