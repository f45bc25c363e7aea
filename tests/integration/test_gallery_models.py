"""Gallery: models that read files, never end, want all memory, or lie about what they answer."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from time import perf_counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper

from meshnode.errors import MeshnodeError, ModelFailed, ModuleFailed, TimeLimit, UnreadableModel
from meshnode.modules.manifest import Limits, Manifest, TensorSpec
from meshnode.runtime import model_memory
from meshnode.runtime.runtime import LoadedModule
from meshnode.wire.limits import MIB
from tests.integration.gallery import OVERRUN_S, ROW, Node, answered, asked, failed, limited
from tests.unit.runtime.support import dense, dist, endless, model, ref

pytestmark = pytest.mark.integration
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
SECRET = b"a secret that is long enough for a whole tensor."
RUN_MS = 100
X4, Y4 = {"x": (FLOAT, ["N", 4])}, {"y": (FLOAT, ["N", 4])}


def around(
    data: bytes, *, out: tuple[int, ...] = (-1, 4), dtype: str = "float32", run_ms: int = RUN_MS
) -> Manifest:
    """The manifest of a model that the shipped runner serves."""
    return limited(
        abi="infer",
        models=(ref(data),),
        outputs=(TensorSpec(name="y", dtype=dtype, shape=out),),
        limits=Limits(memory_bytes=4 * MIB, run_ms=run_ms, output_bytes=MIB),
    )


def loaded(node: Node, data: bytes, **about: object) -> LoadedModule:
    return node.load(dist("onnx-runner"), around(data, **about), {"model": data})


# ------------------------------------------------------------------ files


def away(name: str, location: str) -> TensorProto:
    tensor = helper.make_tensor(name, FLOAT, [1, 4], SECRET[:16], raw=True)
    external_data_helper.set_external_data(tensor, location=location, offset=0, length=16)
    tensor.ClearField("raw_data")
    return tensor


def as_initializer(location: str) -> onnx.ModelProto:
    return built([helper.make_node("Add", ["x", "w"], ["y"])], [away("w", location)])


def as_constant(location: str) -> onnx.ModelProto:
    hidden = helper.make_node("Constant", [], ["w"], value=away("w", location))
    return built([hidden, helper.make_node("Add", ["x", "w"], ["y"])])


def in_a_branch(location: str) -> onnx.ModelProto:
    def branch(name: str) -> onnx.GraphProto:
        node = helper.make_node("Constant", [], [name], value=away(name, location))
        out = helper.make_tensor_value_info(name, FLOAT, [1, 4])
        return helper.make_graph([node], name, [], [out])

    yes = helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("t", BOOL, [], [True]))
    chosen = helper.make_node(
        "If", ["yes"], ["w"], then_branch=branch("a"), else_branch=branch("b")
    )
    return built([yes, chosen, helper.make_node("Add", ["x", "w"], ["y"])])


def in_a_function(location: str) -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["w"], value=away("w", location))
    function = helper.make_function(
        "mine", "F", ["x"], ["y"],
        [node, helper.make_node("Add", ["x", "w"], ["y"])], [helper.make_opsetid("", 17)],
    )  # fmt: skip
    proto = built([helper.make_node("F", ["x"], ["y"], domain="mine")])
    proto.functions.append(function)
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    return proto


def built(nodes: list[onnx.NodeProto], weights: list[TensorProto] | None = None) -> onnx.ModelProto:
    proto = onnx.load_from_string(model(nodes, X4, Y4))
    proto.graph.initializer.extend(weights or [])
    return proto


@pytest.mark.parametrize("place", [as_initializer, as_constant, in_a_branch, in_a_function])
@pytest.mark.parametrize(
    "location",
    ["secret.bin", "./secret.bin", "../here/secret.bin", "{here}/secret.bin", "/dev/zero"],
)
def test_a_model_with_external_data_is_refused_wherever_they_hide(
    node: Node,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: Callable[[str], onnx.ModelProto],
    location: str,
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "secret.bin").write_bytes(SECRET)
    monkeypatch.chdir(here)
    data = place(location.format(here=here)).SerializeToString()
    with pytest.raises(UnreadableModel, match="keeps its data in another file"):
        loaded(node, data)


def test_the_field_of_external_data_cannot_be_hidden_by_a_longer_number(node: Node) -> None:
    """A parser that cuts a field's number to 32 bits would still find it: so is it refused."""
    plain = as_initializer("secret.bin").SerializeToString()
    tag, long_tag = b"\x6a", b"\xea\x80\x80\x80\x10"  # external_data: 13 << 3 | 2, and + 2^32
    at = plain.index(tag + b"\x16") if tag + b"\x16" in plain else plain.index(b"location") - 4
    assert plain[at : at + 1] == tag
    with pytest.raises(UnreadableModel):
        loaded(node, plain[:at] + long_tag + plain[at + 1 :])
    with pytest.raises(UnreadableModel, match="not an ONNX file"):
        loaded(node, long_tag + b"\0" + dense())


