from dataclasses import replace

import pytest

from meshnode.errors import InputError, TooLarge, WrongDtype, WrongShape, WrongTensors
from meshnode.modules.manifest import TensorSpec
from meshnode.modules.schema import check_inputs, check_test_tensor
from meshnode.wire.arrays import header
from meshnode.wire.messages import TensorHeader
from tests.unit.modules.samples import MANIFEST

IMAGES = TensorSpec(name="images", dtype="float32", shape=(-1, 3, 4, 4))
MASK = TensorSpec(name="mask", dtype="bool", shape=(-1, 4))
DETECT = replace(MANIFEST, name="detect", inputs=(IMAGES, MASK), batch=True)
FREE = replace(MANIFEST, inputs=(TensorSpec(name="t", dtype="int64", shape=(-1, -1)),), batch=False)


def given(rows: int = 2, **changes: TensorHeader) -> list[TensorHeader]:
    named = {
        "images": header("images", "float32", (rows, 3, 4, 4)),
        "mask": header("mask", "bool", (rows, 4)),
        **changes,
    }
    return list(named.values())


def test_what_fits_passes_in_any_order_and_tells_its_rows() -> None:
    assert check_inputs(DETECT, given(3)) == 3
    assert check_inputs(DETECT, given(1)[::-1]) == 1
    assert check_inputs(FREE, [header("t", "int64", (0, 7))]) == 1


@pytest.mark.parametrize(
    ("headers", "error", "reason"),
    [
        (given()[:1], WrongTensors, r"detect needs the input mask bool\[\?,4\]"),
        ([], WrongTensors, "needs the input images"),
        (
            given(x=header("imags", "float32", (2, 3, 4, 4))),
            WrongTensors,
            "no input 'imags', did you mean 'images'",
        ),
        ([*given(), given()[0]], WrongTensors, "'images' was given twice"),
        (
            given(images=header("images", "float64", (2, 3, 4, 4))),
            WrongDtype,
            "'images' must be float32, got float64",
        ),
        (
            given(images=header("images", "float32", (2, 4, 4, 3))),
            WrongShape,
            r"'images' must be float32\[\?,3,4,4\], got float32\[2,4,4,3\]",
        ),
        (given(images=header("images", "float32", (3, 4, 4))), WrongShape, r"got float32\[3,4,4\]"),
        (
            given(mask=header("mask", "bool", (3, 4))),
            WrongShape,
            "'mask' has 3 rows, 'images' has 2",
        ),
        (given(0), WrongShape, "'images' has no rows"),
        (
            given(mask=replace(header("mask", "bool", (2, 4)), size=7)),
            WrongShape,
            "'mask' has 7 bytes",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    headers: list[TensorHeader], error: type[InputError], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        check_inputs(DETECT, headers)


def test_the_facts_say_what_was_expected_and_what_came() -> None:
    with pytest.raises(WrongShape) as caught:
        check_inputs(DETECT, given(images=header("images", "float32", (2, 5, 4, 4))))
    assert caught.value.because == ("axis 1 is 5, declared is 3",)
    with pytest.raises(WrongDtype) as wrong:
        check_inputs(DETECT, given(images=header("images", "float64", (2, 3, 4, 4))))
    assert wrong.value.try_ == "convert it: array.astype('float32')"


def test_a_request_has_a_largest_size() -> None:
    with pytest.raises(TooLarge, match="carries at most"):
        check_inputs(FREE, [header("t", "int64", (1 << 20, 9))])
    with pytest.raises(WrongShape):
        check_inputs(FREE, [replace(header("t", "int64", (1, 1)), shape=(2**60, 2**60))])


def test_a_self_test_can_open_one_dimension_only() -> None:
    spec = TensorSpec(name="t", dtype="int64", shape=(-1, 2, -1))
    check_test_tensor(spec, header("t", "int64", (5, 2, 1)))
    with pytest.raises(WrongShape, match="in a self-test"):
        check_test_tensor(spec, header("t", "int64", (1, 2, 5)))
