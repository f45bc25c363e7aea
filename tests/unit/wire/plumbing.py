"""Joins two muxes by real records, and reads the vector of `docs/protocol-channel.md`."""

import re
from pathlib import Path

from meshnode.errors import RemoteProtocolError
from meshnode.wire.frames import FrameReader, RecordKey, seal_records, sealed_size
from meshnode.wire.mux import Mux
from meshnode.wire.tensor import Buffer


class PlainCipher:
    """No cipher: the tag is zeros. For tests of what lies above the records."""

    def __init__(self, key: bytes) -> None:
        pass

    def seal_into(self, nonce: bytes, plaintext: Buffer, out: memoryview) -> None:
        out[:-16] = plaintext
        out[-16:] = bytes(16)

    def open_into(self, nonce: bytes, sealed: Buffer, out: memoryview) -> None:
        if bytes(sealed[-16:]) != bytes(16):
            raise RemoteProtocolError("bad tag")
        out[:] = sealed[:-16]


def size_of(header: bytes) -> int:
    if len(header) < 4:
        raise RemoteProtocolError("a header without a size")
    return int.from_bytes(header[:4], "big")


def deliver(source: Mux, target: Mux) -> None:
    """Send one batch."""
    batch = source.next_batch()
    data = bytearray(sealed_size(batch))
    seal_records(RecordKey(b"", PlainCipher), batch, memoryview(data))
    reader = FrameReader(RecordKey(b"", PlainCipher), target)
    feed(reader, bytes(data))


def feed(reader: FrameReader, data: bytes, step: int = 2**20) -> None:
    while data:
        space = reader.space()
        count = min(len(space), len(data), step)
        space[:count] = data[:count]
        reader.received(count)
        data = data[count:]


PAGE = Path(__file__).parents[3] / "docs" / "protocol-channel.md"


def vector(name: str) -> dict[str, bytes]:
    """Return the values of the page's box `vector: NAME`."""
    box = re.search(rf"^```text vector: {name}\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert box is not None, f"the page has no box '{name}'"
    fields: dict[str, bytes] = {}
    for entry in re.split(r"\n(?! )", box[1].strip()):
        key, _, value = entry.rpartition("=")
        fields[key.strip()] = bytes.fromhex(value)
    return fields
