"""What a node remembers survives a restart; damage and nonsense count as nothing."""

from pathlib import Path

from meshnode.ids import Address, Contact, PublicKey
from meshnode.node.memory import Remembered, recall, remember
from meshnode.storage.state import write_state


def test_it_round_trips(tmp_path: Path) -> None:
    contacts = tuple(Contact(PublicKey(bytes([i]) * 32), Address("127.0.0.1", i)) for i in (1, 2))
    state = Remembered(incarnation=7, port=6175, contacts=contacts)
    remember(tmp_path / "state", state)
    assert recall(tmp_path / "state") == state


def test_no_file_is_a_fresh_state(tmp_path: Path) -> None:
    assert recall(tmp_path / "state") == Remembered()


def test_a_file_of_another_shape_is_a_fresh_state(tmp_path: Path) -> None:
    for plain in ([], {"format": 1}, {"format": 1, "incarnation": "x", "port": 1, "contacts": []}):
        write_state(tmp_path / "state", plain)
        assert recall(tmp_path / "state") == Remembered()


def test_the_cache_is_bounded(tmp_path: Path) -> None:
    many = tuple(
        Contact(PublicKey(i.to_bytes(32, "big")), Address("127.0.0.1", 1)) for i in range(400)
    )
    remember(tmp_path / "state", Remembered(0, 1, many))
    assert len(recall(tmp_path / "state").contacts) == 256
