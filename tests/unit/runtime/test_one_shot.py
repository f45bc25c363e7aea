"""The one-shot run on a memory of our own: what is planned, what not, and that both are right."""

import ctypes
from collections.abc import Iterator
from math import inf
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, ValueInfoProto, helper

from meshnode.errors import ModelFailed, TimeLimit
from meshnode.runtime import ort
from meshnode.runtime.abi import RECORD, TENSOR_TYPES, Errno
from meshnode.runtime.guest_memory import GuestMemory, NoMemory
from meshnode.runtime.one_shot import LEARN_AFTER, PLANS_MAX, PLANS_UNUSED_MAX, OneShot
from meshnode.runtime.sessions import ModelSession, SessionCache
from meshnode.runtime.settings import RuntimeSettings
from tests.unit.runtime.support import ALL, dense, endless, engine, model, ref

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
RNG = np.random.default_rng(5)
IN, OUT, DIMS, OUT_DIMS, DATA, OUT_DATA = 0, 200, 400, 800, 4096, 20480


class PlainMemory(GuestMemory):
    """32 KiB that no guest has."""

    def __init__(self) -> None:
        self.room = (ctypes.c_ubyte * 32768)()
        super().__init__()

    def _length(self) -> int:
        return len(self.room)

    def _bytes(self, size: int) -> tuple[int, memoryview]:
        return ctypes.addressof(self.room), memoryview(self.room)

    def _grow(self, pages: int) -> int:
        raise NoMemory

    def put(self, at: int, data: bytes) -> None:
        view = self.slice(at, len(data))
        assert view is not None
        view[:] = np.frombuffer(data, np.uint8)

    def get(self, at: int, size: int) -> bytes:
        view = self.slice(at, size)
        assert view is not None
        return view.tobytes()


class Caller:
    """Writes records as a guest would, and reads what comes back."""

    def __init__(self, session: ModelSession) -> None:
        self.memory = PlainMemory()
        self.one_shot = OneShot()
        self.session = session

    def __call__(
        self,
        *inputs: np.ndarray,
        data: int = DATA,
        out_data: int = OUT_DATA,
        room: int = 4096,
        outputs: int | None = None,
        deadline: float = inf,
    ) -> list[np.ndarray]:
        """Run; raises AssertionError with the errno."""
        count = len(self.session.outputs) if outputs is None else outputs
        for i, array in enumerate(inputs):
            at, dims = data + 4096 * i, DIMS + 64 * i
            number = TENSOR_TYPES[array.dtype.name]
            self.memory.put(
                IN + RECORD.size * i, RECORD.pack(dims, array.ndim, number, at, array.nbytes)
            )
            self.memory.put(dims, np.array(array.shape, np.uint32).tobytes())
            self.memory.put(at, array.tobytes())
        for i in range(count):
            record = RECORD.pack(OUT_DIMS + 64 * i, 16, 1, out_data + room * i, room)
            self.memory.put(OUT + RECORD.size * i, record)
        tensors = (IN, len(inputs), OUT, count)
        status = self.one_shot.run(self.memory, self.session, tensors, deadline)
        assert status == Errno.SUCCESS, Errno(status).name
        return [self.read(i) for i in range(count)]

    def read(self, index: int) -> np.ndarray:
        record = RECORD.unpack(self.memory.get(OUT + RECORD.size * index, RECORD.size))
        dims_at, rank, number, at, size = record
        dtype = next(name for name, n in TENSOR_TYPES.items() if n == number)
        dims = np.frombuffer(self.memory.get(dims_at, 4 * rank), np.uint32)
        return np.frombuffer(self.memory.get(at, size), dtype).reshape(dims.tolist())

    @property
    def plans(self) -> int:
        return sum(len(site.plans) for site in self.one_shot._sites.values())


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[SessionCache]:
    engine()[1].enter()
    yield SessionCache(RuntimeSettings(), engine()[1], caps=ALL, empty_dir=tmp_path / "empty")
    engine()[1].leave()


def rows(count: int) -> np.ndarray:
    return RNG.standard_normal((count, 4)).astype(np.float32)


def opened(cache: SessionCache, data: bytes) -> Caller:
    return Caller(cache.acquire(ref(data), data))


def test_a_planned_run_gives_the_same_bits(cache: SessionCache) -> None:
    caller = opened(cache, dense())
    for _ in range(3):
        for count in (1, 2, 7, 1):
            x = rows(count)
            (y,) = caller(x)
            assert y.shape == (count, 3)
            assert y.tobytes() == ort.plain_run(dense(), {"x": x})["y"].tobytes()
    assert caller.plans == 3
    assert caller.session.bindable


