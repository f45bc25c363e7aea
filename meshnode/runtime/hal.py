"""The host's side of the guest ABI: the few functions a guest may import. Nothing else exists.

Rules for every function here: it never raises into the guest (a pointer outside the memory is
errno 1), it copies or finishes with what it reads before it returns, and every count has a bound.
What went wrong on our side of a call is kept as `fault`, so that the request fails with the real
reason and not with the status the guest makes of it. `docs/guest-abi.md` is the specification.
"""

import logging
from collections.abc import Callable, Iterable
from math import prod
from time import perf_counter

import numpy as np

from meshnode.caps import GUEST_MASK, Caps
from meshnode.errors import MeshnodeError, ModelFailed
from meshnode.modules.manifest import ITEM_BYTES
from meshnode.runtime.abi import (
    ANY_DIM,
    IMPORTS,
    LOG_LINE_BYTES_MAX,
    MODEL_NAME_BYTES_MAX,
    MODELS_OPEN_MAX,
    NN_MODULE,
    RECORD,
    TENSOR_TYPES,
    U32_MASK,
    WASI_MODULE,
    Errno,
)
from meshnode.runtime.binding import GuestMemory, HostCall, HostImport
from meshnode.runtime.nn import NnHost
from meshnode.runtime.nn_loader import Loader
from meshnode.runtime.one_shot import OneShot
from meshnode.runtime.providers import detect_caps as detect_caps
from meshnode.runtime.providers import with_interfaces as with_interfaces
from meshnode.runtime.records import Record as Record
from meshnode.runtime.records import read_array as read_array
from meshnode.runtime.records import write_arrays as write_arrays
from meshnode.runtime.sessions import ModelSession, Sessions
from meshnode.runtime.wasi import WasiErrno, WasiHost
from meshnode.runtime.wasi_stdio import Stdio

_log = logging.getLogger("meshnode.guest")
_LEVELS = {0: logging.DEBUG, 1: logging.INFO, 2: logging.WARNING, 3: logging.WARNING}
"""A guest has no errors that are ours: its level 3 is a warning here."""