# ------------------------------------------------------------------ time


def nested() -> bytes:
    """An endless Loop inside an endless Loop."""
    inner = onnx.load_from_string(endless()).graph.node[0]
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["more"], ["on"]),
            helper.make_node("Loop", ["trips", "yes", "u"], ["u_out"], body=inner.attribute[0].g),
        ],
        "outer",
        [
            helper.make_tensor_value_info("j", INT64, []),
            helper.make_tensor_value_info("more", BOOL, []),
            helper.make_tensor_value_info("u", FLOAT, [None, 4]),
        ],
        [
            helper.make_tensor_value_info("on", BOOL, []),
            helper.make_tensor_value_info("u_out", FLOAT, [None, 4]),
        ],
    )
    return model(
        [helper.make_node("Loop", ["trips", "yes", "x"], ["y"], body=body)],
        X4,
        Y4,
        {"trips": np.array(2**60, np.int64), "yes": np.array(True)},
    )


@pytest.mark.parametrize("make", [endless, nested])
def test_a_model_that_never_ends_is_stopped_at_its_modules_limit(
    node: Node, make: Callable[[], bytes]
) -> None:
    module = loaded(node, make())
    for _ in range(2):
        started = perf_counter()
        error = failed(module)
        assert RUN_MS / 1000 <= perf_counter() - started < OVERRUN_S
        assert isinstance(error, TimeLimit)
        assert f"limit of {RUN_MS} ms" in error.message
        assert error.because == ("in a model that infer ran",)
    module.close()


# ------------------------------------------------------------------ memory


def constant_of(count: int) -> bytes:
    return model(
        [
            helper.make_node("ConstantOfShape", ["n"], ["c"]),
            helper.make_node("ReduceSum", ["c"], ["s"], keepdims=0),
            helper.make_node("Add", ["x", "s"], ["y"]),
        ],
        X4,
        Y4,
        {"n": np.array([count], np.int64)},
    )


@pytest.mark.parametrize("count", [2**40, 2**62, -1])
def test_a_constant_that_no_machine_holds_fails_the_request(node: Node, count: int) -> None:
    data = constant_of(count)
    try:
        module = loaded(node, data)
    except ModelFailed:
        return
    error = failed(module)
    assert isinstance(error, ModelFailed), error
    module.close()


def sized_by_its_request() -> bytes:
    """A model that makes a constant of as many elements as its largest input says."""
    return model(
        [
            helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
            helper.make_node("Cast", ["m"], ["i"], to=INT64),
            helper.make_node("Reshape", ["i", "one"], ["n"]),
            helper.make_node("ConstantOfShape", ["n"], ["c"]),
            helper.make_node("ReduceSum", ["c"], ["s"], keepdims=0),
            helper.make_node("Add", ["x", "s"], ["y"]),
        ],
        X4,
        Y4,
        {"one": np.array([1], np.int64)},
    )


def test_a_size_that_the_request_chooses_fails_that_request_alone(node: Node) -> None:
    module = loaded(node, sized_by_its_request())
    for elements in (2.0**42, model_memory.bytes_max() / 2):  # of 4 bytes: twice what there may be
        error = failed(module, np.full((1, 4), elements, np.float32))
        assert isinstance(error, ModelFailed)
        assert "memory" in error.message
    assert np.array_equal(answered(module, np.full((1, 4), 3, np.float32)), np.full((1, 4), 3))
    module.close()


def test_memory_that_a_model_took_is_given_back_when_it_is_unloaded(node: Node) -> None:
    def resident_mib() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20

    data = sized_by_its_request()
    module = loaded(node, data, run_ms=20_000)
    answered(module, np.full((1, 4), 50 * MIB, np.float32))  # 200 MiB
    held = resident_mib()
    module.close()
    assert resident_mib() < held - 150


# ------------------------------------------------------------------ lies


