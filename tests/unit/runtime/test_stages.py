from pathlib import Path

import numpy as np

from meshnode.modules.manifest import SelfTest
from meshnode.runtime.settings import RuntimeSettings
from meshnode.runtime.stages import cold_start
from tests.unit.runtime.support import ALL, dist, manifest

X = np.ones((1, 4), np.float32)


def test_every_stage_of_a_cold_start_is_timed(tmp_path: Path) -> None:
    test = SelfTest(inputs=(X.tobytes(),), outputs=(X.tobytes(),))
    about = manifest(self_tests=(test,))
    stages = cold_start(
        dist("echo"), about, {}, caps=ALL, settings=RuntimeSettings(), folder=tmp_path
    )
    assert list(stages.ms) == [
        "preflight",
        "compile",
        "compile as a node does",
        "open compiled",
        "link",
        "start",
        "init",
        "AOT file to ready instance",
        "self-test",
        "first request",
    ]
    assert min(stages.ms.values()) >= 0
