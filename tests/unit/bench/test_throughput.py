from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from meshnode.bench.throughput import lane_rates, loop_rates
from meshnode.caps import Caps
from meshnode.errors import WrongShape
from meshnode.runtime.runtime import Runtime
from meshnode.runtime.settings import RuntimeSettings
from tests.unit.runtime.support import dist, manifest


def test_a_loop_and_a_lane_count_what_they_end(tmp_path: Path) -> None:
    about = manifest(batch=True, required=Caps.CPU)
    runtime = Runtime(RuntimeSettings(), cache_dir=tmp_path, mac_key=bytes(32), caps=Caps.CPU)
    assert sum(loop_rates(lambda: None, seconds=0.02)) > 0
    with closing(runtime.load(dist("echo"), about, {})) as module:
        row = np.zeros((1, 4), np.float32)
        for batch_max in (1, 4):
            rates = lane_rates(module, {"x": row}, batch_max=batch_max, seconds=0.1)
            assert sum(rates) > 0
        with pytest.raises(WrongShape):
            lane_rates(module, {"x": row[0]}, batch_max=4, seconds=0.1)
