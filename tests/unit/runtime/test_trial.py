from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from meshnode.caps import Caps
from meshnode.errors import (
    MeshnodeError,
    ModuleFailed,
    SelfTestFailed,
    TimeLimit,
    Trapped,
)
from meshnode.modules.manifest import Limits, Manifest, SelfTest
from meshnode.runtime.trial import Examiner, Trial, digest, percentiles
from meshnode.wire.limits import MIB
from tests.unit.runtime.support import ALL, dist, manifest, seed_guest
from tests.unit.runtime.wasi_support import ECHO, about

COPY = "local.get $out local.get $in local.get $in_len i32.const 4 i32.mul memory.copy"
OK = "i32.const 0"
FIRST_IS_ZERO = "local.get $in f32.load f32.const 0 f32.eq"
BATCHING = manifest(batch=True, limits=Limits(memory_bytes=4 * MIB, run_ms=100))


def tried(wasm: bytes, folder: Path, about: Manifest = BATCHING, *, inputs: int = 60) -> Trial:
    examiner = Examiner(wasm, about, {}, caps=ALL, folder=folder)
    return examiner.run(fuzz=inputs, more=0, seed=0, progress=lambda done, of: None)


def test_a_good_module_passes_and_is_measured(tmp_path: Path) -> None:
    x = np.ones((2, 4), np.float32)
    test = SelfTest(inputs=(x.tobytes(),), outputs=(x.tobytes(),))
    trial = tried(dist("echo"), tmp_path, replace(BATCHING, self_tests=(test,)))
    assert trial.failures == []
    assert trial.exit_status == 0
    assert (trial.self_tests, trial.made_up, trial.deterministic) == (1, False, True)
    assert trial.inputs.total == trial.wanted == 60
    assert trial.inputs.ok + trial.inputs.refused == 60
    assert trial.inputs.refused > 10
    assert trial.batch == "equal bit for bit"
    assert len(trial.latency_ms) == len(trial.overhead_ms) > 0


def test_a_command_program_is_tried_as_well(tmp_path: Path) -> None:
    caps = Caps.CPU | Caps.WASI
    examiner = Examiner(ECHO, about(required=caps), {}, caps=caps, folder=tmp_path)
    trial = examiner.run(fuzz=20, more=0, seed=0, progress=lambda done, of: None)
    assert trial.failures == []
    assert trial.inputs.ok > 10
    assert "start" not in trial.stages_ms


def test_an_input_that_traps_is_named_by_its_seed(tmp_path: Path) -> None:
    guest = seed_guest(f"{FIRST_IS_ZERO} if unreachable end {COPY} {OK}")
    trial = tried(guest, tmp_path)
    assert trial.inputs.traps >= 1
    failure = trial.failures[0]
    assert isinstance(failure, Trapped)
    assert failure.message.startswith("input 2 (zeros): the guest trapped")
    assert trial.exit_status == 7
    assert trial.latency_ms == []


def test_an_ordinary_input_that_takes_too_long_is_a_failure(tmp_path: Path) -> None:
    guest = seed_guest(f"{FIRST_IS_ZERO} if (loop $l br $l) end {COPY} {OK}")
    limits = Limits(memory_bytes=4 * MIB, run_ms=20)
    trial = tried(guest, tmp_path, replace(BATCHING, limits=limits), inputs=4)
    assert trial.inputs.over_limit == 1
    assert isinstance(trial.failures[0], TimeLimit)


def test_a_large_input_may_meet_a_limit(tmp_path: Path) -> None:
    about = replace(BATCHING, limits=Limits(memory_bytes=4 * MIB, run_ms=100, output_bytes=1024))
    trial = tried(dist("echo"), tmp_path, about, inputs=20)
    assert trial.failures == []
    assert trial.inputs.over_limit == 1
    assert "(large)" in trial.notes[0]


def test_a_status_of_the_guests_own_is_an_orderly_answer(tmp_path: Path) -> None:
    guest = seed_guest(f"{FIRST_IS_ZERO} if i32.const -7 return end {COPY} {OK}")
    trial = tried(guest, tmp_path)
    assert trial.failures == []
    assert trial.inputs.status >= 1


def test_an_answer_that_changes_from_run_to_run_fails_the_self_test(tmp_path: Path) -> None:
    head = """
      (memory (export "memory") 1)
      (global $n (mut f32) (f32.const 0))
      (func (export "init") (result i32) i32.const 0)
    """
    count = "global.get $n f32.const 1 f32.add global.set $n"
    guest = seed_guest(f"{COPY} {count} local.get $out global.get $n f32.store {OK}", head)
    trial = tried(guest, tmp_path, inputs=0)
    assert not trial.deterministic
    assert isinstance(trial.failures[0], SelfTestFailed)
    assert trial.exit_status == 9


def test_rows_that_depend_on_each_other_are_found_out(tmp_path: Path) -> None:
    # Every row becomes the number of elements of the whole call.
    fill = """
      (local $i i32)
      (loop $l
        (f32.store (i32.add (local.get $out) (i32.shl (local.get $i) (i32.const 2)))
                   (f32.convert_i32_u (local.get $in_len)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $i) (local.get $in_len))))
    """
    trial = tried(seed_guest(f"{fill} {OK}"), tmp_path, inputs=0)
    assert trial.batch == "differs"
    assert type(trial.failures[0]) is ModuleFailed


def test_a_module_that_fails_again_and_again_is_not_tried_to_the_end(tmp_path: Path) -> None:
    trap = f"{FIRST_IS_ZERO} if unreachable end {COPY} {OK}"
    trial = tried(seed_guest(trap), tmp_path, inputs=400)
    assert len(trial.failures) == 5
    assert trial.inputs.total < 200
    assert "5 have failed" in trial.notes[-1]


def test_a_module_that_takes_no_made_up_input_says_so(tmp_path: Path) -> None:
    with pytest.raises(MeshnodeError, match="a made-up input of ordinary numbers") as caught:
        tried(seed_guest("i32.const -7"), tmp_path)
    assert "--test" in caught.value.try_


def test_a_digest_tells_shapes_and_failures_apart() -> None:
    flat, column = np.zeros(4, np.float32), np.zeros((4, 1), np.float32)
    different = {digest({"y": flat}), digest({"y": column}), digest({"z": flat})}
    assert len(different | {digest(Trapped("a")), digest(Trapped("b"))}) == 5


def test_percentiles_of_few_samples_are_among_them() -> None:
    assert percentiles([3.0, 1.0, 2.0]) == (2.0, 3.0)
    assert percentiles(list(range(1000)))[1] == 990
