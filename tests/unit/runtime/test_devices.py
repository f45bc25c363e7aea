import os
import platform
import sys
from pathlib import Path

import pytest

from meshnode.runtime.devices import look


def test_a_machine_is_looked_at_as_it_is() -> None:
    machine = look(["/dev/null", "/dev/no-such-device"], openvino=("CPU",))
    assert machine.openable == {"/dev/null"}
    assert (machine.system, machine.arch) == (sys.platform, platform.machine().lower())
    assert machine.openvino == ("CPU",)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_a_file_that_may_not_be_opened_is_told_apart(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.touch(mode=0)
    machine = look([str(closed)])
    assert machine.locked == {str(closed)}
    assert not machine.openable
