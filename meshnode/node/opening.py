"""open_node: starts a node from a Config and a home directory, and stops it again."""

import fcntl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

from meshnode.config.home import Home
from meshnode.config.settings import Config
from meshnode.errors import AlreadyRunning
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import found
from meshnode.node.building import Building
from meshnode.node.clock import unix_now
from meshnode.node.membership_files import (
    check_own,
    load_identity,
    load_mesh,
    save_founded,
    with_seeds,
)
from meshnode.node.node import Node
from meshnode.node.running import Running

CLOSE_S = 2.0


@asynccontextmanager
async def open_node(
    config: Config, home: Home, *, new_mesh: str | None = None, probe_port: bool = True
) -> AsyncIterator[Node]:
    """Start a node; leaving the block says goodbye to the mesh and stops it.

    `probe_port` lets a busy port move up. Raises AlreadyRunning, PortTaken, IdentityError,
    ConfigError or StoreError before anything is announced.
    """
    home.prepare()
    with lock_home(home):
        mesh = load_mesh(home.mesh_file)
        if mesh is not None:
            check_own(home.identity_key, home.mesh_file, mesh, unix_now())
        identity, _ = load_identity(home.identity_key)
        root: Identity | None = None
        if mesh is None:
            mesh, root = found(identity, new_mesh or "home", unix_now())
        parts = Building(config, home, identity, with_seeds(mesh, config.mesh.seeds))
        async with trio.open_nursery() as nursery:
            await parts.build(nursery, probe_port=probe_port)
            if root is not None:
                # Only now: a start that fails must not leave this device in a mesh of its own.
                save_founded(mesh, root, mesh_path=home.mesh_file, root_path=home.root_key)
            running = Running(parts)
            running.start(nursery)
            try:
                yield parts.node()
            finally:
                with trio.move_on_after(CLOSE_S, shield=True):
                    await running.close()
                nursery.cancel_scope.cancel()


@contextmanager
def lock_home(home: Home) -> Iterator[None]:
    """Hold the home directory against a second node, or raise AlreadyRunning.

    The kernel lets go of the lock when the process ends, however it ends.
    """
    with open(home.data / "lock", "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AlreadyRunning(
                f"a node already runs from {home.data}", try_="meshnode status"
            ) from error
        yield
