"""Plain onnxruntime sessions to compare with, with the options of a node."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from meshnode.runtime import ort

Run = Callable[[Mapping[str, np.ndarray]], object]
CPU = ["CPUExecutionProvider"]


def guarded_run(model: bytes, empty_dir: Path) -> Run:
    """Return `session.run` with the options of a node: all cores, threads that do not spin."""
    empty_dir.mkdir(exist_ok=True)
    options = ort.session_options(threads=0, spin=False, empty_dir=empty_dir)
    session = ort.open_session(model, options, CPU)
    return lambda inputs: session.run(None, dict(inputs))
