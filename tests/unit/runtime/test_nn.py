from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from meshnode.errors import ModelFailed, TimeLimit, UnreadableModel
from meshnode.modules.manifest import Limits, TensorSpec
from meshnode.runtime import ort
from meshnode.wire.limits import MIB
from tests.unit.runtime.nn_support import (
    BUILDERS,
    DATA,
    FAR,
    HANDLE,
    IMPORTS,
    MEMORY,
    NAME,
    OPEN,
    OUT,
    RUN,
    RUNNER,
    STARTER,
    TENSOR,
    WRITTEN,
    Nn,
    cache,
    loaded_by,
    sessions,
    two_inputs,
    typed,
)
from tests.unit.runtime.support import (
    call,
    dense,
    endless,
    external,
    manifest,
    model,
    seed_guest,
)

X = np.random.default_rng(3).standard_normal((2, 4)).astype(np.float32)
F32 = 1
DENSE_OUT = manifest(outputs=(TensorSpec(name="y", dtype="float32", shape=(-1, 3)),))


@pytest.fixture
def nn(tmp_path: Path) -> Nn:
    return Nn(sessions(tmp_path, model=dense(), scaled=two_inputs(), endless=endless()))


def reference(x: np.ndarray) -> bytes:
    return ort.plain_run(dense(), {"x": x})["y"].tobytes()


# ------------------------------------------------------------------ whole guests


@pytest.mark.parametrize("guest", [RUNNER, STARTER], ids=["in init", "in the start function"])
def test_a_guest_answers_as_onnxruntime_does_bit_for_bit(tmp_path: Path, guest: bytes) -> None:
    held = sessions(tmp_path, model=dense())
    for rows in (1, 2):
        (y,) = call(guest, X[:rows], about=DENSE_OUT, sessions=held)
        assert y.tobytes() == reference(X[:rows])


def test_memory_may_grow_between_calls(tmp_path: Path) -> None:
    grow = f'(func (export "init") (result i32) {OPEN})'
    beyond = (
        "(local $new i32) (local.set $new (i32.mul (memory.grow (i32.const 3)) (i32.const 65536)))"
        "(memory.copy (local.get $new) (local.get $in) (i32.mul (local.get $in_len) (i32.const 4)))"
        "(local.set $in (local.get $new))"
    )
    guest = seed_guest(beyond + RUN, IMPORTS + MEMORY + grow)
    (y,) = call(guest, X, about=DENSE_OUT, sessions=sessions(tmp_path, model=dense()))
    assert y.tobytes() == reference(X)


def test_why_a_model_failed_is_what_the_request_hears(tmp_path: Path) -> None:
    wide = dense(size=5)
    with pytest.raises(ModelFailed, match="invalid dimensions"):
        call(RUNNER, X, about=DENSE_OUT, sessions=sessions(tmp_path, model=wide))


def test_an_endless_model_is_the_guests_time_limit(tmp_path: Path) -> None:
    about = manifest(limits=Limits(memory_bytes=2 * MIB, run_ms=100, output_bytes=MIB))
    with pytest.raises(TimeLimit, match="limit of 100 ms"):
        call(RUNNER, X, about=about, sessions=sessions(tmp_path, model=endless()))


def test_a_node_without_models_refuses_the_calls() -> None:
    nn = Nn(None)
    assert nn.by_name("model") == 6
    assert nn.load(dense()) == 6


# ------------------------------------------------------------------ graphs


def test_unknown_names_are_errno_8(nn: Nn) -> None:
    assert nn.by_name("other") == 8
    assert nn.by_name("") == 8
    nn.put(NAME, b"\xff\xfe")
    assert nn.call("load_by_name", NAME, 2, HANDLE) == 8


def test_a_name_has_a_bound(nn: Nn) -> None:
    assert nn.call("load_by_name", NAME, 4096, HANDLE) == 8
    assert nn.call("load_by_name", NAME, 4097, HANDLE) == 7


def test_bytes_are_refused_without_the_capability(nn: Nn) -> None:
    assert nn.load(dense()) == 6
    assert nn.load(dense(), encoding=0) == 6


@pytest.fixture
def loading(tmp_path: Path) -> Nn:
    return Nn({}, loaded_by(cache(tmp_path), 4096))


@pytest.mark.parametrize(
    ("encoding", "errno"),
    [(1, 0), (5, 0), (6, 0), (0, 2), (2, 2), (3, 2), (4, 2), (7, 2), (257, 2)],
)
def test_onnx_and_autodetect_are_the_encodings(loading: Nn, encoding: int, errno: int) -> None:
    assert loading.load(dense(), encoding=encoding) == errno


