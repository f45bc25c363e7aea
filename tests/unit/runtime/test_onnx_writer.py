import numpy as np
import onnx
from onnx import checker

from meshnode.runtime import ort
from meshnode.runtime.onnx_proto import check_model
from meshnode.runtime.onnx_writer import OPSET, Node, write_model

W = np.arange(12, dtype=np.float32).reshape(4, 3)


def written() -> bytes:
    return write_model(
        [
            Node(op="MatMul", inputs=("x", "w"), outputs=("h",)),
            Node(op="LeakyRelu", inputs=("h",), outputs=("r",), attributes={"alpha": 0.5}),
            Node(op="Transpose", inputs=("r",), outputs=("t",), attributes={"perm": (1, 0)}),
            Node(op="Flatten", inputs=("t",), outputs=("y",), attributes={"axis": -1}),
        ],
        inputs={"x": ("N", 4)},
        outputs={"y": (3, "N")},
        weights={"w": W},
    )


def test_what_is_written_is_valid_for_the_onnx_package() -> None:
    model = onnx.load_from_string(written())
    checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == OPSET
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


def test_our_own_reader_accepts_it() -> None:
    assert check_model(written()).opset == OPSET


def test_onnxruntime_computes_what_was_meant() -> None:
    x = np.array([[1, -1, 2, 0], [0, 0, -1, 1]], np.float32)
    h = x @ W
    wanted = np.where(h >= 0, h, h / 2).T
    assert np.array_equal(ort.plain_run(written(), {"x": x})["y"], wanted)
