"""Who has a place, who is told, and how many circuits there are."""

import pytest

from meshnode.errors import Overloaded, PeerUnreachable
from meshnode.ids import Address, Contact, NetworkId, PublicKey
from meshnode.machine import Random
from meshnode.reach.places import PRESENT_MAX, Places, PlaceSettings

HOME, OTHER = NetworkId(b"h" * 16), NetworkId(b"o" * 16)
SETTINGS = PlaceSettings(
    places_max=40, places_per_block_max=8, circuits_max=5, circuits_per_peer_max=2
)


def contact(n: int) -> Contact:
    return Contact(PublicKey(n.to_bytes(32, "big")), Address(f"10.0.0.{n % 250 + 1}", 6174))


def test_a_node_of_another_network_is_neither_shown_nor_found() -> None:
    places = Places(SETTINGS)
    places.reserve(HOME, contact(1), "10.0.0.1", 0.0)
    assert places.find(HOME, contact(1).node_id, 1.0) == contact(1)
    assert places.present(OTHER, contact(2).public_key, Random(1), 1.0) == ()
    with pytest.raises(PeerUnreachable):
        places.find(OTHER, contact(1).node_id, 1.0)


def test_places_run_out_end_and_are_renewed() -> None:
    places = Places(SETTINGS)
    for n in range(40):
        places.reserve(HOME, contact(n), "10.0.0.1", 0.0)
    with pytest.raises(Overloaded):
        places.reserve(HOME, contact(99), "10.0.0.1", 1.0)
    places.reserve(HOME, contact(3), "10.0.0.1", 3599.0)
    places.reserve(HOME, contact(99), "10.0.0.1", 3601.0)
    assert len(places) == 2
    places.leave(contact(3).node_id)
    with pytest.raises(PeerUnreachable):
        places.find(HOME, contact(3).node_id, 3601.0)


def test_one_public_site_cannot_take_every_place() -> None:
    places = Places(SETTINGS)
    for n in range(8):
        places.reserve(HOME, contact(n), f"8.8.8.{n}", 0.0)
    with pytest.raises(Overloaded, match="one site"):
        places.reserve(HOME, contact(50), "8.8.8.99", 0.0)
    places.reserve(HOME, contact(0), "8.8.8.0", 1.0)
    places.reserve(HOME, contact(51), "8.8.4.4", 1.0)


def test_those_present_are_others_and_not_too_many() -> None:
    places = Places(SETTINGS)
    for n in range(30):
        places.reserve(HOME, contact(n), "10.0.0.1", 0.0)
    shown = places.present(HOME, contact(7).public_key, Random(1), 1.0)
    assert len(set(shown)) == PRESENT_MAX
    assert contact(7) not in shown


def test_circuits_are_bounded_for_each_end_and_for_all() -> None:
    places = Places(SETTINGS)
    keys = [contact(n).public_key for n in range(20)]
    first = places.book(keys[0], keys[1])
    places.book(keys[0], keys[2])
    with pytest.raises(Overloaded):
        places.book(keys[0], keys[3])
    with pytest.raises(Overloaded):
        places.book(keys[3], keys[0])
    places.release(first)
    places.release(first)
    places.book(keys[3], keys[0])
    for n in (4, 6, 8):
        places.book(keys[n], keys[n + 1])
    with pytest.raises(Overloaded, match="as many circuits as it may"):
        places.book(keys[10], keys[11])
    assert places.circuits == 5