def test_a_model_that_a_guest_brings_answers_as_any_other(loading: Nn) -> None:
    assert loading.load(dense()) == 0
    assert loading.call("init_execution_context", loading.word(HANDLE), HANDLE) == 0
    context = loading.word(HANDLE)
    assert loading.set_input(context, 0, X, F32) == 0
    assert loading.call("compute", context) == 0
    assert loading.output(context) == (0, reference(X))


def test_builders_are_counted_and_checked(loading: Nn) -> None:
    assert loading.load(dense(), count=0) == 1
    assert loading.load(dense(), count=2) == 1
    assert loading.load(dense(), count=17) == 7
    assert loading.load(dense(), target=4) == 1
    assert loading.load(b"") == 1
    loading.load(dense(), encoding=0)  # only writes the builder
    loading.put(BUILDERS + 8, bytes(8))
    assert loading.call("load", BUILDERS, 2, 1, 0, HANDLE) == 0  # the second one is empty
    assert loading.call("load", FAR, 1, 1, 0, HANDLE) == 1
    loading.put(BUILDERS, FAR.to_bytes(4, "little") + (100).to_bytes(4, "little"))
    assert loading.call("load", BUILDERS, 1, 1, 0, HANDLE) == 1
    loading.load(dense(), encoding=0)  # only writes the builder
    assert loading.call("load", BUILDERS, 1, 1, 0, FAR) == 1


def test_models_that_a_guest_brings_have_a_quota_of_bytes(tmp_path: Path) -> None:
    nn = Nn({}, loaded_by(cache(tmp_path), 2 * len(dense()) + 1))
    assert [nn.load(dense()) for _ in range(3)] == [0, 0, 7]


def test_a_model_that_looks_at_files_is_refused(loading: Nn) -> None:
    with pytest.raises(UnreadableModel, match="another file"):
        loading.load(external("secret.bin"))
    with pytest.raises(ModelFailed):
        loading.load(b"\x08\x08\x12\x03abc")


def test_what_was_loaded_goes_with_the_loader(tmp_path: Path) -> None:
    opened = cache(tmp_path)
    loader = loaded_by(opened, MIB)
    first = loader.open(dense())
    assert loader.open(dense()) is first
    loader.close()
    loader.close()
    again = loaded_by(opened, MIB)
    assert again.open(dense()) is not first
    again.close()


def test_handles_count_up_and_are_not_shared_by_graphs_and_contexts(nn: Nn) -> None:
    assert nn.by_name("model") == 0
    graph = nn.word(HANDLE)
    assert nn.call("init_execution_context", graph, HANDLE) == 0
    context = nn.word(HANDLE)
    assert nn.by_name("model") == 0
    assert (graph, context, nn.word(HANDLE)) == (1, 2, 3)
    assert nn.call("init_execution_context", context, HANDLE) == 1
    assert nn.call("compute", graph) == 1
    assert nn.set_input(graph, 0, X, F32) == 1


def test_sixteen_graphs_and_sixty_four_contexts_are_the_most(nn: Nn) -> None:
    assert [nn.by_name("model") for _ in range(17)] == [0] * 16 + [7]
    contexts = [nn.call("init_execution_context", 1, HANDLE) for _ in range(65)]
    assert contexts == [0] * 64 + [7]


def test_results_are_written_only_on_success(nn: Nn) -> None:
    nn.put(HANDLE, b"\xee" * 4)
    assert nn.by_name("other") == 8
    assert nn.call("init_execution_context", 77, HANDLE) == 1
    assert nn.get(HANDLE, 4) == b"\xee" * 4
    context = nn.context("model")
    nn.put(WRITTEN, b"\xee" * 4)
    assert nn.output(context)[0] == 5
    nn.set_input(context, 0, X, F32)
    nn.call("compute", context)
    assert nn.output(context, room=23)[0] == 7
    assert nn.get(WRITTEN, 4) == b"\xee" * 4


# ------------------------------------------------------------------ inputs and outputs


def test_a_tensor_is_copied_when_it_is_set(nn: Nn) -> None:
    context = nn.context("model")
    assert nn.set_input(context, 0, X, F32) == 0
    nn.put(DATA, bytes(X.nbytes))
    assert nn.call("compute", context) == 0
    assert nn.output(context) == (0, reference(X))


def test_inputs_may_change_their_shape_and_stay_set(nn: Nn) -> None:
    context = nn.context("model")
    for rows in (X[:1], X, X[:1], np.concatenate([X, X])):
        assert nn.set_input(context, 0, rows, F32) == 0
        for _ in range(4):
            assert nn.call("compute", context) == 0
            assert nn.output(context) == (0, reference(rows))


def test_an_answer_is_not_touched_by_the_next_input(tmp_path: Path) -> None:
    nn = Nn(sessions(tmp_path, same=typed(TensorProto.FLOAT, ["N"])))
    context = nn.context("same")
    for _ in range(4):
        nn.set_input(context, 0, X[0], F32)
        nn.call("compute", context)
        nn.set_input(context, 0, X[1], F32)
        assert nn.output(context) == (0, X[0].tobytes())