class Hal:
    """The host functions of one instance, with the models it may open."""

    def __init__(
        self,
        name: str,
        caps: Caps,
        sessions: Sessions,
        *,
        log_lines_max: int,
        loader: Loader | None = None,
        stdio: Stdio | None = None,
        now: Callable[[], float] = perf_counter,
    ) -> None:
        """`loader` is None unless the module may bring models of its own; `now` is the clock that
        deadlines are in."""
        self._name = name
        self._caps = caps
        self._sessions = sessions
        self._log_lines_max = log_lines_max
        self._opened: dict[int, ModelSession] = {}
        """By handle: 1, 2, ... never used again."""
        self._one_shot = OneShot()
        self._log_lines = 0
        self._deadline = 0.0
        self.fault: MeshnodeError | None = None
        """Why a model run failed in the call at hand; None if none did."""
        self.model_s = 0.0
        """Time spent on models; whoever reads it subtracts what it was before."""
        self._loader = loader
        self._stdio = stdio or Stdio(seed=name.encode())
        self._now = now
        self.wasi: WasiHost | None = None
        """None unless the guest imports WASI."""

    @property
    def exit_status(self) -> int | None:
        """What a guest with WASI ended itself with; None if it did not."""
        return self._stdio.exit_status

    def close(self) -> None:
        """The instance has ended: let go of what was opened for it. Twice is harmless."""
        if self.wasi is not None:
            self.wasi.finish()
        if self._loader is not None:
            self._loader.close()

    def begin(self, deadline: float) -> None:
        """A call into the guest begins; it must be over at `deadline` (the ticker's time)."""
        if self.wasi is not None:
            self.wasi.begin(deadline)
        self._deadline = deadline
        self._log_lines = 0
        self.fault = None

    def imports(self, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], HostImport]:
        """Return the functions a guest imports; preflight has checked that all exist."""
        calls: dict[str, HostCall] = {
            "query_caps": self._query_caps,
            "log": self._write_log,
            "model_open": self._model_open,
            "describe": self._describe,
            "infer": self._infer,
        }
        wanted = tuple(wanted)
        modules = {module for module, _ in wanted}
        nn = self._nn_calls() if NN_MODULE in modules else {}
        wasi = self._wasi_calls() if WASI_MODULE in modules else {}
        found = {}
        for key in wanted:
            module, name = key
            if module == WASI_MODULE:
                call = self._guarded(wasi[name], WasiErrno.IO)
            else:
                call = self._guarded(nn[name] if module == NN_MODULE else calls[name])
            found[key] = HostImport(IMPORTS[key].signature, call)
        return found

    def _nn_calls(self) -> dict[str, HostCall]:
        models = self._sessions if self._caps & Caps.NN else None
        return NnHost(models, self._work, self._loader).calls()

    def _wasi_calls(self) -> dict[str, HostCall]:
        self.wasi = WasiHost(self._stdio, self._log_line, self._now)
        self.wasi.begin(self._deadline)
        return self.wasi.calls()

    def _guarded(self, call: HostCall, failed: int = Errno.RUNTIME_ERROR) -> HostCall:
        def guarded(memory: GuestMemory | None, *args: int) -> int | None:
            try:
                return call(memory, *args)
            except Exception as error:  # nothing may be raised into the binding
                self._failed(error)
                return failed

        # A function without a result must not return one, and the one that is called for each
        # request saves a call: both are guarded by themselves, and `proc_exit` means to raise.
        bare = (self._write_log, self._infer, self.wasi and self.wasi.proc_exit)
        return call if call in bare else guarded

    def _failed(self, error: Exception) -> int:
        if isinstance(error, MeshnodeError):
            self.fault = error
        else:
            self._log_lines += 1
            if self._log_lines <= self._log_lines_max:  # a guest may call for ever
                _log.error("host function failed for %s", self._name, exc_info=error)
            self.fault = ModelFailed(f"a host function failed: {type(error).__name__}")
        return Errno.RUNTIME_ERROR

    # ------------------------------------------------------------------ small ones

    def _query_caps(self, _: GuestMemory | None) -> int:
        return int(self._caps) & GUEST_MASK

    def _write_log(self, memory: GuestMemory | None, level: int, pointer: int, size: int) -> None:
        text = memory.slice(pointer, min(size, LOG_LINE_BYTES_MAX)) if memory else None
        self._log_line(level, b"" if text is None else text.tobytes())

    def _log_line(self, level: int, text: bytes) -> None:
        self._log_lines += 1
        if not text or self._log_lines > self._log_lines_max:
            return
        if _log.isEnabledFor(severity := _LEVELS.get(level, logging.INFO)):
            # Escaped: a guest must not forge lines or speak to a terminal.
            line = text.decode("utf-8", "replace").encode("unicode_escape").decode()
            _log.log(severity, "%s: %s", self._name, line)

    def _model_open(self, memory: GuestMemory | None, pointer: int, size: int) -> int:
        """Return a handle, or a negative errno."""
        if memory is None:
            return -Errno.MISSING_MEMORY
        raw = memory.slice(pointer, size) if size <= MODEL_NAME_BYTES_MAX else None
        if raw is None:
            return -Errno.INVALID_ARGUMENT
        session = self._sessions.get(raw.tobytes().decode("utf-8", "replace"))
        if session is None:
            return -(Errno.NOT_FOUND if self._caps & Caps.NN else Errno.UNSUPPORTED_OPERATION)
        if len(self._opened) >= MODELS_OPEN_MAX:
            return -Errno.TOO_LARGE
        handle = len(self._opened) + 1
        self._opened[handle] = session
        return handle

    def _describe(
        self, memory: GuestMemory | None, handle: int, direction: int, index: int, pointer: int
    ) -> int:
        """Write the type and shape of a model's input (direction 0) or output (1)."""
        session = self._opened.get(handle)
        record = memory.slice(pointer, RECORD.size) if memory else None
        if memory is None or session is None or record is None or direction > 1:
            return Errno.INVALID_ARGUMENT
        tensors = session.outputs if direction else session.inputs
        if index >= len(tensors):
            return Errno.INVALID_ARGUMENT
        tensor = tensors[index]
        # A model may declare what 32 bits do not hold; no guest could have such a tensor.
        dims = [d if isinstance(d, int) and 0 <= d < ANY_DIM else ANY_DIM for d in tensor.shape]
        size = 0 if ANY_DIM in dims else prod(dims) * ITEM_BYTES[tensor.dtype]
        size = size if size <= U32_MASK else 0
        dims_pointer, room, _, data_pointer, _ = RECORD.unpack_from(record.data)
        if fits := len(dims) <= room:
            target = memory.slice(dims_pointer, 4 * len(dims))
            if target is None:
                return Errno.INVALID_ARGUMENT
            target[:] = np.array(dims, np.uint32).view(np.uint8)
        number = TENSOR_TYPES[tensor.dtype]
        RECORD.pack_into(record.data, 0, dims_pointer, len(dims), number, data_pointer, size)
        return Errno.SUCCESS if fits else Errno.TOO_LARGE

    def _infer(self, memory: GuestMemory | None, handle: int, *tensors: int) -> int:
        """Run a model on arrays of tensor records: in*, n_in, out*, n_out."""
        session = self._opened.get(handle)
        if memory is None or session is None:
            return Errno.INVALID_ARGUMENT
        started = perf_counter()
        try:
            return self._one_shot.run(memory, session, tensors, self._deadline)
        except Exception as error:
            return self._failed(error)
        finally:
            self.model_s += perf_counter() - started

    def _work(self, work: Callable[[float], None]) -> None:
        """Run a model for wasi-nn."""
        started = perf_counter()
        try:
            work(self._deadline)
        finally:
            self.model_s += perf_counter() - started
