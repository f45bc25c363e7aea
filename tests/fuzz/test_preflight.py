"""Preflight and the rewriting after it are total: any bytes pass or are refused, nothing else.

What passes must be what wasmtime makes of it, so valid modules that pass are compiled too.
"""

from contextlib import suppress

from hypothesis import example, given, settings
from hypothesis import strategies as st
from wasmtime import Module, WasmtimeError

from meshnode.caps import Caps
from meshnode.errors import MeshnodeError, UnreadableModel
from meshnode.modules.sections import HEADER
from meshnode.runtime import growth
from meshnode.runtime.engine import make_engine
from meshnode.runtime.onnx_proto import scan_model
from meshnode.runtime.preflight import preflight
from meshnode.wire.limits import MIB
from tests.unit.runtime.support import dense, dist, manifest

NAMES = ("echo", "linear", "onnx-runner", "hostile-grow", "hostile-stray", "hostile-trap")
GUESTS = [dist(name) for name in NAMES]
ENGINE = make_engine()
ALL = Caps.CPU | Caps.NN
MODEL = dense()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(GUESTS)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.integers(0, 3)):
            case 0:
                data[at] = draw(st.integers(0, 255))
            case 1:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case 2:
                del data[at : at + draw(st.integers(1, 8))]
            case 3:
                data[at:at] = draw(st.binary(min_size=1, max_size=8))
        if not data:
            data = bytearray(b"\0")
    return bytes(data)


def check(wasm: bytes) -> None:
    for abi in ("seed", "infer"):
        try:
            guest = preflight(wasm, manifest(abi=abi), allowed=ALL, memory_bytes_max=64 * MIB)
            bodies = guest.scan()
        except MeshnodeError:
            continue
        try:
            Module.validate(ENGINE, guest.wasm)
        except WasmtimeError:
            continue
        # The rewriting keeps valid modules valid, with the same exports.
        module = Module(ENGINE, growth.note_refusals(guest, bodies))
        names = {export.name for export in module.exports}
        assert set(guest.exports) <= names


@given(mutated())
@settings(max_examples=200, deadline=None)
@example(GUESTS[0])
@example(GUESTS[3])
def test_mutated_guests_pass_or_are_refused(wasm: bytes) -> None:
    check(wasm)


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_bytes_pass_or_are_refused(data: bytes, headed: bool) -> None:
    check(HEADER + data if headed else data)


@given(st.integers(0, len(MODEL) - 1), st.binary(max_size=6))
@settings(max_examples=200, deadline=None)
def test_mutated_models_are_scanned_or_refused(at: int, patch: bytes) -> None:
    with suppress(UnreadableModel):
        scan_model(MODEL[:at] + patch + MODEL[at + len(patch) :])