def test_contexts_of_one_graph_do_not_share_tensors(nn: Nn) -> None:
    first, second = nn.context("model"), nn.context("model")
    nn.set_input(first, 0, X[:1], F32)
    nn.set_input(second, 0, X[1:], F32)
    assert nn.call("compute", first) == nn.call("compute", second) == 0
    assert nn.output(first) == (0, reference(X[:1]))
    assert nn.output(second) == (0, reference(X[1:]))


def test_nothing_is_computed_before_every_input_is_set(nn: Nn) -> None:
    context = nn.context("scaled")
    assert nn.call("compute", context) == 1
    nn.set_input(context, 0, X, F32)
    assert nn.call("compute", context) == 1
    assert nn.output(context)[0] == 5
    nn.set_input(context, 1, np.array([2], np.float32), F32)
    assert nn.call("compute", context) == 0


@pytest.mark.parametrize("dims", [[], [1]])
def test_scalars_may_be_written_as_one_element(nn: Nn, dims: list[int]) -> None:
    context = nn.context("scaled")
    nn.set_input(context, 0, X, F32)
    nn.tensor(np.array(3, np.float32), F32, dims=dims)
    assert nn.call("set_input", context, 1, TENSOR) == 0
    assert nn.call("compute", context) == 0
    assert nn.output(context) == (0, (X * 3).astype(np.float32).tobytes())


@pytest.mark.parametrize(
    ("dtype", "element", "current", "legacy"),
    [
        ("float16", TensorProto.FLOAT16, 0, 0),
        ("float32", TensorProto.FLOAT, 1, 1),
        ("float64", TensorProto.DOUBLE, 2, None),
        ("uint8", TensorProto.UINT8, 3, 2),
        ("int32", TensorProto.INT32, 4, 3),
        ("int64", TensorProto.INT64, 5, None),
        ("bool", TensorProto.BOOL, 16, None),
    ],
)
def test_types_of_both_tables_are_taken_if_they_are_the_models(
    tmp_path: Path, dtype: str, element: int, current: int, legacy: int | None
) -> None:
    nn = Nn(sessions(tmp_path, same=typed(element, [4])))
    context = nn.context("same")
    array = np.array([1, 0, 1, 1], dtype)
    for number in range(20):
        errno = nn.set_input(context, 0, array, number)
        assert errno == (0 if number in (current, legacy) else 1), number
    assert nn.call("compute", context) == 0
    assert nn.output(context) == (0, array.tobytes())


def test_flags_become_zero_or_one(tmp_path: Path) -> None:
    nn = Nn(sessions(tmp_path, same=typed(TensorProto.BOOL, [4])))
    context = nn.context("same")
    assert nn.set_input(context, 0, np.array([0, 2, 255, 1], np.uint8), 16) == 0
    assert nn.call("compute", context) == 0
    assert nn.output(context) == (0, b"\0\1\1\1")


def test_data_need_not_be_aligned(nn: Nn) -> None:
    context = nn.context("model")
    nn.tensor(X, F32, data=DATA + 1)
    assert nn.call("set_input", context, 0, TENSOR) == 0
    assert nn.call("compute", context) == 0
    assert nn.output(context) == (0, reference(X))


def test_records_are_checked(nn: Nn) -> None:
    context = nn.context("model")
    assert nn.call("set_input", context, 1, TENSOR) == 1
    assert nn.call("set_input", context, 0, FAR) == 1
    for changes, errno in (
        ({"size": 31}, 1),
        ({"dims": [2, 5]}, 1),
        ({"dims": [2**31, 2**31, 4]}, 1),  # a product that would wrap
        ({"dims": [0, 2**32 - 1, 2**32 - 1, 2**32 - 1], "size": 0}, 1),
        ({"dims": [0, 4], "size": 0}, 0),
        ({"dims": [1] * 14 + [2, 4]}, 0),
        ({"dims": [1] * 17}, 7),
    ):
        nn.tensor(X, F32, **changes)  # type: ignore[arg-type]  # a table of keyword arguments
        assert nn.call("set_input", context, 0, TENSOR) == errno, changes
    for offset in (0, 12):
        nn.tensor(X, F32)
        nn.put(TENSOR + offset, FAR.to_bytes(4, "little"))
        assert nn.call("set_input", context, 0, TENSOR) == 1


def test_a_failed_run_leaves_no_answer_and_the_context_usable(nn: Nn) -> None:
    context = nn.context("model")
    nn.set_input(context, 0, X, F32)
    assert nn.call("compute", context) == 0
    nn.set_input(context, 0, np.zeros((1, 5), np.float32), F32)
    with pytest.raises(ModelFailed):
        nn.call("compute", context)
    assert nn.output(context)[0] == 5
    nn.set_input(context, 0, X, F32)
    assert nn.call("compute", context) == 0
    assert nn.output(context) == (0, reference(X))


