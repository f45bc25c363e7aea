"""Modules into preflight, the code scan and the rewriting that follows.

Whatever the bytes: a MeshnodeError, or a guest. A guest that wasmtime finds valid must be valid
after the rewriting too, with the exports it had; and it may not have what preflight must refuse.
"""

from random import Random

from wasmtime import Module, WasmtimeError, wat2wasm

from meshnode.errors import MeshnodeError
from meshnode.modules.sections import HEADER
from meshnode.runtime import growth
from meshnode.runtime.engine import make_engine
from meshnode.runtime.guest_types import NUMBERS
from meshnode.runtime.preflight import Guest, preflight
from meshnode.wire.limits import MIB
from tests.fuzz.long.mutate import leb, mutated
from tests.unit.runtime.support import ALL, dist, manifest
from tests.unit.runtime.test_code_scan import EVERYTHING

NAMES = ("echo", "linear", "onnx-runner", "anomaly", "dual", "hostile-grow", "hostile-stray")
SECTIONS = range(15)


class Fuzzer:
    """Holds the seeds and the engine that says what is valid."""

    def __init__(self) -> None:
        everything = EVERYTHING.replace("(memory 1)", '(memory (export "memory") 1)').replace(
            "(func $f ",
            '(func (export "infer") (param i32 i32 i32 i32) (result i32) i32.const 0) (func $f ',
            1,
        )
        self._seeds = [dist(name) for name in NAMES] + [bytes(wat2wasm(everything))]
        self._engine = make_engine()
        self._abouts = [manifest(abi="seed"), manifest(abi="infer")]

    def round(self, rng: Random) -> str:
        """Try one module."""
        wasm = (
            made_up(rng)
            if rng.random() < 0.2
            else mutated(rng, rng.choice(self._seeds), self._seeds)
        )
        found = "refused"
        for about in self._abouts:
            try:
                guest = preflight(wasm, about, allowed=ALL, memory_bytes_max=64 * MIB)
                bodies = guest.scan()
            except MeshnodeError:
                continue
            check(guest)
            rewritten = growth.note_refusals(guest, bodies)
            try:
                Module.validate(self._engine, guest.wasm)
            except WasmtimeError:
                found = "passed, not valid"
                continue
            Module.validate(self._engine, rewritten)
            found = "valid"
            if rng.random() < 0.01:  # the binding reads the types only of these
                names = {e.name: e.type for e in Module(self._engine, rewritten).exports}
                assert set(guest.exports) <= set(names)
        return found


def check(guest: Guest) -> None:
    """Assert what preflight promises of anything it lets through."""
    assert len(guest.exports) <= 64
    assert guest.memory.pages_min * 65536 <= 64 * MIB
    for export in guest.exports.values():
        if export.signature is not None:
            assert not (set(export.signature.params + export.signature.results) - set(NUMBERS))


def made_up(rng: Random) -> bytes:
    """Return sections with random content, some of it plausible."""
    parts = [HEADER]
    ids = (
        sorted(rng.sample(SECTIONS, rng.randrange(1, 9)))
        if rng.random() < 0.8
        else rng.choices(SECTIONS, k=rng.randrange(1, 9))
    )
    for id_ in ids:
        payload = leb(rng.choice((0, 1, 1, 2, 3, 2**32 - 1))) + rng.randbytes(rng.randrange(40))
        size = len(payload) if rng.random() < 0.9 else rng.randrange(2**33)
        parts += [bytes((id_,)), leb(size, padded=rng.choice((0, 0, 5))), payload]
    return b"".join(parts)
