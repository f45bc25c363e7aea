"""meshnode: a peer-to-peer mesh that runs signed Wasm inference modules on the best device.

Read `docs/architecture.md` first; the floors of this package are listed there. The names
exported here are the Python client; importing them loads no third-party package.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshnode.client.client import Client as Client
    from meshnode.client.client import connect as connect
    from meshnode.client.results import Result as Result

__version__ = "0.1.0"

_EXPORTS = {
    "connect": "meshnode.client.client",
    "Client": "meshnode.client.client",
    "Result": "meshnode.client.results",
}


def __getattr__(name: str) -> object:
    """Import the client when it is first asked for: `meshnode --help` does not need it."""
    from importlib import import_module

    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'meshnode' has no attribute '{name}'")
