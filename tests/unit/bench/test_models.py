import numpy as np
import pytest
from onnx import checker, load_from_string

from meshnode.bench.models import CLASSES, Model, models
from meshnode.runtime import ort
from meshnode.runtime.onnx_file import inspect_model


@pytest.mark.parametrize("model", models(), ids=lambda m: m.name)
def test_the_models_are_valid_and_may_be_batched(model: Model) -> None:
    checker.check_model(load_from_string(model.data), full_check=True)
    facts = inspect_model(model.data)
    assert facts.batch
    assert facts.inputs[0].shape == (-1, *model.shape)
    x = model.rows(2)
    y = ort.plain_run(model.data, {"x": x}, threads=1)["y"]
    assert y.shape == (2, CLASSES)
    assert np.isfinite(y).all()


def test_they_are_the_same_every_time() -> None:
    assert [m.data for m in models()] == [m.data for m in models()]
