from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper

from meshnode.errors import UnreadableModel
from meshnode.runtime import ort
from meshnode.runtime.onnx_file import inspect_model
from tests.unit.runtime.support import dense, endless, external, model

FLOAT = TensorProto.FLOAT


def test_a_dense_layer_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(dense())
    facts = inspect_model(path)
    assert facts == inspect_model(dense())
    assert [str(t) for t in facts.inputs] == ["x float32[?,4]"]
    assert [str(t) for t in facts.outputs] == ["y float32[?,3]"]
    assert facts.opset == 17
    assert facts.batch
    assert facts.self_test is not None
    x = np.frombuffer(facts.self_test.inputs[0], np.float32).reshape(1, 4)
    assert ort.plain_run(dense(), {"x": x})["y"].tobytes() == facts.self_test.outputs[0]


def test_a_fixed_first_size_is_no_batch() -> None:
    facts = inspect_model(dense(rows=1))
    assert facts.inputs[0].shape == (1, 4)
    assert not facts.batch
    assert facts.self_test is not None


def test_rows_that_see_each_other_are_no_batch() -> None:
    data = model(
        [helper.make_node("Softmax", ["x"], ["y"], axis=0)],
        {"x": (FLOAT, ["N", 4])},
        {"y": (FLOAT, ["N", 4])},
    )
    assert not inspect_model(data).batch


def embedded(*after: NodeProto) -> bytes:
    """Return a model that looks up the embeddings `e` of tokens, and goes on from there."""
    table = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    return model(
        [helper.make_node("Gather", ["table", "ids"], ["e"]), *after],
        {"ids": (TensorProto.INT64, ["batch", "length"])},
        {"y": (FLOAT, ["batch", "length", 8])},
        {"table": table},
    )


