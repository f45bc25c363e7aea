"""Where files lie, and whom a socket's directory may belong to."""

import os
from pathlib import Path

import pytest

from meshnode.config.home import SOCKET_PATH_BYTES_MAX, home_dir, private_directory
from meshnode.errors import ConfigError


def test_a_given_home_holds_everything(tmp_path: Path) -> None:
    home = home_dir(tmp_path / "n", environ={})
    assert home.given
    root = tmp_path / "n"
    assert home.config_file == root / "node.toml"
    assert home.identity_key == root / "identity.key"
    assert home.aot_cache == root / "cache" / "aot"
    assert home_dir(environ={"MESHNODE_HOME": str(root)}) == home


def test_without_a_home_the_users_directories_are_used() -> None:
    environ = {"XDG_CONFIG_HOME": "/c", "XDG_DATA_HOME": "/d", "XDG_CACHE_HOME": "relative"}
    home = home_dir(environ=environ | {"XDG_RUNTIME_DIR": "/run/user/7"})
    assert home.config_file == Path("/c/meshnode/node.toml")
    assert home.mesh_file == Path("/d/meshnode/mesh.cbor")
    assert home.cache == Path.home() / ".cache/meshnode"
    assert home.control_socket == Path("/run/user/7/meshnode/control.sock")
    assert home_dir(environ=environ).control_socket == Path("/d/meshnode/control.sock")


def test_a_long_path_gets_a_short_socket_that_depends_only_on_it(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 90)
    environ = {"TMPDIR": str(tmp_path)[:40]}
    first, second = home_dir(long, environ=environ), home_dir(long, environ=environ)
    other = home_dir(f"{long}y", environ=environ)
    assert first.control_socket == second.control_socket != other.control_socket
    assert len(os.fsencode(first.control_socket)) <= SOCKET_PATH_BYTES_MAX
    assert f"meshnode-{os.getuid()}" in str(first.control_socket)


def test_preparing_makes_private_directories(tmp_path: Path) -> None:
    home = home_dir(tmp_path / "new", environ={})
    home.prepare()
    home.prepare()
    assert home.store.is_dir()
    assert home.aot_cache.is_dir()
    assert home.data.stat().st_mode & 0o077 == 0


def test_a_socket_directory_that_others_may_write_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(ConfigError, match="others may write"):
        private_directory(shared)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="not a directory"):
        private_directory(link)


def test_a_home_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be created"):
        home_dir(tmp_path / "file" / "n", environ={}).prepare()
