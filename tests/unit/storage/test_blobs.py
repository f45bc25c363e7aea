import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from threading import Thread

import pytest

from meshnode.errors import (
    BlobNotFound,
    CorruptBlob,
    RemoteProtocolError,
    StoreError,
    StoreFull,
    TooLarge,
)
from meshnode.ids import ContentHash
from meshnode.modules.tree import layer_of
from meshnode.storage import disk
from meshnode.storage.blobs import BlobStore
from meshnode.wire.limits import PIECE_BYTES
from tests.unit.storage.samples import DATA, HASH, piece

ROOMY = 64 << 20


def file_of(root: Path, blob: ContentHash, suffix: str = "") -> Path:
    return root / "sha256" / blob.hex()[:2] / (blob.hex() + suffix)


def rot(path: Path, at: int = 5) -> None:
    """Change one byte, as a failing disk would; the times are those of now."""
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def everything(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


def test_a_blob_comes_back_by_its_hash(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, bytes_max=ROOMY)
    blob = store.put(DATA)
    assert blob == HASH == sha256(DATA).digest()
    assert store.has(blob)
    assert store.size(blob) == len(DATA)
    assert store.read(blob) == DATA
    assert file_of(tmp_path, blob).read_bytes() == DATA
    assert [e.blob for e in store.list()] == [blob]


def test_a_file_is_stored_as_its_bytes_are(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(DATA)
    store = BlobStore(tmp_path / "store", bytes_max=ROOMY)
    assert store.put(tmp_path / "in") == HASH
    assert store.read(HASH) == DATA
    with pytest.raises(StoreError, match="No such file"):
        store.put(tmp_path / "absent")


def test_pieces_and_their_hashes_are_served(tmp_path: Path) -> None:
    store, layer = BlobStore(tmp_path, bytes_max=ROOMY), layer_of(DATA)
    store.put(DATA)
    assert store.piece_hashes(HASH) == (layer.size, layer.root, layer.hashes)
    assert [store.piece(HASH, i) for i in range(4)] == [piece(i) for i in range(4)]
    assert store.head(HASH, 100) == DATA[:100]
    for index in (-1, 4):
        with pytest.raises(RemoteProtocolError, match="no piece"):
            store.piece(HASH, index)


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    BlobStore(tmp_path, bytes_max=ROOMY).put(DATA)
    again = BlobStore(tmp_path, bytes_max=ROOMY)
    assert again.has(HASH)
    assert again.piece(HASH, 2) == piece(2)
    assert again.read(HASH) == DATA


def test_what_is_not_here_is_not_found(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, bytes_max=ROOMY)
    for ask in (store.read, store.size, store.piece_hashes, store.pin, store.verify):
        with pytest.raises(BlobNotFound):
            ask(HASH)
    with pytest.raises(BlobNotFound):
        store.piece(HASH, 0)


def test_a_file_that_somebody_removed_is_not_found_and_can_be_put_again(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, bytes_max=ROOMY)
    store.put(DATA)
    file_of(tmp_path, HASH).unlink()
    with pytest.raises(BlobNotFound):
        store.read(HASH)
    assert not store.has(HASH)
    assert store.put(DATA) == HASH
    assert store.read(HASH) == DATA


@pytest.mark.parametrize("restart", [True, False])
def test_a_rotten_blob_is_set_aside_and_never_served(tmp_path: Path, restart: bool) -> None:
    store = BlobStore(tmp_path, bytes_max=ROOMY)
    store.put(DATA)
    assert store.read(HASH) == DATA
    rot(file_of(tmp_path, HASH))
    store = BlobStore(tmp_path, bytes_max=ROOMY) if restart else store
    with pytest.raises(CorruptBlob) as caught:
        store.read(HASH)
    assert "quarantine" in caught.value.because[0]
    assert not store.has(HASH)
    assert everything(tmp_path) == [f"quarantine/{HASH.hex()}"]
    store.put(DATA)
    assert store.read(HASH) == DATA


def test_a_rotten_piece_is_never_served(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, bytes_max=ROOMY)
    store.put(DATA)
    rot(file_of(tmp_path, HASH), PIECE_BYTES + 9)
    assert store.piece(HASH, 0) == piece(0)
    with pytest.raises(CorruptBlob):
        store.piece(HASH, 1)
    assert not store.has(HASH)


def test_a_blob_that_was_cut_off_is_never_served(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, bytes_max=ROOMY)
    store.put(DATA)
    os.truncate(file_of(tmp_path, HASH), PIECE_BYTES)
    with pytest.raises(CorruptBlob):
        store.piece(HASH, 2)


@pytest.mark.parametrize("damage", [b"", b"junk", None])
def test_a_rotten_tree_is_made_anew(tmp_path: Path, damage: bytes | None) -> None:
    BlobStore(tmp_path, bytes_max=ROOMY).put(DATA)
    tree = file_of(tmp_path, HASH, ".tree")
    tree.unlink() if damage is None else tree.write_bytes(damage)
    store = BlobStore(tmp_path, bytes_max=ROOMY)
    assert store.piece(HASH, 1) == piece(1)
    assert tree.exists()


def test_a_tree_of_another_blob_is_made_anew(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, bytes_max=ROOMY)
    store.put(DATA)
    other = store.put(DATA[::-1])
    file_of(tmp_path, HASH, ".tree").write_bytes(file_of(tmp_path, other, ".tree").read_bytes())
    store = BlobStore(tmp_path, bytes_max=ROOMY)
    assert store.piece(HASH, 1) == piece(1)


def test_an_unchanged_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    BlobStore(tmp_path, bytes_max=ROOMY).put(DATA)
    store = BlobStore(tmp_path, bytes_max=ROOMY)
    store.read(HASH)

    def never(*_: object) -> None:
        raise AssertionError("hashed again")

    monkeypatch.setattr("meshnode.storage.blobs.sha256", never)
    assert store.read(HASH) == DATA


def test_a_second_put_heals_a_rotten_blob(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, bytes_max=ROOMY)
    store.put(DATA)
    rot(file_of(tmp_path, HASH))
    assert store.put(DATA) == HASH
    assert store.read(HASH) == DATA


def test_the_least_recently_used_goes_first_and_the_pinned_never(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, bytes_max=3000)
    a, b, c = (store.put(bytes([i]) * 1000) for i in range(3))
    store.pin(a)
    store.read(b)
    d = store.put(b"d" * 1000)
    assert {e.blob for e in store.list()} == {a, b, d}
    assert store.take_evicted() == (c,)
    assert store.take_evicted() == ()
    assert store.used_bytes == 3000


def test_pins_and_uses_are_kept_over_a_restart(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, bytes_max=3000)
    a, b, c = (store.put(bytes([i]) * 1000) for i in range(3))
    store.pin(a)
    for used, blob in ((2, b), (1, c)):
        os.utime(file_of(tmp_path, blob, ".tree"), ns=(used, used))
    again = BlobStore(tmp_path, bytes_max=3000)
    again.put(b"d" * 1000)
    assert again.take_evicted() == (c,)
    again.unpin(a)
    again.put(b"e" * 1000)
    again.put(b"f" * 1000)
    assert a in again.take_evicted() or not again.has(b)
    assert not file_of(tmp_path, a, ".pin").exists()


def test_what_cannot_fit_evicts_nothing(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, bytes_max=3000)
    a, b = store.put(b"a" * 1000), store.put(b"b" * 1000)
    store.pin(a)
    with pytest.raises(StoreFull, match="no room for 2500 bytes"):
        store.put(b"x" * 2500)
    assert {e.blob for e in store.list()} == {a, b}
    assert len(everything(tmp_path)) == 5  # two blobs, two trees, one pin


def test_a_smaller_budget_is_met_at_the_next_start(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, bytes_max=3000)
    for i in range(3):
        store.put(bytes([i]) * 1000)
    again = BlobStore(tmp_path, bytes_max=1500)
    assert again.used_bytes == 1000
    assert len(again.take_evicted()) == 2


def test_an_abandoned_fetch_gives_way(tmp_path: Path) -> None:
    layer = layer_of(DATA)
    store = BlobStore(tmp_path, bytes_max=len(DATA) + 100)
    partial = store.begin(HASH, layer.size, layer.root, layer.hashes)
    with pytest.raises(StoreFull):
        store.put(b"x" * 1000)
    del partial
    store.put(b"x" * 1000)
    assert os.listdir(tmp_path / "partial") == []


def test_a_fetch_that_cannot_fit_is_refused_before_it_begins(tmp_path: Path) -> None:
    layer = layer_of(DATA)
    with pytest.raises(StoreFull):
        BlobStore(tmp_path, bytes_max=1000).begin(HASH, layer.size, layer.root, layer.hashes)
    assert everything(tmp_path) == []


def test_deleting_leaves_nothing(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, bytes_max=ROOMY)
    store.put(DATA)
    store.pin(HASH)
    store.delete(HASH)
    store.delete(HASH)
    assert everything(tmp_path) == []
    assert not store.has(HASH)


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "BLOB_BYTES_MAX", 10)
    with pytest.raises(TooLarge):
        BlobStore(tmp_path, bytes_max=ROOMY).put(b"x" * 11)


def test_many_threads_may_use_it_at_once(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, bytes_max=40_000)
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for i in range(10):
                data = bytes([seed, i]) * 500
                blob = store.put(data)
                try:
                    assert store.read(blob) == data
                    assert store.piece(blob, 0) == data
                except BlobNotFound:
                    continue  # evicted by another thread meanwhile
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.used_bytes <= 40_000


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from meshnode.errors import DiskFull
from meshnode.storage.blobs import BlobStore
store = BlobStore(Path(sys.argv[1]), bytes_max=1 << 30)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    store.put(bytes(200_000))
except DiskFull as error:
    print(error.code)
"""


def test_when_the_system_refuses_a_write_nothing_is_left(tmp_path: Path) -> None:
    # A file size limit is the one refusal of the real kernel that needs no mount.
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("MN-602\n", "")
    assert everything(tmp_path) == []


CRASH = """
import os, signal, sys
from pathlib import Path
from meshnode.storage import disk
from meshnode.storage.blobs import BlobStore
store = BlobStore(Path(sys.argv[1]), bytes_max=1 << 30)
where = sys.argv[2]
real = getattr(os, where)
def die(*args, **kwargs):
    real(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(os, where, die)
store.put(b"x" * 300_000)
"""


@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
def test_a_kill_at_any_step_leaves_the_whole_blob_or_none(tmp_path: Path, where: str) -> None:
    done = subprocess.run([sys.executable, "-c", CRASH, str(tmp_path), where], timeout=60)
    assert done.returncode == -9
    store = BlobStore(tmp_path, bytes_max=ROOMY)
    assert os.listdir(tmp_path / "tmp") == []
    for entry in store.list():
        assert store.read(entry.blob) == b"x" * 300_000
    blob = store.put(b"x" * 300_000)
    assert store.read(blob) == b"x" * 300_000
    assert everything(tmp_path) == [
        str(file_of(tmp_path, blob, s).relative_to(tmp_path)) for s in ("", ".tree")
    ]
