import pytest
from wasmtime import Instance, Module, Store

from meshnode.runtime import growth
from meshnode.runtime.abi import DENIED_EXPORT
from meshnode.runtime.preflight import preflight
from meshnode.wire.limits import MIB
from tests.unit.runtime.support import ALL, SEED_HEAD, dist, engine, manifest, seed_guest

GROWER = "local.get $in_len memory.grow"
GLOBALS = '(global i64 (i64.const 7)) (global (export "g") (mut i32) (i32.const 5))'
MANY = "".join(
    f"(func (param i32) (result i32) (block (drop (memory.grow (local.get 0)))) i32.const {i})"
    for i in range(200)
)


def instance(wasm: bytes) -> tuple[Store, dict[str, object]]:
    guest = preflight(wasm, manifest(), allowed=ALL, memory_bytes_max=64 * MIB)
    store = Store(engine()[0])
    store.set_epoch_deadline(1_000_000)
    store.set_limits(memory_size=4 * 65536)
    code = growth.note_refusals(guest, guest.scan())
    return store, dict(Instance(store, Module(engine()[0], code), []).exports(store))


@pytest.mark.parametrize(
    "head", [SEED_HEAD, SEED_HEAD + GLOBALS + MANY], ids=["small", "wide indices, with globals"]
)
def test_growth_works_as_before_and_a_refusal_is_noted(head: str) -> None:
    store, exports = instance(seed_guest(GROWER, head))
    predict, denied = exports["predict"], exports[DENIED_EXPORT]
    assert predict(store, 0, 2, 0, 0) == 1
    assert denied.value(store) == 0
    assert predict(store, 0, 2, 0, 0) == -1
    assert denied.value(store) == 1
    assert predict(store, 0, 1, 0, 0) == 3
    if head != SEED_HEAD:
        assert exports["g"].value(store) == 5


def test_a_guest_that_never_grows_is_left_alone() -> None:
    guest = preflight(dist("echo"), manifest(), allowed=ALL, memory_bytes_max=MIB)
    bodies = guest.scan()
    assert not growth.grows(bodies)
    assert growth.note_refusals(guest, bodies) is guest.wasm