def test_a_run_that_fails_once_does_not_spoil_those_that_were_quick(tmp_path: Path) -> None:
    rows = model(
        [helper.make_node("Gather", ["w", "x"], ["y"])],
        {"x": (TensorProto.INT64, ["N"])},
        {"y": (TensorProto.FLOAT, ["N"])},
        {"w": X[0]},
    )
    nn = Nn(sessions(tmp_path, rows=rows))
    context = nn.context("rows")
    good, bad = np.array([3, 1], np.int64), np.array([3, 9], np.int64)
    for _ in range(3):
        for _ in range(3):
            nn.set_input(context, 0, good, 5)
            assert nn.call("compute", context) == 0
            assert nn.output(context) == (0, X[0][good].tobytes())
        nn.set_input(context, 0, bad, 5)
        with pytest.raises(ModelFailed):
            nn.call("compute", context)
        assert nn.output(context)[0] == 5


def test_answers_of_no_fixed_size_are_as_long_as_they_are(tmp_path: Path) -> None:
    found = model(
        [helper.make_node("NonZero", ["x"], ["y"])],
        {"x": (TensorProto.FLOAT, [4])},
        {"y": (TensorProto.INT64, [1, "K"])},
    )
    nn = Nn(sessions(tmp_path, found=found))
    context = nn.context("found")
    for flags in ([0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 0], [0, 1, 1, 1]):
        x = np.array(flags, np.float32)
        nn.set_input(context, 0, x, F32)
        assert nn.call("compute", context) == 0
        assert nn.output(context) == (0, np.array(np.nonzero(x)).tobytes())


def test_a_model_whose_answer_is_not_of_its_declared_size_is_run_all_the_same(
    tmp_path: Path,
) -> None:
    lying = model(
        [helper.make_node("Compress", ["x", "keep"], ["y"])],
        {"x": (TensorProto.FLOAT, ["N"]), "keep": (TensorProto.BOOL, ["N"])},
        {"y": (TensorProto.FLOAT, ["N"])},
    )
    nn = Nn(sessions(tmp_path, lying=lying))
    context = nn.context("lying")
    nn.set_input(context, 0, X[0], F32)
    for keep in ([1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 0, 0], [1, 0, 1, 1]):
        flags = np.array(keep, bool)
        nn.set_input(context, 1, flags, 16)
        assert nn.call("compute", context) == 0
        assert nn.output(context) == (0, X[0][flags].tobytes())


def test_outputs_are_checked(nn: Nn) -> None:
    context = nn.context("model")
    nn.set_input(context, 0, X, F32)
    nn.call("compute", context)
    assert nn.output(context, 1)[0] == 1
    assert nn.output(context, room=23)[0] == 7
    assert nn.output(context, room=24) == (0, reference(X))
    assert nn.output(context, room=0xFFFF_FFFF) == (0, reference(X))
    assert nn.call("get_output", context, 0, FAR, 24, WRITTEN) == 1
    assert nn.call("get_output", context, 0, OUT, 24, FAR) == 1
    assert nn.call("get_output", 99, 0, OUT, 24, WRITTEN) == 1


def test_an_endless_model_ends_at_the_deadline(nn: Nn) -> None:
    context = nn.context("endless")
    nn.set_input(context, 0, X, F32)
    nn.call_seconds = 0.05
    with pytest.raises(TimeLimit):
        nn.call("compute", context)


def test_what_the_host_keeps_for_a_guest_is_bounded(tmp_path: Path) -> None:
    big = np.zeros(4000, np.float32)
    nn = Nn(sessions(tmp_path, same=typed(TensorProto.FLOAT, ["N"])), bytes_max=3 * big.nbytes)
    contexts = [nn.context("same") for _ in range(3)]
    assert nn.set_input(contexts[0], 0, big, F32) == 0
    assert nn.set_input(contexts[1], 0, big, F32) == 0
    assert nn.call("compute", contexts[0]) == 0
    assert nn.set_input(contexts[2], 0, big, F32) == 7
    assert nn.call("compute", contexts[1]) == 7
    assert nn.output(contexts[1])[0] == 5
    assert nn.set_input(contexts[1], 0, big[:1], F32) == 0
    assert nn.set_input(contexts[2], 0, big[:1000], F32) == 0


def test_without_a_memory_nothing_can_be_done(nn: Nn) -> None:
    arguments = {"load": 5, "load_by_name": 3, "init_execution_context": 2, "set_input": 3}
    calls = nn.host.calls()
    for name, count in (arguments | {"get_output": 5}).items():
        assert calls[name](None, *[1] * count) == 3