def test_tensors_of_every_type_and_rank_are_planned(cache: SessionCache) -> None:
    types = {"a": TensorProto.FLOAT16, "b": TensorProto.DOUBLE, "c": INT64, "d": TensorProto.UINT8}
    given = {
        "a": np.array([1.5, -2], np.float16),
        "b": np.array(0.25),
        "c": np.array([[[1 << 40]]]),
        "d": np.arange(6, dtype=np.uint8).reshape(2, 3),
    }
    data = model(
        [helper.make_node("Identity", [n], [f"{n}/out:0"]) for n in types],
        {n: (t, list(given[n].shape)) for n, t in types.items()},
        {f"{n}/out:0": (t, list(given[n].shape)) for n, t in types.items()},
    )
    caller = opened(cache, data)
    for _ in range(2):
        answers = caller(*given.values(), room=256)
        for array, answer in zip(given.values(), answers, strict=True):
            assert (answer.dtype, answer.shape) == (array.dtype, array.shape)
            assert np.array_equal(answer, array)
    assert caller.plans == 1


def test_a_scalar_given_as_one_element_is_not_taken_for_more(cache: SessionCache) -> None:
    data = model(
        [helper.make_node("Mul", ["x", "rate"], ["y"])],
        {"x": (FLOAT, ["N"]), "rate": (FLOAT, [])},
        {"y": (FLOAT, ["N"])},
    )
    caller = opened(cache, data)
    x = np.arange(3, dtype=np.float32)
    assert np.array_equal(caller(x, np.array([2], np.float32))[0], x * 2)
    caller.memory.put(DIMS + 64, np.array([2], np.uint32).tobytes())
    status = caller.one_shot.run(caller.memory, caller.session, (IN, 2, OUT, 1), inf)
    assert status == Errno.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "where", [{"data": DATA + 2}, {"out_data": OUT_DATA + 1}, {"out_data": DATA + 8}]
)
def test_tensors_that_overlap_or_are_not_aligned_are_not_planned(
    cache: SessionCache, where: dict[str, int]
) -> None:
    caller = opened(cache, dense())
    x = rows(2)
    wanted = ort.plain_run(dense(), {"x": x})["y"]
    (y,) = caller(x, **where)
    assert y.tobytes() == wanted.tobytes()
    assert caller.plans == 0


def test_flags_and_outputs_of_unknown_size_are_not_planned(cache: SessionCache) -> None:
    data = model(
        [helper.make_node("NonZero", ["x"], ["y"]), helper.make_node("Not", ["x"], ["z"])],
        {"x": (BOOL, ["N"])},
        {"z": (BOOL, ["N"]), "y": (INT64, [1, "K"])},
    )
    caller = opened(cache, data)
    z, y = caller(np.array([True, False, True]))
    assert z.tolist() == [False, True, False]
    assert y.tolist() == [[0, 2]]
    assert caller.plans == 0


def test_sizes_that_a_model_does_not_tell_are_learned(cache: SessionCache) -> None:
    data = model(
        [helper.make_node("Flatten", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])],
        {"x": (FLOAT, ["N", 2, "M"])},
        {"y": (FLOAT, ["rows", None]), "z": (FLOAT, ["N", 2, "M"])},
    )
    caller = opened(cache, data)
    for call in range(2 * LEARN_AFTER):
        for shape in ((1, 2, 3), (2, 2, 1)):
            x = RNG.standard_normal(shape).astype(np.float32)
            y, z = caller(x)
            assert np.array_equal(y, x.reshape(shape[0], -1))
            assert np.array_equal(z, -x)
        assert caller.plans == (0 if call < LEARN_AFTER else 2)
    with pytest.raises(AssertionError, match="TOO_LARGE"):
        caller(RNG.standard_normal((2, 2, 1)).astype(np.float32), room=8)


def test_sizes_that_depend_on_the_numbers_are_unlearned(cache: SessionCache) -> None:
    then = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["a"])], "then", [], [_value("a")]
    )
    other = helper.make_graph(
        [helper.make_node("Concat", ["x", "x"], ["b"], axis=0)], "else", [], [_value("b")]
    )
    data = model(
        [
            helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
            helper.make_node("Greater", ["sum", "zero"], ["more"]),
            helper.make_node("If", ["more"], ["y"], then_branch=then, else_branch=other),
        ],
        {"x": (FLOAT, ["N"])},
        {"y": (FLOAT, ["K"])},
        {"zero": np.zeros((), np.float32)},
    )
    caller = opened(cache, data)
    small, large = np.ones(3, np.float32), np.full(3, -1, np.float32)
    for _ in range(LEARN_AFTER + 1):
        assert caller(small)[0].tolist() == small.tolist()
    assert caller.plans == 1
    for _ in range(2):
        assert caller(large)[0].tolist() == [*large, *large]
    for _ in range(LEARN_AFTER + 1):
        assert caller(small)[0].tolist() == small.tolist()
    assert (caller.plans, caller.session.bindable) == (0, True)


