"""The only file that imports onnxruntime, and not before a model is really opened.

What is set on every session, and why: external data are looked for in an empty folder (a model
must never read a file of ours), memory comes from an arena with a bound (`model_memory`), only the
ONNX format is read (onnxruntime's own format would pass by our scan), errors are returned and not
printed, and a failing accelerator is not silently replaced behind our back.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from meshnode.errors import MissingPart, ModelFailed
from meshnode.runtime import model_memory

if TYPE_CHECKING:
    from types import ModuleType

    from onnxruntime import InferenceSession, RunOptions, SessionOptions

Place = tuple[str, str, tuple[int, ...], int]
"""A tensor that lies somewhere: its name, dtype, shape and address."""

SEVERITY_FATAL = 4
Provider = str | tuple[str, dict[str, str]]
"""An execution provider by name, or with its options."""
MESSAGE_CHARS_MAX = 300
_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : (\w+) : ")


@cache
def _onnxruntime() -> "ModuleType":
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPart(
            "onnxruntime is not installed here", try_="pip install onnxruntime"
        ) from error
    onnxruntime.set_default_logger_severity(SEVERITY_FATAL)
    onnxruntime.create_and_register_allocator(
        onnxruntime.OrtMemoryInfo(
            "Cpu",
            onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
            0,
            onnxruntime.OrtMemType.DEFAULT,
        ),
        onnxruntime.OrtArenaCfg(model_memory.arena()),
    )
    module: ModuleType = onnxruntime
    return module


def available_providers() -> list[str]:
    """Return the execution providers of this build of onnxruntime."""
    return list(_onnxruntime().get_available_providers())


def ep_devices() -> list[str]:
    """Return `PROVIDER:KIND` (cpu, gpu, npu) for each device listed; none before 1.22."""
    listed = getattr(_onnxruntime(), "get_ep_devices", None)
    if listed is None:
        return []
    return [f"{d.ep_name}:{d.device.type.name.lower()}" for d in listed()]


def openvino_devices() -> list[str] | None:
    """Return the devices that OpenVINO lists, or None if this build has no OpenVINO to ask."""
    _onnxruntime()
    from onnxruntime.capi import _pybind_state

    listed = getattr(_pybind_state, "get_available_openvino_device_ids", None)
    return None if listed is None else [str(device) for device in listed()]


def session_options(*, threads: int, spin: bool, empty_dir: Path) -> "SessionOptions":
    """Return the options of every session; `empty_dir` must be and stay empty."""
    options = _onnxruntime().SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = SEVERITY_FATAL
    for key, value in (
        ("session.model_external_initializers_file_folder_path", str(empty_dir)),
        ("session.load_model_format", "ONNX"),
        ("session.intra_op.allow_spinning", "1" if spin else "0"),
        ("session.use_env_allocators", "1"),
    ):
        options.add_session_config_entry(key, value)
    return options


def open_session(
    model: bytes, options: "SessionOptions", providers: Sequence[Provider]
) -> "InferenceSession":
    """Return a session, or raise ModelFailed with onnxruntime's reason."""
    try:
        session: InferenceSession = _onnxruntime().InferenceSession(
            model, options, providers=list(providers), enable_fallback=0
        )
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise ModelFailed(f"onnxruntime cannot load the model: {trimmed(error)}") from error
    first = providers[0] if isinstance(providers[0], str) else providers[0][0]
    if first not in session.get_providers():
        # It only logs, and goes on without, when a provider's own libraries are missing.
        raise ModelFailed(f"onnxruntime left {first} out: its libraries cannot be loaded")
    return session


def run_options() -> "RunOptions":
    """Return options for one run; setting its `terminate` from another thread ends the run."""
    options = _onnxruntime().RunOptions()
    options.log_severity_level = SEVERITY_FATAL
    return options


def bound_run(
    session: "InferenceSession", inputs: Sequence[Place], outputs: Sequence[Place]
) -> "Callable[[RunOptions], None]":
    """Return a function that runs a session from and to these addresses, on the CPU.

    The memory must stay where it is as long as the function is used. Raises ModelFailed if
    onnxruntime does not take one of them.
    """
    try:
        binding = session.io_binding()
        for name, dtype, shape, address in inputs:
            binding.bind_input(name, "cpu", 0, np.dtype(dtype).type, shape, address)
        for name, dtype, shape, address in outputs:
            binding.bind_output(name, "cpu", 0, np.dtype(dtype).type, shape, address)
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise ModelFailed(f"onnxruntime cannot bind: {trimmed(error)}") from error
    inner, places = getattr(session, "_sess", None), getattr(binding, "_iobinding", None)
    if inner is not None and places is not None:
        # The public method asks each time whether a WebGPU records the run: 30 us, for a run of 2.
        return partial(inner.run_with_iobinding, places)
    return partial(session.run_with_iobinding, binding)


def give_back() -> None:
    """Return the memory that no session needs any more to the system."""
    options = run_options()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    _identity().run(None, {"x": np.zeros(1, np.float32)}, options)


@cache
def _identity() -> "InferenceSession":
    options = _onnxruntime().SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.use_env_allocators", "1")
    return open_session(model_memory.IDENTITY, options, ["CPUExecutionProvider"])


def plain_run(
    model: bytes, inputs: Mapping[str, np.ndarray], *, threads: int = 0
) -> dict[str, np.ndarray]:
    """Return what onnxruntime itself answers: the reference our answers are compared with.

    For models one trusts; nothing is guarded.
    """
    onnxruntime = _onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def trimmed(error: BaseException) -> str:
    """Return an error in one line, without onnxruntime's prefix and source paths."""
    line = _PREFIX.sub("", " ".join(str(error).split()) or type(error).__name__)
    # C++ locations ("/onnxruntime_src/...cc:123 function ") help nobody here.
    line = re.sub(r"\S*/\S+\.(?:cc|h):\d+ ", "", line)
    return line[:MESSAGE_CHARS_MAX]
