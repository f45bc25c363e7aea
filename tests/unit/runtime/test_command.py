import logging
from pathlib import Path

import numpy as np
import pytest

from meshnode.caps import Caps
from meshnode.errors import (
    CannotRunHere,
    GuestStatus,
    MalformedModule,
    MeshnodeError,
    ModuleFailed,
    OutputLimit,
    TimeLimit,
    Trapped,
    UndeclaredImport,
)
from meshnode.modules.manifest import Limits, Manifest, SelfTest, TensorSpec
from meshnode.runtime import ort
from meshnode.runtime.command import output_shapes
from meshnode.runtime.runtime import Runtime
from meshnode.wire.limits import MIB
from tests.unit.runtime.nn_support import IMPORTS as NN_IMPORTS
from tests.unit.runtime.nn_support import OPEN
from tests.unit.runtime.support import ALL, dense, ref, wat
from tests.unit.runtime.wasi_support import (
    ECHO,
    OPEN_CAPS,
    READ_ALL,
    WRITE,
    about,
    command,
    imports,
    runtime,
    start,
    vector,
)

X = np.random.default_rng(4).standard_normal((2, 4)).astype(np.float32)
PLAIN = Caps.CPU | Caps.WASI


@pytest.fixture(scope="module", params=["auto", "public"])
def node(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Runtime:
    return runtime(tmp_path_factory.mktemp("aot"), binding=request.param)


def run(
    node: Runtime, wasm: bytes, described: Manifest | None = None, *arrays: np.ndarray
) -> dict[str, np.ndarray]:
    described = described or about(required=PLAIN)
    loaded = node.load(wasm, described, {})
    try:
        given = arrays or (X,)
        names = [spec.name for spec in described.inputs]
        (outcome,) = loaded.run([dict(zip(names, given, strict=True))]).outcomes
    finally:
        loaded.close()
    if isinstance(outcome, MeshnodeError):
        raise outcome
    return outcome


def test_a_command_reads_its_inputs_and_writes_its_outputs(node: Runtime) -> None:
    assert run(node, ECHO)["y"].tobytes() == X.tobytes()


def test_several_tensors_lie_one_after_the_other(node: Runtime) -> None:
    described = about(
        required=PLAIN,
        inputs=(
            TensorSpec(name="flags", dtype="bool", shape=(3,)),
            TensorSpec(name="x", dtype="float32", shape=(-1, 4)),
        ),
        outputs=(
            TensorSpec(name="flags", dtype="bool", shape=(3,)),
            TensorSpec(name="x", dtype="float32", shape=(-1, 4)),
        ),
    )
    flags = np.array([True, False, True])
    answer = run(node, ECHO, described, flags, X)
    assert np.array_equal(answer["flags"], flags)
    assert np.array_equal(answer["x"], X)
    assert answer["x"].flags.aligned


def test_a_command_runs_a_model_between_its_streams(node: Runtime) -> None:
    nn = f"""
      (i32.store (i32.const 160) (i32.const 256)) (i32.store (i32.const 164) (i32.const 2))
      (i32.store8 (i32.const 168) (i32.const 1)) (i32.store (i32.const 172) (i32.const 4096))
      (i32.store (i32.const 176) (i32.load (i32.const 4)))
      (i32.store (i32.const 256) (i32.div_u (i32.load (i32.const 4)) (i32.const 16)))
      (i32.store (i32.const 260) (i32.const 4))
      (if (i32.or {OPEN} (i32.or
          (call $set_input (i32.load (i32.const 132)) (i32.const 0) (i32.const 160))
          (i32.or (call $compute (i32.load (i32.const 132)))
            (call $get_output (i32.load (i32.const 132)) (i32.const 0)
              (i32.const 8192) (i32.const 4096) (i32.const 4)))))
        (then (call $proc_exit (i32.const 3)) unreachable))
      (i32.store (i32.const 0) (i32.const 8192))"""
    wasm = wat(
        f"""{imports("fd_read", "fd_write", "proc_exit")} {NN_IMPORTS}
        (memory (export "memory") 2) (data (i32.const 64) "model")
        {start(READ_ALL + nn + WRITE)}"""
    )
    described = about(
        outputs=(TensorSpec(name="y", dtype="float32", shape=(-1, 3)),), models=(ref(dense()),)
    )
    loaded = node.load(wasm, described, {"model": dense()})
    result = loaded.run([{"x": X}, {"x": X[:1]}])
    for x, outcome in zip((X, X[:1]), result.outcomes, strict=True):
        assert not isinstance(outcome, MeshnodeError), outcome
        assert outcome["y"].tobytes() == ort.plain_run(dense(), {"x": x})["y"].tobytes()
    assert result.model_us > 0
    assert loaded.memory_bytes == len(dense())  # no instance between requests
    loaded.close()


def test_every_request_has_a_fresh_instance(node: Runtime) -> None:
    # Answers with what the last run left at 4096, which must be nothing.
    wasm = command(
        vector(0, 4096, 16)
        + WRITE
        + "(drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))",
        "fd_read",
        "fd_write",
    )
    loaded = node.load(wasm, about(required=PLAIN), {})
    for _ in range(2):
        (outcome,) = loaded.run([{"x": X[:1]}]).outcomes
        assert not isinstance(outcome, MeshnodeError), outcome
        assert not outcome["y"].any()
    loaded.close()


def test_a_guest_that_is_only_a_start_function_is_a_command_too(node: Runtime) -> None:
    for ending in ("", "(call $proc_exit (i32.const 0))"):
        wasm = wat(
            f"""{imports("fd_read", "fd_write", "proc_exit")} (memory (export "memory") 2)
            (func $main (local $at i32) {READ_ALL} {WRITE} {ending}) (start $main)"""
        )
        assert run(node, wasm)["y"].tobytes() == X.tobytes()


@pytest.mark.parametrize("ending", ["", "unreachable", "(loop $l (br $l))"])
def test_exit_0_is_an_answer_whatever_would_come_after(node: Runtime, ending: str) -> None:
    stop = "(call $proc_exit (i32.const 0)) (call $after)"
    wasm = command(
        READ_ALL + WRITE + stop,
        "fd_read",
        "fd_write",
        "proc_exit",
        head=f"(func $after {ending})",
    )
    assert run(node, wasm)["y"].tobytes() == X.tobytes()


@pytest.mark.parametrize("ending", ["", "unreachable"])
def test_another_exit_status_is_the_guests_error(node: Runtime, ending: str) -> None:
    for call, status in (("$proc_exit (i32.const 3)", 3), ("$proc_raise (i32.const 6)", 134)):
        drop = f"(drop (call {call}))" if "raise" in call else f"(call {call})"
        wasm = command(
            READ_ALL + WRITE + drop + ending, "fd_read", "fd_write", "proc_exit", "proc_raise"
        )
        with pytest.raises(GuestStatus, match=f"with status {status}"):
            run(node, wasm)


def test_a_trap_and_a_loop_are_what_they_are_in_every_abi(node: Runtime) -> None:
    with pytest.raises(Trapped, match="unreachable"):
        run(node, command("unreachable"))
    short = about(required=PLAIN, limits=Limits(memory_bytes=2 * MIB, run_ms=50))
    with pytest.raises(TimeLimit, match="limit of 50 ms"):
        run(node, command("(loop $l (br $l))"), short)


def test_stdout_must_be_exactly_the_outputs(node: Runtime) -> None:
    fixed = (TensorSpec(name="y", dtype="float32", shape=(4,)),)
    with pytest.raises(ModuleFailed, match="wrote 0 bytes to stdout, its outputs take 16"):
        run(node, command(""), about(required=PLAIN, outputs=fixed))
    with pytest.raises(ModuleFailed, match=r"wrote 15 bytes .* a multiple of 16"):
        run(node, command(vector(0, 4096, 15) + WRITE, "fd_write"))
    flag = about(required=PLAIN, outputs=(TensorSpec(name="y", dtype="bool", shape=(-1,)),))
    seven = "(i32.store8 (i32.const 64) (i32.const 7))" + vector(0, 64, 3)
    with pytest.raises(ModuleFailed, match="neither 0 nor 1"):
        run(node, command(seven + WRITE, "fd_write"), flag)


def test_stdout_has_the_modules_output_limit(node: Runtime) -> None:
    small = about(required=PLAIN, limits=Limits(memory_bytes=2 * MIB, run_ms=50, output_bytes=1000))
    for after in ("", "unreachable", f"(loop $more {WRITE} (br $more))"):
        wasm = command(vector(0, 0, 600) + WRITE + WRITE + after, "fd_write")
        with pytest.raises(OutputLimit, match="1000 bytes"):
            run(node, wasm, small)


def test_stderr_becomes_lines_of_the_log(node: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    body = vector(0, 64, 12) + WRITE.replace("i32.const 1)", "i32.const 2)", 1)
    wasm = command(
        body + READ_ALL + WRITE,
        "fd_read",
        "fd_write",
        head='(data (i32.const 64) "one\\0atwo\\1b[31m")',
    )
    with caplog.at_level(logging.DEBUG, "meshnode.guest"):
        run(node, wasm)
    lines = [r.getMessage() for r in caplog.records if r.name == "meshnode.guest"]
    assert lines == ["test: one", "test: two\\x1b[31m"]


def test_rows_are_joined_along_the_batch_axis(node: Runtime) -> None:
    loaded = node.load(ECHO, about(required=PLAIN, batch=True), {})
    outcomes = loaded.run([{"x": X}, {"x": X[:1]}]).outcomes
    for x, outcome in zip((X, X[:1]), outcomes, strict=True):
        assert not isinstance(outcome, MeshnodeError), outcome
        assert np.array_equal(outcome["y"], x)
    loaded.close()


def test_self_tests_of_a_command_run_before_it_answers(node: Runtime) -> None:
    vectors = (SelfTest(inputs=(X.tobytes(),), outputs=(X.tobytes(),)),)
    assert run(node, ECHO, about(required=PLAIN, self_tests=vectors))["y"].shape == (2, 4)


LOAD = """(call $proc_exit (call $load
  (i32.const 0) (i32.const 1) (i32.const 1) (i32.const 0) (i32.const 128)))"""
LOADER = wat(
    f"""{imports("fd_read", "proc_exit")} {NN_IMPORTS} (memory (export "memory") 2)
    {start(READ_ALL + LOAD)}"""
)
"""Loads the model on its stdin, and ends with the errno."""


@pytest.mark.parametrize(
    ("declared", "allowed", "errno"),
    [
        (Caps.NN_LOAD, OPEN_CAPS, 0),
        (Caps.NN_LOAD, OPEN_CAPS & ~Caps.NN_LOAD, 6),
        (Caps(0), OPEN_CAPS, 6),
    ],
)
def test_bytes_are_loaded_if_the_module_says_so_and_policy_allows_it(
    tmp_path: Path, declared: Caps, allowed: Caps, errno: int
) -> None:
    octets = TensorSpec(name="y", dtype="uint8", shape=(-1,))
    described = about(
        optional=declared,
        inputs=(TensorSpec(name="m", dtype="uint8", shape=(-1,)),),
        outputs=(octets,),
    )
    loaded = runtime(tmp_path, allowed=allowed).load(LOADER, described, {})
    for _ in range(2):
        (outcome,) = loaded.run([{"m": np.frombuffer(dense(), np.uint8)}]).outcomes
        if errno:
            assert isinstance(outcome, GuestStatus)
            assert f"with status {errno}" in outcome.message
        else:
            assert not isinstance(outcome, MeshnodeError), outcome
    loaded.close()


def test_wasi_is_off_unless_policy_allows_it(tmp_path: Path) -> None:
    described = about(required=PLAIN)
    with pytest.raises(CannotRunHere, match="capability wasi") as refused:
        runtime(tmp_path, caps=ALL).load(ECHO, described, {})
    assert refused.value.try_.startswith('add "wasi" to policy.caps')
    with pytest.raises(UndeclaredImport, match="policy does not allow") as refused_too:
        runtime(tmp_path, allowed=ALL).load(ECHO, described, {})
    assert refused_too.value.try_.startswith('add "wasi" to policy.caps')


def test_a_command_must_have_something_to_run(node: Runtime) -> None:
    with pytest.raises(MalformedModule, match="neither an export '_start' nor a start function"):
        run(node, wat('(memory (export "memory") 1)'))
    with pytest.raises(MalformedModule, match=r"'_start' is \(i32\) -> nothing"):
        run(node, wat('(memory (export "memory") 1) (func (export "_start") (param i32))'))


def test_names_of_other_abis_mean_nothing_in_a_command(node: Runtime) -> None:
    head = '(func (export "init") (result i32) unreachable) (func (export "alloc"))'
    assert run(node, command(READ_ALL + WRITE, "fd_read", "fd_write", head=head))["y"].size == 8


@pytest.mark.parametrize(
    ("shapes", "batch", "size", "wanted"),
    [
        ([(-1, 4)], False, 32, [(2, 4)]),
        ([(2,), (-1, -1)], False, 20, [(2,), (3, 1)]),
        ([(-1, 2), (-1, 1)], True, 36, [(3, 2), (3, 1)]),
        ([(-1, -1), (-1,)], True, 36, [(3, 2), (3,)]),
        ([()], False, 4, [()]),
        ([(-1, 4)], False, 0, [(0, 4)]),
    ],
)
def test_open_sizes_follow_from_the_length(
    shapes: list[tuple[int, ...]], batch: bool, size: int, wanted: list[tuple[int, ...]]
) -> None:
    outputs = tuple(
        TensorSpec(name=f"y{i}", dtype="float32", shape=s) for i, s in enumerate(shapes)
    )
    assert output_shapes(about(outputs=outputs, batch=batch), 3, size) == wanted
