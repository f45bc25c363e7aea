"""What a node remembers survives a restart; damage and nonsense count as nothing."""

import os
import pickle
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.dht.commands import Join
from meshnode.dht.machine import DhtMachine
from meshnode.dht.proofs import Equivocation
from meshnode.dht.settings import DhtSettings
from meshnode.ids import Address, Contact, NetworkId, PublicKey
from meshnode.machine import Random
from meshnode.node.memory import (
    NameMemory,
    Remembered,
    recall,
    recall_names,
    recall_pins,
    remember,
    remember_names,
    remember_pins,
)
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


@pytest.mark.parametrize(
    "contact",
    [
        ["k" * 32, "127.0.0.1", 1],
        [b"k" * 31, "127.0.0.1", 1],
        [b"k" * 32, 7, 1],
        [b"k" * 32, "127.0.0.1\n", 1],
        [b"k" * 32, "h" * 254, 1],
        [b"k" * 32, "127.0.0.1", 65536],
        [b"k" * 32, "127.0.0.1", True],
        [b"k" * 32, "127.0.0.1"],
        "contact",
    ],
)
def test_a_poisoned_contact_spoils_the_file_and_says_so(
    tmp_path: Path, contact: object, caplog: pytest.LogCaptureFixture
) -> None:
    plain = {"format": 1, "incarnation": 1, "port": 1, "contacts": [contact]}
    write_state(tmp_path / "state", plain)
    assert recall(tmp_path / "state") == Remembered()
    assert "is not used" in caplog.text


@pytest.mark.parametrize(("incarnation", "port"), [(-1, 1), (2**64 - 1, 1), (1, -1), (1, 70000)])
def test_numbers_that_no_run_of_ours_has_written_are_refused(
    tmp_path: Path, incarnation: int, port: int
) -> None:
    plain = {"format": 1, "incarnation": incarnation, "port": port, "contacts": []}
    write_state(tmp_path / "state", plain)
    assert recall(tmp_path / "state") == Remembered()


@given(st.binary(max_size=200))
def test_whatever_bytes_lie_there_a_node_starts(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "state"
        path.write_bytes(data)
        assert isinstance(recall(path), Remembered)
        path.write_bytes(data)
        assert isinstance(recall_names(path), NameMemory)


@pytest.mark.parametrize("defended", [True, False])
def test_a_pickle_is_never_loaded_and_is_moved_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    """Attack 19: `kademlia` reads its state with pickle, which runs what the file says."""
    if not defended:
        monkeypatch.setattr(
            "meshnode.storage.state.cbor.loads", lambda data, bytes_max: pickle.loads(data)
        )

    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "owned",)

    (tmp_path / "state").write_bytes(pickle.dumps(Bomb()))
    assert recall(tmp_path / "state") == Remembered()
    assert (tmp_path / "owned").exists() is not defended
    assert (tmp_path / "state.damaged").exists() is defended


@pytest.mark.parametrize("defended", [True, False])
def test_a_poisoned_file_puts_nobody_into_the_table(tmp_path: Path, defended: bool) -> None:
    """Attack 19: whom a file names is asked, and enters only by an answer of its own."""
    poison = tuple(
        Contact(PublicKey(i.to_bytes(32, "big")), Address("192.0.2.1", 9)) for i in range(200)
    )
    remember(tmp_path / "state", Remembered(0, 1, poison))
    own = Contact(PublicKey(b"o" * 32), Address("192.0.2.2", 9))
    network = NetworkId(bytes(16))
    machine = DhtMachine(own, network, DhtSettings(), Random(1))
    contacts = recall(tmp_path / "state").contacts
    if defended:
        machine.handle(Join(contacts), 0.0)
    else:
        for contact in contacts:
            machine._table.add(contact, 0.0)
    for second in range(60):
        machine.tick(float(second))
    assert (machine.size == 0) is defended


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "state")
    assert recall(tmp_path / "state") == Remembered()


def test_what_is_known_of_names_round_trips_and_is_bounded(tmp_path: Path) -> None:
    proof = Equivocation(
        key=b"k" * 32, signer=PublicKey(b"s" * 32), seq=2**63, first=b"1", second=b"2"
    )
    memory = NameMemory(seqs=((b"k" * 32, 2**63), (b"l" * 32, 0)), proofs=(proof,))
    remember_names(tmp_path / "names", memory)
    assert recall_names(tmp_path / "names") == memory
    seqs = [[i.to_bytes(32, "big"), 1] for i in range(5000)]
    write_state(tmp_path / "names", {"format": 1, "seqs": seqs, "proofs": []})
    assert recall_names(tmp_path / "names") == NameMemory()


def test_the_cache_is_bounded(tmp_path: Path) -> None:
    many = tuple(
        Contact(PublicKey(i.to_bytes(32, "big")), Address("127.0.0.1", 1)) for i in range(400)
    )
    remember(tmp_path / "state", Remembered(0, 1, many))
    assert len(recall(tmp_path / "state").contacts) == 256


def test_pins_come_back_and_a_damaged_file_pins_nothing(tmp_path: Path) -> None:
    path = tmp_path / "pins.cbor"
    assert recall_pins(path) == ()
    remember_pins(path, ["detect", "ocr@1.2.0"])
    assert recall_pins(path) == ("detect", "ocr@1.2.0")
    remember_pins(path, [])
    assert recall_pins(path) == ()
    for damaged in (
        {"format": 1, "pins": [["no such reference"]]},
        {"format": 1, "pins": [[7]]},
        {"format": 1, "pins": "detect"},
        {"format": 1, "pins": [["detect"]] * 65},
        {"format": 2, "pins": []},
        ["detect"],
    ):
        write_state(path, damaged)
        assert recall_pins(path) == ()
