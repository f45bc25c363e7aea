"""What we say about ourselves: signed, and above what was said in our name before."""

from dataclasses import replace

import pytest

from meshnode.ids import Address
from tests.unit.gossip.people import ALIVE, ANN, LEFT, OWN, own_self, unsigned, update

MOVED = replace(OWN, address=Address("10.7.7.7", 1))


@pytest.mark.parametrize(
    "earlier",
    [
        update(OWN, ALIVE, 6, name="own"),
        update(OWN, LEFT, 5, name="own"),
        update(MOVED, ALIVE, 5, name="own"),
        update(OWN, ALIVE, 2**40, name="own"),
    ],
)
def test_words_of_an_earlier_life_are_outdone(earlier: object) -> None:
    own = own_self(5)
    assert own.outdone(earlier)
    own.rise_above(earlier.incarnation)
    assert own.incarnation == earlier.incarnation + 1
    assert own.word == update(OWN, ALIVE, own.incarnation, name="own")


def test_our_present_word_and_old_ones_need_no_answer() -> None:
    own = own_self(5)
    assert not own.outdone(own.word)
    assert not own.outdone(update(OWN, LEFT, 4, name="own"))


def test_what_we_did_not_sign_does_not_drive_us_up() -> None:
    own = own_self(5)
    assert not own.outdone(unsigned(update(OWN, ALIVE, 9, name="own")))
    forged = replace(update(OWN, ALIVE, 9), signature=update(ANN, ALIVE, 9).signature)
    assert not own.outdone(forged)


def test_leaving_is_a_word_too() -> None:
    own = own_self(5)
    own.leave()
    assert own.left
    assert own.word == update(OWN, LEFT, 5, name="own")