@pytest.mark.parametrize("first", [[0, 1, 2, 3], [0, 0, 1, 0]])
def test_an_answer_that_shrinks_or_grows_is_never_taken_for_the_learned_one(
    cache: SessionCache, first: list[int]
) -> None:
    data = model(
        [helper.make_node("NonZero", ["x"], ["y"])],
        {"x": (INT64, ["N"])},
        {"y": (INT64, [1, "K"])},
    )
    caller = opened(cache, data)
    for _ in range(LEARN_AFTER + 1):
        assert caller(np.array(first))[0].tolist() == [np.flatnonzero(first).tolist()]
    assert caller.plans == 1
    for given in ([0, 1, 1, 0], first, [0, 0, 0, 0], first):
        before = caller.memory.get(OUT_DATA + 64, 64)
        assert caller(np.array(given))[0].tolist() == [np.flatnonzero(given).tolist()]
        assert caller.memory.get(OUT_DATA + 64, 64) == before
    assert caller.plans == 0


def _value(name: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, FLOAT, None)


def test_an_input_that_is_an_output_too_is_not_planned(cache: SessionCache) -> None:
    data = model(
        [helper.make_node("Neg", ["x"], ["y"])],
        {"x": (FLOAT, ["N"])},
        {"x": (FLOAT, ["N"]), "y": (FLOAT, ["N"])},
    )
    caller = opened(cache, data)
    x = np.arange(3, dtype=np.float32)
    for _ in range(2):
        assert [a.tolist() for a in caller(x)] == [x.tolist(), (-x).tolist()]


def test_a_model_that_lies_about_its_shapes_is_answered_without_plans(cache: SessionCache) -> None:
    data = model(
        [helper.make_node("Concat", ["x", "x"], ["y"], axis=0)],
        {"x": (FLOAT, ["N"])},
        {"y": (FLOAT, ["N"])},
    )
    caller = opened(cache, data)
    x = np.arange(3, dtype=np.float32)
    for _ in range(3):
        assert caller(x)[0].tolist() == [*x, *x]
    assert not caller.session.bindable
    assert caller.plans == 0


def test_a_model_that_fails_on_some_numbers_stays_planned(cache: SessionCache) -> None:
    data = model(
        [helper.make_node("Gather", ["table", "i"], ["y"])],
        {"i": (INT64, ["N"])},
        {"y": (FLOAT, ["N"])},
        {"table": np.arange(4, dtype=np.float32)},
    )
    caller = opened(cache, data)
    assert caller(np.array([3, 1]))[0].tolist() == [3, 1]
    for _ in range(PLANS_UNUSED_MAX):
        with pytest.raises(ModelFailed):
            caller(np.array([99, 1]))
    assert caller(np.array([0, 2]))[0].tolist() == [0, 2]
    assert (caller.session.bindable, caller.plans) == (True, 1)


def test_too_little_room_is_said_and_fewer_outputs_may_be_asked_for(cache: SessionCache) -> None:
    data = model(
        [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["z"])],
        {"x": (FLOAT, ["N"])},
        {"y": (FLOAT, ["N"]), "z": (FLOAT, ["N"])},
    )
    caller = opened(cache, data)
    x = np.arange(-2, 2, dtype=np.float32)
    with pytest.raises(AssertionError, match="TOO_LARGE"):
        caller(x, room=8)
    assert [a.tolist() for a in caller(x, outputs=1)] == [(-x).tolist()]
    assert [a.tolist() for a in caller(x)] == [(-x).tolist(), np.abs(x).tolist()]


def test_plans_are_bounded_and_not_made_for_who_never_uses_them(cache: SessionCache) -> None:
    caller = opened(cache, dense())
    for i in range(2 * PLANS_UNUSED_MAX):
        x = rows(1)
        (y,) = caller(x, data=DATA + 16 * i)
        assert y.tobytes() == ort.plain_run(dense(), {"x": x})["y"].tobytes()
    assert caller.plans == PLANS_MAX


def test_a_planned_run_is_stopped_at_its_deadline_and_the_next_one_is_not(
    cache: SessionCache,
) -> None:
    endless_caller, caller = opened(cache, endless()), opened(cache, dense())
    ticker = engine()[1]
    for _ in range(2):
        deadline = ticker.now() + 0.03
        with pytest.raises(TimeLimit):
            endless_caller(rows(1), deadline=deadline)
        assert ticker.now() >= deadline
        assert endless_caller.plans == 1
        caller(rows(1), deadline=ticker.now() + 10)
        with pytest.raises(TimeLimit):
            caller.session.run([rows(1)], ticker.now() - 1)
        caller(rows(1), deadline=ticker.now() + 10)