def test_tokens_quantised_by_the_range_of_a_batch_are_no_batch() -> None:
    data = embedded(
        helper.make_node("DynamicQuantizeLinear", ["e"], ["q", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    )
    assert not inspect_model(data).batch


def test_tokens_that_see_the_mean_of_a_batch_are_no_batch() -> None:
    data = embedded(
        helper.make_node("ReduceMean", ["e"], ["mean"], axes=[0]),
        helper.make_node("Sub", ["e", "mean"], ["y"]),
    )
    assert not inspect_model(data).batch


def test_a_model_that_refuses_the_unlike_rows_may_still_batch() -> None:
    """Its table ends before the sum of three ones, so that pair tells nothing."""
    data = model(
        [
            helper.make_node("Add", ["ids", "kinds"], ["both"]),
            helper.make_node("Add", ["both", "places"], ["sums"]),
            helper.make_node("Gather", ["table", "sums"], ["y"]),
        ],
        {name: (TensorProto.INT64, ["batch"]) for name in ("ids", "kinds", "places")},
        {"y": (FLOAT, ["batch", 8])},
        {"table": np.ones((3, 8), np.float32)},
    )
    assert inspect_model(data).batch


def test_differently_named_first_sizes_are_no_batch() -> None:
    data = model(
        [helper.make_node("Identity", ["a"], ["y"]), helper.make_node("Identity", ["b"], ["z"])],
        {"a": (FLOAT, ["N", 4]), "b": (FLOAT, ["M", 4])},
        {"y": (FLOAT, ["N", 4]), "z": (FLOAT, ["M", 4])},
    )
    assert not inspect_model(data).batch


def test_unnamed_first_sizes_are_tried_out() -> None:
    assert inspect_model(dense(rows=None)).batch


def test_token_inputs_and_open_lengths_are_handled() -> None:
    table = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    data = model(
        [
            helper.make_node("Gather", ["table", "ids"], ["e"]),
            helper.make_node("ReduceMean", ["e"], ["y"], axes=[1], keepdims=0),
        ],
        {"ids": (TensorProto.INT64, ["batch", "length"])},
        {"y": (FLOAT, ["batch", 8])},
        {"table": table},
    )
    facts = inspect_model(data)
    assert [str(t) for t in facts.inputs] == ["ids int64[?,?]"]
    assert facts.batch


def test_a_convolution_gets_an_input_large_enough() -> None:
    data = model(
        [helper.make_node("Conv", ["x", "k"], ["y"], kernel_shape=[5, 5])],
        {"x": (FLOAT, ["N", 1, "H", "W"])},
        {"y": (FLOAT, ["N", 1, "h", "w"])},
        {"k": np.ones((1, 1, 5, 5), np.float32)},
    )
    facts = inspect_model(data)
    assert facts.batch
    assert facts.self_test is None  # two open sizes that are not 1 cannot be told from a buffer


def test_an_output_size_that_does_not_hold_is_open() -> None:
    """Detectors are exported for one size of image; what they say of others is wrong."""
    data = model(
        [helper.make_node("Transpose", ["x"], ["y"])],
        {"x": (FLOAT, ["height", 3])},
        {"y": (FLOAT, [3, 12800])},
    )
    assert [str(t) for t in inspect_model(data).outputs] == ["y float32[3,?]"]


def test_an_output_with_more_rows_than_its_model_says_is_open() -> None:
    data = model(
        [helper.make_node("Neg", ["x"], ["y"])],
        {"x": (FLOAT, ["N", 4])},
        {"y": (FLOAT, [1, 4])},
    )
    facts = inspect_model(data)
    assert [str(t) for t in facts.outputs] == ["y float32[?,4]"]
    assert not facts.batch


def test_a_rank_that_nobody_knows_is_refused() -> None:
    unranked = model(
        [helper.make_node("Neg", ["x"], ["y"])], {"x": (FLOAT, None)}, {"y": (FLOAT, None)}
    )
    with pytest.raises(UnreadableModel, match="how many axes 'x' has"):
        inspect_model(unranked)
    reshaped = model(
        [helper.make_node("Reshape", ["x", "to"], ["y"])],
        {"x": (FLOAT, [5, 7]), "to": (TensorProto.INT64, ["rank"])},
        {"y": (FLOAT, None)},
    )
    with pytest.raises(UnreadableModel, match="how many axes 'y' has"):
        inspect_model(reshaped)


def test_a_rank_that_the_trial_shows_is_taken() -> None:
    data = model(
        [helper.make_node("Reshape", ["x", "to"], ["y"])],
        {"x": (FLOAT, ["N"]), "to": (TensorProto.INT64, ["rank"])},
        {"y": (FLOAT, None)},
    )
    assert [str(t) for t in inspect_model(data).outputs] == ["y float32[?]"]


def test_random_models_have_no_self_test() -> None:
    data = model(
        [
            helper.make_node("RandomNormalLike", ["x"], ["r"]),
            helper.make_node("Add", ["x", "r"], ["y"]),
        ],
        {"x": (FLOAT, ["N", 4])},
        {"y": (FLOAT, ["N", 4])},
    )
    facts = inspect_model(data)
    assert facts.self_test is None
    assert not facts.batch


def test_a_model_that_fails_its_trial_is_still_described() -> None:
    data = model(
        [helper.make_node("Gather", ["t", "i"], ["y"])],
        {"i": (TensorProto.INT64, [3]), "t": (FLOAT, [0, 4])},
        {"y": (FLOAT, [3, 4])},
    )
    facts = inspect_model(data)
    assert facts.self_test is None
    assert not facts.batch


def test_an_endless_model_does_not_hold_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshnode.runtime.onnx_file.TRIAL_S_MAX", 0.1)
    facts = inspect_model(endless())
    assert facts.self_test is None
    assert not facts.batch


def test_what_a_module_cannot_take_is_refused_by_name() -> None:
    with pytest.raises(UnreadableModel, match="tensor 'w' keeps its data in another file"):
        inspect_model(external("w.bin"))
    strings = model(
        [helper.make_node("Identity", ["words"], ["y"])],
        {"words": (TensorProto.STRING, ["N"])},
        {"y": (TensorProto.STRING, ["N"])},
    )
    with pytest.raises(UnreadableModel, match="'words' is a tensor"):
        inspect_model(strings)
    sequence = helper.make_model(
        helper.make_graph(
            [helper.make_node("SequenceConstruct", ["x"], ["s"])],
            "g",
            [helper.make_tensor_value_info("x", FLOAT, [1])],
            [helper.make_tensor_sequence_value_info("s", FLOAT, None)],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    with pytest.raises(UnreadableModel, match="'s' is a seq"):
        inspect_model(sequence.SerializeToString())


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableModel, match="cannot be read"):
        inspect_model(tmp_path / "none.onnx")
    for data in (b"", b"hello", b"PK\3\4zip", dense()[:-20]):
        with pytest.raises(UnreadableModel):
            inspect_model(data)
