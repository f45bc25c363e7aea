"""Fetching: when all who were found first fail, the DHT is asked to the end."""

from pathlib import Path

import pytest

from meshnode.dht.records import ProviderRecord
from meshnode.errors import BlobNotFound, PeerUnreachable
from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact, ContentHash, NodeId, node_id_of
from meshnode.node.fetching import PROVIDERS_MAX, Fetching
from meshnode.storage.blobs import BlobStore
from meshnode.wire.messages import (
    Describe,
    Description,
    GetPiece,
    GetPieceHashes,
    Piece,
    PieceHashes,
)
from tests.unit.dht.page import provider

DATA = bytes(range(256)) * 2000
HONEST, *LIARS = (Identity.from_seed(bytes([n]) * 32) for n in range(1, 12))


class Providers:
    """A DHT whose plain look is filled with false providers."""

    def __init__(self) -> None:
        self.asked: list[bool] = []

    async def providers(
        self, blob: ContentHash, *, thorough: bool = False
    ) -> tuple[ProviderRecord, ...]:
        self.asked.append(thorough)
        who = [*LIARS, HONEST] if thorough else LIARS
        where = (Address("10.0.0.1", 1),)
        return tuple(provider(each, blob=blob, addresses=where) for each in who)


class Nobody:
    """No members."""

    def alive(self) -> list[object]:
        return []

    def contact_of(self, node_id: NodeId) -> Contact | None:
        return None


class Peers:
    """One peer that serves a store; calls to all others fail."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self.online = True

    async def call(self, contact: Contact, message: object, *, timeout_s: float) -> object:
        if not self.online or contact.public_key != HONEST.public_key:
            raise PeerUnreachable("nothing listens there")
        match message:
            case Describe():
                return Description(
                    module=message.module, size=1, root=bytes(32), publisher_chain=()
                )
            case GetPieceHashes():
                size, root, hashes = self._store.piece_hashes(message.blob)
                return PieceHashes(blob=message.blob, size=size, root=root, body=hashes)
            case GetPiece():
                data = self._store.piece(message.blob, message.index)
                return Piece(blob=message.blob, index=message.index, body=(data,))
        raise AssertionError(message)


class Room:
    def __init__(self, path: Path) -> None:
        theirs = BlobStore(path / "theirs", bytes_max=64 << 20)
        self.blob = theirs.put(DATA)
        self.ours = BlobStore(path / "ours", bytes_max=64 << 20)
        self.peers, self.directory = Peers(theirs), Providers()
        self.fetching = Fetching(
            blobs=self.ours, pool=self.peers, membership=Nobody(), directory=self.directory
        )


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


async def test_a_blob_is_found_behind_false_providers(room: Room) -> None:
    sources: dict[NodeId, int] = {}
    await room.fetching.fetch(room.blob, sources)
    assert room.ours.read(room.blob) == DATA
    assert sources == {node_id_of(HONEST.public_key): len(DATA)}
    assert room.directory.asked == [False, True]


async def test_a_module_is_described_behind_false_providers(room: Room) -> None:
    assert await room.fetching.describe(room.blob, lambda said: said.module) == room.blob
    assert room.directory.asked == [False, True]


async def test_when_nobody_has_it_it_is_looked_for_to_the_end_once(room: Room) -> None:
    room.peers.online = False
    with pytest.raises(BlobNotFound) as caught:
        await room.fetching.fetch(room.blob, {})
    assert room.directory.asked == [False, True]
    assert len(caught.value.because) == len(LIARS) + 1 - PROVIDERS_MAX, "nobody twice"
