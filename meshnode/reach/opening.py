"""What a device says on the LAN while somebody there lets others in: the mesh's name, and a port.

    magic 4 || kind 3 || port u16 BE || name length 1 || name

It proves nothing. Whoever connects there compares a code with a person before anything is believed.
"""

from dataclasses import dataclass

from meshnode.reach.beacon import MAGIC, NAME_BYTES_MAX, PORT_BYTES

OPEN = 3
HEAD_BYTES = len(MAGIC) + 1 + PORT_BYTES + 1


@dataclass(frozen=True, slots=True)
class Opening:
    """Here others are let in."""

    port: int
    mesh_name: str


def encode(opening: Opening) -> bytes:
    """Return the bytes; a long name is cut at a character."""
    name = opening.mesh_name.encode()[:NAME_BYTES_MAX].decode(errors="ignore").encode()
    port = opening.port.to_bytes(PORT_BYTES, "big")
    return MAGIC + bytes([OPEN]) + port + bytes([len(name)]) + name


def decode(data: bytes) -> Opening | None:
    """Return what is said, or None if it is something else."""
    if len(data) < HEAD_BYTES or data[: len(MAGIC)] != MAGIC or data[len(MAGIC)] != OPEN:
        return None
    length = data[HEAD_BYTES - 1]
    if length > NAME_BYTES_MAX or len(data) != HEAD_BYTES + length:
        return None
    port = int.from_bytes(data[HEAD_BYTES - 1 - PORT_BYTES : HEAD_BYTES - 1], "big")
    try:
        name = data[HEAD_BYTES:].decode()
    except UnicodeDecodeError:
        return None
    return Opening(port, name) if port and name.isprintable() else None
