"""The order of sources, and what a mistake in one of them says."""

from pathlib import Path

import pytest

from meshnode.caps import Caps
from meshnode.config.home import Home, home_dir
from meshnode.config.load import load
from meshnode.errors import ConfigError
from meshnode.ids import Address, to_text


def home(tmp_path: Path, toml: str = "") -> Home:
    (tmp_path / "node.toml").write_text(toml)
    return home_dir(tmp_path, environ={})


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    config = load(home_dir(tmp_path, environ={}), environ={})
    assert config.mesh.listen == Address("0.0.0.0", 6174)
    assert config.budget.memory_bytes == 512 << 20
    assert config.node.name


def test_a_file_sets_keys_of_every_kind(tmp_path: Path) -> None:
    key = to_text(b"k" * 32)
    config = load(
        home(
            tmp_path,
            f"""
            [node]
            name = "pi-garage"
            labels = {{ tier = "edge", site = "hall-3" }}
            [mesh]
            advertise = ["203.0.113.7:6174"]
            seeds = ["{key}@rv1.example:6174"]
            [budget]
            store = "64MB"
            [caps]
            use = ["cpu"]
            [policy]
            max_run = "250ms"
            [placement]
            sticky = false
            [api]
            listen = "off"
            [simulate]
            slowdown = 3
            """,
        ),
        environ={},
    )
    assert config.node.name == "pi-garage"
    assert config.node.labels == (("site", "hall-3"), ("tier", "edge"))
    assert config.mesh.advertise == (Address("203.0.113.7", 6174),)
    assert config.mesh.seeds[0].public_key == b"k" * 32
    assert config.budget.store_bytes == 64_000_000
    assert config.caps.use == Caps.CPU
    assert config.policy.max_run_ms == 250
    assert config.placement.sticky is False
    assert config.api.listen is None
    assert config.simulate.slowdown == 3.0


def test_the_environment_beats_the_file_and_flags_beat_both(tmp_path: Path) -> None:
    place = home(tmp_path, '[node]\nname = "a"\n[batch]\nmax = 2\nqueue = 3\n')
    environ = {
        "MESHNODE_NODE__NAME": "b",
        "MESHNODE_BATCH__MAX": "4",
        "MESHNODE_CAPS__USE": "cpu, nn",
        "MESHNODE_NODE__LABELS": "tier=edge, site=b",
        "MESHNODE_HOME": "elsewhere",
        "OTHER__THING": "1",
    }
    config = load(place, {"node.name": "c", "mesh.listen": None}, environ=environ)
    assert (config.node.name, config.batch.max, config.batch.queue) == ("c", 4, 3)
    assert config.caps.use == Caps.CPU | Caps.NN
    assert config.node.labels == (("site", "b"), ("tier", "edge"))


@pytest.mark.parametrize(
    ("toml", "said", "hint"),
    [
        ('[mesh]\nlisten_on = "x"', "unknown key mesh.listen_on", "mesh.listen?"),
        ("[mesh]\nmemory = 1", "unknown key mesh.memory", "budget.memory?"),
        ("[bugdet]\nmemory = 1", "unknown section [bugdet]", "[budget]?"),
        ("name = 'x'", "unknown section [name]", "did you mean"),
        ('[batch]\nmax = "many"', "batch.max must be a whole number from 1 to 256", "default"),
        ("[batch]\nmax = true", "batch.max must be", "default"),
        ('[budget]\nmemory = "12 cats"', "budget.memory must be a size", "default"),
        ("[policy]\nmax_run = 500", "policy.max_run must be a duration", "default"),
        ('[policy]\npublishers = "all"', 'policy.publishers must be "mesh" or "listed"', "default"),
        ('[caps]\nuse = ["gpu"]', 'caps.use must be "auto" or a list', "default"),
        ('[placement]\nsticky = "maybe"', "placement.sticky must be true or false", "default"),
        ("[simulate]\nslowdown = 0.5", "simulate.slowdown must be a number from 1", "default"),
        ("[simulate]\nslowdown = nan", "simulate.slowdown must be a number from 1", "default"),
        ('[mesh]\nseeds = ["rv1.example:6174"]', "mesh.seeds must be a list", "default"),
        ('[node]\nname = "a b"', "node.name must be", "default"),
        ("[node", "is not TOML", ""),
        ("[node]\nlabels = { Site = 'b' }", "node.labels must be at most 8 labels", "default"),
        ("[node]\nlabels = { site = 3 }", "node.labels must be at most 8 labels", "default"),
    ],
)
def test_a_mistake_names_the_key_and_what_is_allowed(
    tmp_path: Path, toml: str, said: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        load(home(tmp_path, toml), environ={})
    assert said in raised.value.message
    assert hint in raised.value.try_
    assert raised.value.exit_status == 78


def test_an_unknown_variable_is_a_mistake_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key node.nam in the environment"):
        load(home(tmp_path), environ={"MESHNODE_NODE__NAM": "x"})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"node\.toml cannot be read"):
        load(home_dir(tmp_path, environ={}), environ={})
    (tmp_path / "node.toml").write_bytes(b"#" * (2 << 20))
    with pytest.raises(ConfigError, match="too large"):
        load(home_dir(tmp_path, environ={}), environ={})