def test_an_operator_of_an_unknown_domain_is_refused(node: Node) -> None:
    for domain in ("strange.corp", "com.microsoft.unheard", "ai.onnx.none"):
        proto = onnx.load_from_string(
            model([helper.make_node("Steal", ["x"], ["y"], domain=domain)], X4, Y4)
        )
        proto.opset_import.append(helper.make_opsetid(domain, 1))
        with pytest.raises(ModelFailed, match="cannot load the model"):
            loaded(node, proto.SerializeToString())
    with pytest.raises(ModelFailed):
        loaded(node, model([helper.make_node("NoSuchOp", ["x"], ["y"])], X4, Y4))


def test_a_model_for_one_device_alone_is_refused(node: Node) -> None:
    data = model([helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")], X4, Y4)
    with pytest.raises(UnreadableModel, match="EPContext"):
        loaded(node, data)


@pytest.mark.parametrize("out", [(-1, 3), (-1, 4, 1), (2, 4), ()])
def test_a_shape_other_than_the_declared_one_fails(node: Node, out: tuple[int, ...]) -> None:
    """The manifest promises one thing, the model does another: nobody gets the wrong shape."""
    module = loaded(node, model([helper.make_node("Identity", ["x"], ["y"])], X4, Y4), out=out)
    error = failed(module)
    assert isinstance(error, ModuleFailed)
    module.close()


def test_a_type_other_than_the_declared_one_fails(node: Node) -> None:
    data = model([helper.make_node("Cast", ["x"], ["y"], to=INT64)], X4, {"y": (INT64, ["N", 4])})
    error = failed(loaded(node, data))
    assert isinstance(error, ModuleFailed)
    assert "int64" in error.message


def test_a_file_that_lies_about_its_own_shape_never_answers_with_it(node: Node) -> None:
    lying = model([helper.make_node("Flatten", ["x"], ["y"], axis=0)], X4, {"y": (FLOAT, [7, 9])})
    open_lie = model([helper.make_node("NonZero", ["x"], ["y"])], X4, {"y": (INT64, [2, "N"])})
    larger = model(
        [helper.make_node("Concat", ["x"] * 50, ["y"], axis=0)], X4, {"y": (FLOAT, [1, 4])}
    )
    for data, out, dtype in (
        (lying, (7, 9), "float32"),
        (open_lie, (2, 9), "int64"),
        (larger, (1, 4), "float32"),
    ):
        module = loaded(node, data, out=out, dtype=dtype)
        for _ in range(3):
            assert isinstance(failed(module), (ModuleFailed, ModelFailed))
        module.close()


def test_inputs_the_model_does_not_take_fail_and_the_next_request_works(node: Node) -> None:
    data = dense(size=4, out=4)
    module = loaded(node, data)
    wide = node.load(
        dist("onnx-runner"),
        limited(
            abi="infer",
            models=(ref(data),),
            inputs=(TensorSpec(name="x", dtype="float32", shape=(-1, -1)),),
        ),
        {"model": data},
    )
    assert isinstance(failed(wide, np.ones((1, 5), np.float32)), ModelFailed)
    assert answered(wide, ROW).tobytes() == answered(module, ROW).tobytes()
    wide.close()
    module.close()


def test_an_answer_over_the_cap_fails_and_is_not_kept(node: Node) -> None:
    data = model(
        [helper.make_node("Tile", ["x", "often"], ["y"])],
        X4,
        Y4,
        {"often": np.array([100_000, 1], np.int64)},
    )
    module = loaded(node, data)
    error = failed(module)
    assert error.code == "MN-405"
    assert str(MIB) in error.message
    assert module.memory_bytes <= 4 * MIB + len(data)
    module.close()


# ------------------------------------------------------------------ bytes that are none


def test_mutated_models_are_refused_or_run(node: Node) -> None:
    """A changed byte may make another model; whatever it makes, the node goes on."""
    whole = dense(out=4)
    rng = Random(400)
    for _ in range(300):
        changed = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        data = bytes(changed)[: rng.choice((len(whole), len(whole), rng.randrange(len(whole))))]
        try:
            module = loaded(node, data)
        except MeshnodeError:
            continue
        asked(module)
        module.close()


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"ORTM" + bytes(200), b"\x08\x08" * 1000, dense()[::-1], b"\x1f\x8b\x08\0"]
)
def test_what_is_no_model_is_refused(node: Node, data: bytes) -> None:
    with pytest.raises(MeshnodeError):
        loaded(node, data)
