"""The six functions of wasi-nn are total: hostile arguments get an errno and change nothing else.

The arguments are those at which checks are off by one: ends of the memory, wrapping sums, handles
that exist and that do not. What lies in memory is random too, since records are read from it.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.errors import MeshnodeError
from meshnode.runtime.abi import IMPORTS, NN_MODULE, PAGE_BYTES
from meshnode.runtime.sessions import SessionCache, Sessions
from tests.scratch import scratch
from tests.unit.runtime.nn_support import Nn, loaded_by, sessions, two_inputs
from tests.unit.runtime.nn_support import cache as session_cache
from tests.unit.runtime.support import dense

NAMES = {n: len(IMPORTS[m, n].signature.params) for m, n in IMPORTS if m == NN_MODULE}
EDGES = [
    0, 1, 2, 3, 4, 5, 7, 8, 16, 17, 20, 64, 128, 160, 256, 4096, 4097,
    PAGE_BYTES - 20, PAGE_BYTES - 8, PAGE_BYTES - 4, PAGE_BYTES - 1, PAGE_BYTES, PAGE_BYTES + 1,
    2**31 - 1, 2**31, 2**32 - 20, 2**32 - 4, 2**32 - 1,
]  # fmt: skip
NUMBER = st.one_of(st.sampled_from(EDGES), st.integers(0, 2**32 - 1))


@cache
def models() -> Sessions:
    return sessions(scratch("fuzz"), model=dense(), scaled=two_inputs())


@cache
def opened() -> SessionCache:
    return session_cache(scratch("fuzz"))


@st.composite
def calls(draw: st.DrawFn) -> list[tuple[str, list[int]]]:
    names = draw(st.lists(st.sampled_from(sorted(NAMES)), min_size=1, max_size=12))
    return [(n, [draw(NUMBER) for _ in range(NAMES[n])]) for n in names]


def check(nn: Nn, asked: Sequence[tuple[str, list[int]]]) -> None:
    for name, arguments in asked:
        before = nn.get(0, PAGE_BYTES)
        try:
            errno = nn.call(name, *arguments)
        except MeshnodeError:  # a model that failed: the caller makes it errno 5
            errno = 5
        assert 0 <= errno <= 8, (name, arguments)
        assert nn.memory.size == PAGE_BYTES
        if errno:
            assert nn.get(0, PAGE_BYTES) == before, (name, arguments)


@given(calls(), st.binary(min_size=32, max_size=512), st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_arguments_get_an_errno(
    asked: list[tuple[str, list[int]]], words: bytes, loads: bool
) -> None:
    nn = Nn(models(), loaded_by(opened(), 4096) if loads else None)
    nn.put(0, words)
    nn.put(64, b"modelscaled")
    nn.context("model")  # graph 1, context 2
    nn.context("scaled")  # graph 3, context 4
    nn.set_input(2, 0, np.ones((1, 4), np.float32), 1)
    check(nn, asked)
    # The host is still whole.
    assert nn.call("compute", 2) == 0 or ("set_input", 2) in [(n, a[0]) for n, a in asked]


@given(st.binary(min_size=20, max_size=20), st.sampled_from([0, 44, PAGE_BYTES - 20]))
@settings(max_examples=200, deadline=None)
def test_any_record_is_a_tensor_or_an_errno(record: bytes, pointer: int) -> None:
    nn = Nn(models())
    context = nn.context("model")
    nn.put(pointer, record)
    check(nn, [("set_input", [context, 0, pointer]), ("compute", [context])])
