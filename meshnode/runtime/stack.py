"""Sees to it that a guest finds the stack it may use: some threads have less than that.

wasmtime counts a guest's stack from where the call begins and does not ask what the thread has
left. On a thread of 512 KiB (macOS; musl gives 128) a guest that recurses runs into the guard page
before it meets its limit, and that ends the whole process. Such a thread hands its work to one
with more and waits.
"""

import ctypes
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from meshnode.runtime.engine import STACK_BYTES_MAX
from meshnode.wire.limits import KIB, MIB

T = TypeVar("T")
HOST_BYTES = 256 * KIB
"""For what runs above and below the guest: the interpreter, host functions, onnxruntime."""
STACK_BYTES_MIN = STACK_BYTES_MAX + HOST_BYTES
_BIG_BYTES = 4 * MIB
_known = threading.local()
_making = threading.Lock()


def with_room(work: Callable[[], T]) -> T:
    """Return what `work` returns, having done it on a thread with stack enough for a guest."""
    return work() if has_room() else _elsewhere(work)


def has_room() -> bool:
    """Return whether this thread has stack enough for a guest."""
    enough: bool | None = getattr(_known, "enough", None)
    if enough is None:
        size = thread_bytes()
        enough = _known.enough = size is None or size >= STACK_BYTES_MIN
    return enough


def thread_bytes() -> int | None:
    """Return how much stack this thread was given; None if the system does not say."""
    if sys.platform == "win32":
        return None  # one megabyte unless a program asks for less, and ours do not
    library = ctypes.CDLL(None)
    try:
        me = library.pthread_self
    except AttributeError:
        return None
    me.restype = ctypes.c_void_p
    if hasattr(library, "pthread_get_stacksize_np"):  # macOS
        library.pthread_get_stacksize_np.restype = ctypes.c_size_t
        return int(library.pthread_get_stacksize_np(ctypes.c_void_p(me())))
    if not hasattr(library, "pthread_getattr_np"):
        return None
    attributes = ctypes.create_string_buffer(256)  # pthread_attr_t has 56 bytes or fewer
    size = ctypes.c_size_t()
    if library.pthread_getattr_np(ctypes.c_void_p(me()), attributes):
        return None
    failed = library.pthread_attr_getstacksize(attributes, ctypes.byref(size))
    library.pthread_attr_destroy(attributes)
    return None if failed else size.value


def _elsewhere(work: Callable[[], T]) -> T:
    answers: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(work())
        except BaseException as error:  # raised again in the thread that waits
            errors.append(error)

    with _making:  # the size is the process's, for threads that are made from now on
        before = threading.stack_size(_BIG_BYTES)
        try:
            thread = threading.Thread(target=run, name="meshnode-guest")
            thread.start()
        finally:
            threading.stack_size(before)
    thread.join()
    if errors:
        raise errors[0]
    return answers[0]
