"""Trains the demo's model on handwritten digits and writes it with its test data to `dist/`.

    python guests/models/digits/build.py            rewrite dist/digits* and MODELS.SHA256
    python guests/models/digits/build.py --check    train again and compare with dist/; exit 1 if
                                                    a byte differs (same machine and numpy only)

Takes a minute or two on one core. Needs the extra `model` (scikit-learn for its copy of the
images, onnx for the file format). `README.md` says where the data comes from.
"""

import argparse
import os
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
# Before numpy is imported: sums over several threads would differ from run to run.

import numpy as np
import onnx
import onnxruntime
from network import CHANNELS, PIXEL_MAX, Network, Schedule, train
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

HERE = Path(__file__).resolve().parent
DIST = HERE.parents[1] / "dist"
SUMS = "MODELS.SHA256"
SEED = 2025
HELD_OUT = 300
ACCURACY_MIN = 0.97
OPSET = 17
IR_VERSION = 8
"""Both old enough for any onnxruntime of the last years."""
MODEL, IMAGES, LABELS = "digits.onnx", "digits-test.images.npy", "digits-test.labels.npy"

Images = NDArray[np.float32]
Labels = NDArray[np.int64]


def split() -> tuple[Images, Labels, Images, Labels]:
    """Return images [n, 1, 8, 8] and labels to train with, then the held-out ones."""
    digits = load_digits()
    images = digits.images.astype(np.float32)[:, None]
    labels = digits.target.astype(np.int64)
    order = np.random.default_rng(SEED).permutation(len(labels))
    test, rest = order[:HELD_OUT], order[HELD_OUT:]
    return images[rest], labels[rest], images[test], labels[test]


def to_onnx(network: Network) -> bytes:
    """Return the network as an ONNX file: images [batch,1,8,8] to probabilities and label."""
    constants = [numpy_helper.from_array(np.array(1 / PIXEL_MAX, np.float32), "scale")]
    nodes = [helper.make_node("Mul", ["images", "scale"], ["x"])]
    flow, inputs = "x", 1
    for i, outputs in enumerate(CHANNELS):
        kernel = network.weights[f"conv{i}.w"].reshape(3, 3, inputs, outputs).transpose(3, 2, 0, 1)
        constants.append(numpy_helper.from_array(np.ascontiguousarray(kernel), f"conv{i}.w"))
        constants.append(numpy_helper.from_array(network.weights[f"conv{i}.b"], f"conv{i}.b"))
        names = [flow, f"conv{i}.w", f"conv{i}.b"]
        nodes.append(helper.make_node("Conv", names, [f"conv{i}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"conv{i}"], [f"relu{i}"]))
        flow, inputs = f"relu{i}", outputs
    side = int((len(network.weights["dense.w"]) // inputs) ** 0.5)
    dense = network.weights["dense.w"].reshape(side, side, inputs, -1).transpose(2, 0, 1, 3)
    dense = np.ascontiguousarray(dense.reshape(side * side * inputs, -1))
    constants.append(numpy_helper.from_array(dense, "dense.w"))
    constants.append(numpy_helper.from_array(network.weights["dense.b"], "dense.b"))
    nodes += [
        helper.make_node("MaxPool", [flow], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "dense.w", "dense.b"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
    ]
    return _file(nodes, constants)


def _file(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> bytes:
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 1, 8, 8])
    answers = [
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10]),
        helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
    ]
    graph = helper.make_graph(nodes, "digits", [images], answers, constants)
    model = helper.make_model(
        graph,
        producer_name="meshnode",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        doc_string=(
            "Handwritten digits, 8x8 pixels of 0 to 16. Trained on the UCI data set 'Optical "
            "Recognition of Handwritten Digits' (Alpaydin, Kaynak 1998), CC BY 4.0."
        ),
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def accuracy(model: bytes, images: Images, labels: Labels) -> float:
    """Return the share of right labels; raise if single and batched answers disagree."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    alone = [session.run(None, {"images": images[i : i + 1]}) for i in range(len(images))]
    together = [session.run(None, {"images": images[i : i + 8]}) for i in range(0, len(images), 8)]
    single, batched = (np.concatenate([p for p, _ in found]) for found in (alone, together))
    found = np.concatenate([label for _, label in alone])
    np.testing.assert_allclose(single, batched, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found, np.concatenate([label for _, label in together]))
    np.testing.assert_array_equal(found, single.argmax(axis=1))
    return float((found == labels).mean())


def build(into: Path) -> None:
    """Train, convert, test, and write every file and the digests into a folder."""
    images, labels, test_images, test_labels = split()
    network = train(images.transpose(0, 2, 3, 1), labels, seed=SEED, schedule=Schedule())
    model = to_onnx(network)
    reference = network.probabilities(test_images.transpose(0, 2, 3, 1)).argmax(axis=1)
    right = accuracy(model, test_images, test_labels)
    plain = (reference == test_labels).mean()
    print(f"held-out accuracy {right:.2%} of {HELD_OUT}; in numpy {plain:.2%}")
    if right < ACCURACY_MIN:
        raise SystemExit(f"below {ACCURACY_MIN:.0%}: nothing written")
    (into / MODEL).write_bytes(model)
    np.save(into / IMAGES, test_images, allow_pickle=False)
    np.save(into / LABELS, test_labels, allow_pickle=False)
    names = sorted((MODEL, IMAGES, LABELS))
    sums = [f"{sha256((into / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (into / SUMS).write_text("".join(sums))


def check() -> int:
    """Build in another folder and say what differs from `dist/`."""
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        names = (MODEL, IMAGES, LABELS, SUMS)
        stale = [n for n in names if (Path(folder) / n).read_bytes() != (DIST / n).read_bytes()]
    print(f"differs: {', '.join(stale)}" if stale else "dist/ is what this source makes here")
    return 1 if stale else 0


def main() -> int:
    """Build into `dist/`, or check it."""
    parser = argparse.ArgumentParser(description="Train the demo's model.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if parser.parse_args().check:
        return check()
    build(DIST)
    return 0


if __name__ == "__main__":
    sys.exit(main())
