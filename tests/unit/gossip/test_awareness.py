"""The local health multiplier stays between 0 and its bound."""

from meshnode.gossip.awareness import Awareness


def test_trouble_stretches_every_timeout_up_to_a_bound() -> None:
    awareness = Awareness(2)
    assert awareness.scaled(0.5) == 0.5
    for _ in range(5):
        awareness.worse()
    assert awareness.scaled(0.5) == 1.5


def test_acks_bring_it_back_to_healthy_and_no_further() -> None:
    awareness = Awareness(8)
    awareness.worse()
    for _ in range(5):
        awareness.better()
    assert awareness.scaled(1.0) == 1.0


def test_several_helpers_that_are_silent_count_each() -> None:
    awareness = Awareness(8)
    awareness.worse(3)
    awareness.worse(0)
    assert awareness.score == 3
