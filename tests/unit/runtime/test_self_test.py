from collections.abc import Mapping

import numpy as np
import pytest

from meshnode.errors import GuestStatus, MeshnodeError, SelfTestFailed
from meshnode.modules.manifest import SelfTest, TensorSpec
from meshnode.runtime.self_test import check_self_tests, close, shape_of
from tests.unit.runtime.support import manifest

ROW = np.array([[1, 2, 3, 4]], np.float32)


def check(test: SelfTest, answer: np.ndarray | MeshnodeError) -> None:
    seen: list[np.ndarray] = []

    def run(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | MeshnodeError:
        seen.append(arrays["x"])
        return answer if isinstance(answer, MeshnodeError) else {"y": answer}

    check_self_tests(manifest(self_tests=(test,)), run)
    assert np.array_equal(seen[0], ROW)


def vector(tolerance: float = 0.0) -> SelfTest:
    return SelfTest(inputs=(ROW.tobytes(),), outputs=(ROW.tobytes(),), tolerance=tolerance)


def test_the_right_answer_passes() -> None:
    check(vector(), ROW)
    check(vector(1e-3), ROW * np.float32(1.0005))


def test_a_wrong_answer_names_the_element() -> None:
    wrong = ROW.copy()
    wrong[0, 2] = 9
    with pytest.raises(SelfTestFailed, match="'y' is not what") as caught:
        check(vector(1e-3), wrong)
    assert caught.value.because[0] == "element 2 is 9.0, promised is 3.0"
    with pytest.raises(SelfTestFailed) as caught:
        check(vector(), ROW[:, :3])
    assert caught.value.because[0].startswith("3 elements came")


def test_a_run_that_fails_fails_the_test() -> None:
    with pytest.raises(SelfTestFailed, match="returned 3") as caught:
        check(vector(), GuestStatus("the guest's predict returned 3"))
    assert caught.value.because[0] == "MN-401 GuestStatus"


def test_the_first_open_size_takes_what_is_left() -> None:
    spec = TensorSpec(name="x", dtype="float32", shape=(2, -1, 3, -1))
    assert shape_of(spec, 2 * 5 * 3 * 4) == (2, 5, 3, 1)
    assert shape_of(TensorSpec(name="x", dtype="int64", shape=()), 8) == ()


def test_close_treats_what_is_not_finite_as_equal_to_itself() -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 1], np.float32)
    assert close(odd, odd.copy(), 1e-3)
    assert not close(odd, odd[::-1].copy(), 1e-3)
    assert not close(odd, odd.astype(np.float64), 1e-3)
    assert close(odd, odd.copy(), 0)
