from hashlib import sha256

import pytest

from meshnode.errors import RemoteProtocolError, TooLarge
from meshnode.modules import tree
from meshnode.wire.limits import BLOB_BYTES_MAX, LEAF_BYTES, PIECE_BYTES

LIBTORRENT = {
    # `pieces root` of a v2 torrent with 256 KiB pieces, made by libtorrent 2.1.1.
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    16385: "4f06ab5d81301a6be8740291d8491edb35843daecf491a50c4d22d92eaf9acbc",
    100000: "26ce98d1c2ad96891be47b6d01b8a5a8d5a91866997522ee3a57ae0ba846bba9",
    262144: "d0cf8dac53c15b261005ced9029f7491a491ef3aff951d7c6cf53e8f32bfa82f",
    262145: "35e7d3339d214447e6fddd873b6097dacc1066fd067260d61284efce8440f5a8",
    1000000: "477cecee3649032a5441a1ae3dce00d47445a1b73d841bec0ea15fa5bef26d36",
    1310727: "f95ba60cf9df62c4dbc9f018b805733ba0d4806f4ef6e20cc02bdaeda988187b",
}
SIZES = [0, 1, LEAF_BYTES - 1, LEAF_BYTES, LEAF_BYTES + 1, 3 * LEAF_BYTES, PIECE_BYTES]
SIZES += [PIECE_BYTES + 1, 3 * PIECE_BYTES, 5 * PIECE_BYTES + 7]


def blob(size: int) -> bytes:
    return bytes((i * 7 + i // 251) & 0xFF for i in range(size))


def naive_root(data: bytes) -> bytes:
    """BEP 52 as its text says: every leaf of the full tree, one hash after another."""
    layer = [
        sha256(data[i : i + LEAF_BYTES]).digest() for i in range(0, len(data), LEAF_BYTES)
    ] or [bytes(32)]
    while len(layer) & (len(layer) - 1):
        layer.append(bytes(32))
    while len(layer) > 1:
        layer = [sha256(layer[i] + layer[i + 1]).digest() for i in range(0, len(layer), 2)]
    return layer[0]


@pytest.mark.parametrize("size", list(LIBTORRENT))
def test_roots_equal_those_of_libtorrent(size: int) -> None:
    assert tree.root_of(blob(size)).hex() == LIBTORRENT[size]


@pytest.mark.parametrize("size", SIZES)
def test_the_quick_way_equals_the_full_tree(size: int) -> None:
    data = blob(size)
    layer = tree.layer_of(data)
    assert layer.root == tree.root_of(data) == naive_root(data)
    assert layer.size == size
    assert len(layer.hashes) == tree.piece_count(size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [1000, LEAF_BYTES, 70_001])
def test_hashing_in_parts_gives_the_same(size: int, step: int) -> None:
    data, hasher = blob(size), tree.BlobHasher()
    for i in range(0, size, step):
        hasher.update(data[i : i + step])
    assert hasher.finish() == (sha256(data).digest(), tree.layer_of(data))


def test_a_piece_fits_only_in_its_place_and_whole() -> None:
    data = blob(2 * PIECE_BYTES + 5)
    layer = tree.layer_of(data)
    pieces = [data[i : i + PIECE_BYTES] for i in range(0, len(data), PIECE_BYTES)]
    assert all(layer.fits(i, piece) for i, piece in enumerate(pieces))
    assert not layer.fits(1, pieces[0])
    assert not layer.fits(2, pieces[2][:-1])
    assert not layer.fits(2, pieces[2] + b"\0")
    assert not layer.fits(3, b"")
    assert not layer.fits(-1, pieces[2])
    changed = bytearray(pieces[0])
    changed[17] ^= 1
    assert not layer.fits(0, changed)


def test_a_layer_from_a_peer_is_checked_against_its_root() -> None:
    layer = tree.layer_of(blob(3 * PIECE_BYTES))
    raw = b"".join(layer.hashes)
    assert tree.check_layer(layer.size, layer.root, raw) == layer
    with pytest.raises(RemoteProtocolError, match="does not fit its root"):
        tree.check_layer(layer.size, layer.root, raw[32:] + raw[:32])
    with pytest.raises(RemoteProtocolError, match="of 3 pieces"):
        tree.check_layer(layer.size, layer.root, raw[:-1])
    with pytest.raises(RemoteProtocolError, match="of 4 pieces"):
        tree.check_layer(layer.size + 1, layer.root, raw)


def test_an_impossible_size_costs_nothing() -> None:
    for size in (-1, BLOB_BYTES_MAX + 1, 2**60):
        with pytest.raises(TooLarge):
            tree.check_layer(size, bytes(32), b"")


def test_piece_lengths_add_up() -> None:
    size = 2 * PIECE_BYTES + 5
    assert [tree.piece_bytes(size, i) for i in range(3)] == [PIECE_BYTES, PIECE_BYTES, 5]
    with pytest.raises(IndexError):
        tree.piece_bytes(size, 3)
