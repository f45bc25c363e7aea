"""Plain onnxruntime sessions, to compare with: with the node's options, and with its own."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from meshnode.runtime import ort

Run = Callable[[Mapping[str, np.ndarray]], object]
CPU = ["CPUExecutionProvider"]


def guarded_run(model: bytes, empty_dir: Path) -> Run:
    """Return `session.run` with the options of a node: all cores, threads that do not spin."""
    empty_dir.mkdir(exist_ok=True)
    options = ort.session_options(threads=0, spin=False, empty_dir=empty_dir)
    session = ort.open_session(model, options, CPU)
    return lambda inputs: session.run(None, dict(inputs))


def default_run(model: bytes) -> Run:
    """Return `session.run` as onnxruntime comes: its threads spin while they wait."""
    session = onnxruntime.InferenceSession(model, providers=CPU)
    return lambda inputs: session.run(None, dict(inputs))
