"""Where a node keeps its files, and where its control socket lies.

With `--home` or `MESHNODE_HOME` everything lies below one directory; without, the XDG
directories of the user are used. Secrets (0600) are never in the configuration file.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from meshnode.errors import ConfigError

SOCKET_PATH_BYTES_MAX = 100
"""A Unix socket's path has 108 bytes on Linux and 104 on macOS, with the closing zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The paths of one node. Nothing here touches the disk except `prepare`."""

    config_file: Path
    data: Path
    cache: Path
    control_socket: Path
    given: bool
    """Chosen by `--home` or `MESHNODE_HOME`, so hints for people must repeat it."""

    @property
    def identity_key(self) -> Path:
        """The node's Ed25519 seed, 0600."""
        return self.data / "identity.key"

    @property
    def publisher_key(self) -> Path:
        """The Ed25519 seed that modules packed here are signed with, 0600."""
        return self.data / "publisher.key"

    @property
    def mesh_file(self) -> Path:
        """The membership: certificates, mesh key, seeds; 0600."""
        return self.data / "mesh.cbor"

    @property
    def root_key(self) -> Path:
        """The mesh's root seed, only at the node that founded it, 0600."""
        return self.data / "root.key"

    @property
    def trust_file(self) -> Path:
        """The publishers trusted here."""
        return self.data / "trust.cbor"

    @property
    def invites_file(self) -> Path:
        """The invites this node has given out, 0600."""
        return self.data / "invites.cbor"

    @property
    def keyring_file(self) -> Path:
        """The mesh's keys since this device joined, 0600."""
        return self.data / "keyring.cbor"

    @property
    def revocations_file(self) -> Path:
        """Who is expelled from the mesh."""
        return self.data / "revocations.cbor"

    @property
    def expelled_file(self) -> Path:
        """Who is expelled from the meshes that a seed serves."""
        return self.data / "expelled.cbor"

    @property
    def trust_log_file(self) -> Path:
        """Who was admitted, trusted and revoked here, and when."""
        return self.data / "trust.log"

    @property
    def rotation_file(self) -> Path:
        """How far this node is with replacing the mesh's key, if it is doing so."""
        return self.data / "rotation.cbor"

    @property
    def state_file(self) -> Path:
        """Incarnation, port and peer cache, kept over a restart."""
        return self.data / "state.cbor"

    @property
    def names_file(self) -> Path:
        """The highest sequence number seen of each name, and proofs of contradiction."""
        return self.data / "names.cbor"

    @property
    def pins_file(self) -> Path:
        """What `meshnode pin` pinned; the configuration has pins of its own."""
        return self.data / "pins.cbor"

    @property
    def store(self) -> Path:
        """Modules and weights by content hash."""
        return self.data / "store"

    @property
    def aot_cache(self) -> Path:
        """Compiled modules; may be deleted at any time."""
        return self.cache / "aot"

    def prepare(self) -> None:
        """Create the directories, private to the user, or raise ConfigError."""
        for directory in (self.data, self.store, self.aot_cache):
            try:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(
                    f"{directory} cannot be created", because=[error.strerror or str(error)]
                ) from error
        if self.control_socket.parent != self.data:
            private_directory(self.control_socket.parent)

    def check_socket(self) -> None:
        """Raise ConfigError if the socket's directory could be somebody else's trap.

        The data directory is the user's own choice; one under /tmp could have been made first
        by another user, who would then stand between a node and its client.
        """
        directory = self.control_socket.parent
        if directory != self.data and directory.exists():
            check_private(directory, directory.lstat())


def home_dir(path: Path | str | None = None, *, environ: Mapping[str, str] | None = None) -> Home:
    """Return the paths of the node at `path`, else of `MESHNODE_HOME`, else of this user."""
    env = os.environ if environ is None else environ
    chosen = str(path) if path else env.get("MESHNODE_HOME", "")
    if chosen:
        root = Path(chosen).expanduser().absolute()
        return Home(
            config_file=root / "node.toml",
            data=root,
            cache=root / "cache",
            control_socket=socket_path(root / "control.sock", env),
            given=True,
        )
    data = _xdg(env, "XDG_DATA_HOME", ".local/share") / "meshnode"
    runtime = env.get("XDG_RUNTIME_DIR", "")
    sockets = Path(runtime) / "meshnode" if runtime.startswith("/") else data
    return Home(
        config_file=_xdg(env, "XDG_CONFIG_HOME", ".config") / "meshnode" / "node.toml",
        data=data,
        cache=_xdg(env, "XDG_CACHE_HOME", ".cache") / "meshnode",
        control_socket=socket_path(sockets / "control.sock", env),
        given=False,
    )


def socket_path(wanted: Path, environ: Mapping[str, str]) -> Path:
    """Return `wanted` if the kernel can bind it, else a short path that depends only on it.

    The short one lies in a directory of our own under the user's runtime directory, or under
    the directory for temporary files with the user id in its name.
    """
    if len(os.fsencode(wanted)) <= SOCKET_PATH_BYTES_MAX:
        return wanted
    name = sha256(os.fsencode(wanted)).hexdigest()[:16] + ".sock"
    own = f"meshnode-{os.getuid()}"
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    bases = [f"{runtime}/meshnode" if runtime else "", f"{environ.get('TMPDIR') or '/tmp'}/{own}"]
    for base in bases:
        short = Path(base) / name
        if base.startswith("/") and len(os.fsencode(short)) <= SOCKET_PATH_BYTES_MAX:
            return short
    return Path("/tmp") / own / name


def private_directory(directory: Path) -> None:
    """Make sure a socket's directory is ours and writable by nobody else, or raise ConfigError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise ConfigError(
            f"{directory} cannot be created", because=[error.strerror or str(error)]
        ) from error
    check_private(directory, found)


def check_private(directory: Path, found: os.stat_result) -> None:
    """Raise ConfigError unless a directory belongs to this user and nobody else may write."""
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"{directory} is not a directory")
    if found.st_uid != os.getuid():
        raise ConfigError(f"{directory} belongs to another user", try_=f"remove {directory}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"others may write to {directory}", try_=f"chmod go-w {directory}")


def _xdg(env: Mapping[str, str], variable: str, fallback: str) -> Path:
    value = env.get(variable, "")
    return Path(value) if value.startswith("/") else Path.home() / fallback
