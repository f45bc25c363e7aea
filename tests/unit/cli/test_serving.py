"""What a node says of itself when it is ready."""

from dataclasses import replace

from meshnode.cli.serving import ready_lines
from meshnode.config.settings import Config, SimulateSettings

STATUS = {
    "name": "pi",
    "short": "66RXYXA",
    "mesh": {"name": "home", "id": "7QF2M3K"},
    "caps": ["cpu", "nn"],
    "address": "10.0.0.2:6174",
    "http": None,
}


def test_only_facts_are_said() -> None:
    lines = list(ready_lines(STATUS, Config(), ()))
    assert '· node pi (66RXYXA) · mesh "home" (7QF2M3K)' in lines[0]
    assert "created" not in lines[0]
    assert not any("api" in line for line in lines)


def test_what_is_new_and_what_is_simulated_is_said() -> None:
    config = replace(Config(), simulate=SimulateSettings(slowdown=3.0))
    lines = list(ready_lines(STATUS | {"http": "127.0.0.1:6180"}, config, ("identity", "mesh")))
    assert lines[0].endswith("new identity and mesh created")
    assert "http://127.0.0.1:6180" in lines[-2]
    assert "SIMULATED runs take 3 times" in lines[-1]
