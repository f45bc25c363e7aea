"""Signatures: every field counts, nobody signs for another, no mesh's words count in another."""

from dataclasses import replace

import pytest

from meshnode.caps import Caps
from meshnode.gossip.words import Signatures, accusation_bytes, word_bytes
from meshnode.ids import Address, Contact, NetworkId
from meshnode.labels import Traits
from tests.unit.gossip.people import (
    ALIVE,
    ANN,
    BOB,
    CID,
    IDENTITIES,
    LEFT,
    NETWORK,
    OWN,
    WITNESSES,
    accusation,
    tag,
    update,
)

WITNESS = WITNESSES[OWN.public_key]
WORD = update(ANN, ALIVE, 3, name="ann")


def test_a_members_own_word_is_known_by_everybody() -> None:
    assert WITNESS.is_own_word(WORD)


@pytest.mark.parametrize(
    "changed",
    [
        {"state": int(LEFT)},
        {"incarnation": 4},
        {"name": "anna"},
        {"caps": Caps.CUDA},
        {"traits": Traits((("site", "hall-3"),))},
        {"traits": Traits((), 512)},
        {"traits": Traits((), 0, 512)},
        {"contact": replace(ANN, address=Address("10.0.0.2", 6175))},
        {"contact": replace(ANN, address=Address("10.0.0.3", 6174))},
        {"contact": BOB},
        {"signature": bytes(64)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_word_with_anything_changed_is_nobodys(changed: dict[str, object]) -> None:
    assert not WITNESS.is_own_word(replace(WORD, **changed))


def test_words_of_one_mesh_are_nothing_in_another() -> None:
    elsewhere = Signatures(IDENTITIES[0], NetworkId(b"another mesh too"))
    assert not elsewhere.is_own_word(WORD)
    assert not elsewhere.is_true(accusation(ANN, BOB), ANN.node_id, BOB)


def test_an_accusation_is_its_accusers_and_about_one_incarnation() -> None:
    said = accusation(ANN, BOB, 3)
    assert WITNESS.is_true(said, ANN.node_id, BOB)
    assert not WITNESS.is_true(said, ANN.node_id, CID)
    assert not WITNESS.is_true(said, CID.node_id, BOB)
    assert not WITNESS.is_true(replace(said, incarnation=4), ANN.node_id, BOB)
    assert not WITNESS.is_true(replace(said, accuser=tag(CID)), ANN.node_id, CID)
    word_signature = update(BOB, ALIVE, 3).signature
    assert not WITNESS.is_true(replace(said, signature=word_signature), ANN.node_id, BOB)


def test_both_ends_sign_a_host_as_it_travels() -> None:
    """An address may be written in several ways; the decoder gives back one."""
    for written, decoded in (
        ("::ffff:10.0.0.2", "10.0.0.2"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:DB8::1", "2001:db8::1"),
    ):
        said = replace(WORD, contact=Contact(ANN.public_key, Address(written, 1)))
        heard = replace(WORD, contact=Contact(ANN.public_key, Address(decoded, 1)))
        assert word_bytes(NETWORK, said) == word_bytes(NETWORK, heard)


def test_the_layouts_are_those_of_the_protocol() -> None:
    labelled = replace(WORD, traits=Traits((("site", "b"), ("tier", "edge")), 512, 4096))
    assert word_bytes(NETWORK, labelled) == (
        NETWORK
        + ANN.public_key
        + b"\x00"
        + bytes(7)
        + b"\x03"
        + bytes(3)
        + b"\x01"
        + (6174).to_bytes(2, "big")
        + b"\x04\x0a\x00\x00\x02"
        + b"\x00\x00\x02\x00"
        + b"\x00\x00\x10\x00"
        + b"\x00\x10site=b\ntier=edge"
        + b"ann"
    )
    assert accusation_bytes(NETWORK, ANN.node_id, 3, BOB.node_id) == (
        NETWORK + ANN.node_id + bytes(7) + b"\x03" + BOB.node_id
    )
