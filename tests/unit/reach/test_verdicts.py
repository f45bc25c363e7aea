"""What follows from what peers found."""

from meshnode.ids import PublicKey
from meshnode.reach.verdicts import LASTS_S, PEERS_MAX, Standing, Verdicts

A, B, C = (PublicKey(bytes([n]) * 32) for n in range(3))


def test_nothing_is_known_before_anybody_tried() -> None:
    assert Verdicts().standing(0.0, askable=3) is Standing.UNKNOWN


def test_one_failure_counts_only_where_there_is_one_to_ask() -> None:
    verdicts = Verdicts()
    verdicts.note(A, reached=False, because="refused", now=0.0)
    assert verdicts.standing(1.0, askable=1) is Standing.UNREACHABLE
    assert verdicts.standing(1.0, askable=3) is Standing.UNKNOWN
    verdicts.note(B, reached=False, because="refused", now=0.0)
    assert verdicts.standing(1.0, askable=3) is Standing.UNREACHABLE
    assert verdicts.reasons(1.0) == ("refused",)


def test_the_latest_word_of_each_peer_counts_once_and_not_for_ever() -> None:
    verdicts = Verdicts()
    for _ in range(5):
        verdicts.note(A, reached=False, because="refused", now=0.0)
    assert verdicts.standing(1.0, askable=3) is Standing.UNKNOWN
    verdicts.note(A, reached=True, because="", now=1.0)
    assert verdicts.standing(2.0, askable=3) is Standing.REACHABLE
    verdicts.note(B, reached=False, because="x", now=2.0)
    verdicts.note(C, reached=False, because="x", now=2.0)
    assert verdicts.standing(3.0, askable=3) is Standing.UNREACHABLE
    assert verdicts.standing(3.0 + LASTS_S, askable=3) is Standing.UNKNOWN


def test_the_peers_remembered_are_bounded() -> None:
    verdicts = Verdicts()
    for n in range(3 * PEERS_MAX):
        verdicts.note(PublicKey(bytes([n]) * 32), reached=True, because="", now=0.0)
    assert len(verdicts._by) == PEERS_MAX
