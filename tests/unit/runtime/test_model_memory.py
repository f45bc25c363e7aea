import os
from pathlib import Path

import numpy as np
import pytest

from meshnode.runtime import model_memory, ort


def test_models_may_have_half_of_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    group = tmp_path / "memory.max"
    monkeypatch.setattr(model_memory, "_GROUP_LIMIT", group)
    assert model_memory.bytes_max() == whole // 2
    group.write_text("max\n")
    assert model_memory.bytes_max() == whole // 2
    group.write_text("1000000\n")
    assert model_memory.bytes_max() == model_memory.arena()["max_mem"] == 500_000


def test_the_model_that_makes_the_arena_shrink_is_one() -> None:
    x = np.ones(1, np.float32)
    assert ort.plain_run(model_memory.IDENTITY, {"x": x})["y"] == x
    ort.give_back()
    ort.give_back()
