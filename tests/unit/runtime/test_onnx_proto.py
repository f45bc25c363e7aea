import pytest
from onnx import TensorProto, external_data_helper, helper

from meshnode.errors import UnreadableModel
from meshnode.runtime.onnx_proto import check_model, scan_model
from tests.unit.runtime.support import dense, endless, external, model


def test_a_plain_model_is_read() -> None:
    scan = check_model(dense())
    assert scan.opset == 17
    assert not scan.external
    assert scan_model(endless()).opset == 17


def away(tensor: TensorProto, location: str) -> TensorProto:
    external_data_helper.set_external_data(tensor, location=location)
    tensor.ClearField("raw_data")
    return tensor


def constant(name: str) -> TensorProto:
    return helper.make_tensor(name, TensorProto.FLOAT, [1, 4], b"\0" * 16, raw=True)


def test_external_initializers_are_found() -> None:
    with pytest.raises(UnreadableModel, match="tensor 'w' keeps its data in another file"):
        check_model(external("secret.bin"))


def test_external_data_in_attributes_and_subgraphs_are_found() -> None:
    hidden = helper.make_node("Constant", [], ["c"], value=away(constant("hidden"), "../x"))
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["r"], value=away(constant("deep"), "/etc/passwd"))],
        "inner",
        [],
        [helper.make_tensor_value_info("r", TensorProto.FLOAT, [1, 4])],
    )
    nodes = [hidden, helper.make_node("If", ["q"], ["y"], then_branch=inner, else_branch=inner)]
    data = model(nodes, {"q": (TensorProto.BOOL, [])}, {"y": (TensorProto.FLOAT, [1, 4])})
    assert scan_model(data).external == ["hidden", "deep", "deep"]


def test_external_data_in_functions_are_found() -> None:
    function = helper.make_function(
        "mine",
        "F",
        [],
        ["c"],
        [helper.make_node("Constant", [], ["c"], value=away(constant("f"), "x"))],
        [helper.make_opsetid("", 17)],
    )
    graph = helper.make_graph([], "g", [], [])
    proto = helper.make_model(graph, functions=[function])
    assert scan_model(proto.SerializeToString()).external == ["f"]


def test_a_compiled_engine_is_refused() -> None:
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")
    data = model([node], {"x": (TensorProto.FLOAT, [1])}, {"y": (TensorProto.FLOAT, [1])})
    with pytest.raises(UnreadableModel, match="EPContext"):
        check_model(data)


@pytest.mark.parametrize(
    "data", [b"\xff", b"\x3a\xff\xff\xff\xff\x0f", b"\x3b", b"hello world", b"\x08" + b"\x80" * 11]
)
def test_what_is_not_protobuf_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableModel, match="not an ONNX file"):
        scan_model(data)
