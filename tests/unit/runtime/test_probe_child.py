import numpy as np
import pytest

from meshnode.runtime.probe_child import TOLERANCE, difference, main, verdict

WANTED = np.array([[0.5, -20.0, 3.0]], np.float32)


def test_a_provider_that_takes_no_part_of_the_model_is_not_saved_by_the_cpu() -> None:
    assert "fallback to CPU EP has been explicitly disabled" in verdict(
        "AzureExecutionProvider", {}
    )


def test_half_precision_is_near_enough_and_a_broken_driver_is_not() -> None:
    assert difference(WANTED.astype(np.float16).astype(np.float32), WANTED) == ""
    assert difference(WANTED * (1 + TOLERANCE / 2), WANTED) == ""
    assert "differs from the CPU's by" in difference(np.zeros_like(WANTED), WANTED)
    assert "not finite" in difference(np.full_like(WANTED, np.nan), WANTED)
    assert "shape" in difference(WANTED[:, :2], WANTED)


def test_it_speaks_in_lines_with_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask"]) == 0
    assert main(["try", '["CPUExecutionProvider", {}, true]']) == 0
    available, devices, verdict_line = capsys.readouterr().out.splitlines()
    assert available.startswith("available=[")
    assert devices.startswith("devices=[")
    assert verdict_line == "verdict="
