import os
from pathlib import Path
from threading import Thread

import pytest

from meshnode.errors import DiskFull, HashMismatch, RemoteProtocolError
from meshnode.ids import ContentHash
from meshnode.modules.tree import layer_of
from meshnode.storage.blobs import BlobStore, Partial
from meshnode.wire.limits import PIECE_BYTES
from tests.unit.storage.samples import DATA, HASH, piece


def begin(store: BlobStore) -> Partial:
    layer = layer_of(DATA)
    return store.begin(HASH, layer.size, layer.root, layer.hashes)


def store(root: Path) -> BlobStore:
    return BlobStore(root, bytes_max=64 << 20)


def test_pieces_in_any_order_make_the_blob(tmp_path: Path) -> None:
    blobs = store(tmp_path)
    partial = begin(blobs)
    assert partial.missing() == [0, 1, 2, 3]
    for index in (3, 0, 2):
        partial.write(index, piece(index))
    assert partial.have() == {0, 2, 3}
    assert not blobs.has(HASH)
    partial.write(1, piece(1))
    assert partial.finish() == HASH
    assert blobs.read(HASH) == DATA
    assert os.listdir(tmp_path / "partial") == []


def test_a_wrong_piece_is_never_written(tmp_path: Path) -> None:
    partial = begin(store(tmp_path))
    for data in (piece(1), piece(0)[:-1], b""):
        with pytest.raises(HashMismatch):
            partial.write(0, data)
    assert partial.missing() == [0, 1, 2, 3]


def test_after_a_restart_the_verified_pieces_are_still_there(tmp_path: Path) -> None:
    first = begin(store(tmp_path))
    first.write(1, piece(1))
    first.write(3, piece(3))
    again = begin(store(tmp_path))
    assert again.missing() == [0, 2]
    again.write(0, piece(0))
    again.write(2, piece(2))
    assert again.finish() == HASH


def test_a_piece_that_a_crash_left_half_written_is_fetched_again(tmp_path: Path) -> None:
    first = begin(store(tmp_path))
    first.write(0, piece(0))
    first.write(1, piece(1))
    with open(first.path, "r+b") as file:
        file.seek(PIECE_BYTES + 1000)
        file.write(bytes(50))
    assert begin(store(tmp_path)).missing() == [1, 2, 3]


def test_concurrent_fetches_share_one_partial(tmp_path: Path) -> None:
    blobs = store(tmp_path)
    one, other = begin(blobs), begin(blobs)
    assert one is other
    for index in range(4):
        one.write(index, piece(index))
    assert one.finish() == HASH
    assert other.finish() == HASH


def test_threads_may_write_at_once(tmp_path: Path) -> None:
    partial = begin(store(tmp_path))
    threads = [Thread(target=partial.write, args=(i, piece(i))) for i in range(4) for _ in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert partial.finish() == HASH


def test_a_tree_of_another_file_is_found_out_at_the_end(tmp_path: Path) -> None:
    # A liar's root: every piece fits it, the whole file is not the one asked for.
    blobs, layer = store(tmp_path), layer_of(DATA)
    wanted = ContentHash(bytes(32))
    partial = blobs.begin(wanted, layer.size, layer.root, layer.hashes)
    for index in range(4):
        partial.write(index, piece(index))
    with pytest.raises(HashMismatch, match="is another one"):
        partial.finish()
    assert not blobs.has(wanted)
    assert os.listdir(tmp_path / "partial") == []
    assert begin(blobs).missing() == [0, 1, 2, 3]


def test_another_claimed_size_starts_anew(tmp_path: Path) -> None:
    blobs = store(tmp_path)
    begin(blobs).write(0, piece(0))
    shorter = layer_of(DATA[:-1])
    partial = blobs.begin(HASH, shorter.size, shorter.root, shorter.hashes)
    assert partial.missing() == [0, 1, 2, 3]


def test_hashes_must_fit_their_root(tmp_path: Path) -> None:
    layer = layer_of(DATA)
    with pytest.raises(RemoteProtocolError):
        store(tmp_path).begin(HASH, layer.size, bytes(32), layer.hashes)


def test_finishing_too_early_is_our_own_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="missing"):
        begin(store(tmp_path)).finish()


def test_discarding_leaves_nothing(tmp_path: Path) -> None:
    blobs = store(tmp_path)
    partial = begin(blobs)
    partial.write(0, piece(0))
    partial.discard()
    assert os.listdir(tmp_path / "partial") == []
    assert begin(blobs).missing() == [0, 1, 2, 3]


def test_an_empty_blob_is_finished_at_once(tmp_path: Path) -> None:
    blobs, layer = store(tmp_path), layer_of(b"")
    empty = blobs.put(b"")
    blobs.delete(empty)
    assert blobs.begin(empty, 0, layer.root, layer.hashes).finish() == empty
    assert blobs.read(empty) == b""


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partial = begin(store(tmp_path))
    partial.write(0, piece(0))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DiskFull):
        partial.write(1, piece(1))
    assert os.listdir(tmp_path / "partial") == []
