from pathlib import Path

import numpy as np
import pytest

from meshnode.bench.guests import ABIS, AbiCase, megabyte, packed
from meshnode.bench.models import CLASSES, perceptron
from meshnode.caps import Caps
from meshnode.runtime import ort
from meshnode.runtime.preflight import preflight
from meshnode.runtime.runtime import Runtime
from meshnode.runtime.settings import RuntimeSettings
from meshnode.wire.limits import MIB

CAPS = Caps.CPU | Caps.NN
TINY = perceptron("tiny", (8, 4))


@pytest.mark.parametrize("case", [c for c in ABIS if c.offered], ids=lambda c: c.name)
def test_every_abi_gives_onnxruntimes_answer(case: AbiCase, tmp_path: Path) -> None:
    module = packed(case, TINY)
    runtime = Runtime(
        RuntimeSettings(model_threads=1), cache_dir=tmp_path, mac_key=bytes(32), caps=CAPS
    )
    loaded = runtime.load(module.wasm, module.manifest, {})
    try:
        for rows in (1, 3):
            x = TINY.rows(rows)
            (outcome,) = loaded.run([{"x": x}]).outcomes
            assert isinstance(outcome, dict)
            wanted = ort.plain_run(TINY.data, {"x": x}, threads=1)["y"]
            assert outcome["y"].shape == (rows, CLASSES)
            assert np.array_equal(outcome["y"], wanted)
    finally:
        loaded.close()


def test_the_large_guest_is_a_megabyte_of_valid_code() -> None:
    module = megabyte()
    assert MIB <= len(module.wasm) < 1.1 * MIB
    guest = preflight(
        module.wasm,
        module.manifest,
        allowed=CAPS,
        memory_bytes_max=module.manifest.limits.memory_bytes,
    )
    assert len(guest.scan()) == len(guest.functions) > 1000
