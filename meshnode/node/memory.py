"""What a node remembers over a restart: its incarnation, its port and whom it knew.

The peer cache keeps members that failed or left too: after an outage of everything, those are
the ones to ask (serf #333).
"""

from dataclasses import dataclass
from pathlib import Path

from meshnode.ids import Address, Contact, PublicKey
from meshnode.storage.state import read_state, write_state

_FORMAT = 1
CONTACTS_MAX = 256


@dataclass(frozen=True, slots=True)
class Remembered:
    """The saved state."""

    incarnation: int = 0
    port: int = 0
    """The port of the last run; 0 before the first."""
    contacts: tuple[Contact, ...] = ()


def recall(path: Path) -> Remembered:
    """Return what was saved, or a fresh state; a damaged file counts as none."""
    saved = read_state(path)
    try:
        if isinstance(saved, dict) and saved["format"] == _FORMAT:
            return Remembered(
                incarnation=int(saved["incarnation"]),
                port=int(saved["port"]),
                contacts=tuple(
                    Contact(PublicKey(key), Address(host, port))
                    for key, host, port in saved["contacts"]
                    if len(key) == 32 and 0 < port < 65536
                ),
            )
    except (KeyError, TypeError, ValueError):
        pass
    return Remembered()


def remember(path: Path, state: Remembered) -> None:
    """Replace the saved state atomically."""
    contacts = [[c.public_key, c.address.host, c.address.port] for c in state.contacts]
    write_state(
        path,
        {
            "format": _FORMAT,
            "incarnation": state.incarnation,
            "port": state.port,
            "contacts": contacts[:CONTACTS_MAX],
        },
    )
