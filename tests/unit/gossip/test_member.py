"""Precedence: updates commute, whatever order they arrive in."""

from dataclasses import replace
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.gossip.member import Member, MemberState, overrides, plausible
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.table import MemberTable
from meshnode.ids import Address, Contact
from tests.unit.gossip.people import ALIVE, ANN, DEAD, LEFT, SUSPECT, update

words = st.lists(
    st.tuples(st.sampled_from([MemberState.ALIVE, MemberState.LEFT]), st.integers(1, 4)),
    min_size=1,
    max_size=5,
)


def member(state: MemberState, incarnation: int) -> Member:
    claim = update(ANN, state, incarnation)
    return Member(
        contact=ANN, name=claim.name, caps=claim.caps, state=state, incarnation=incarnation
    )


def test_at_one_incarnation_the_worse_state_wins() -> None:
    order = [ALIVE, SUSPECT, DEAD, LEFT]
    for i, old in enumerate(order):
        for j, new in enumerate(order):
            assert overrides(update(ANN, new, 3), member(old, 3)) is (j > i)


def test_a_higher_incarnation_wins_over_any_state() -> None:
    for old in MemberState:
        assert overrides(update(ANN, ALIVE, 4), member(old, 3))
        assert not overrides(update(ANN, LEFT, 2), member(old, 3))


@settings(max_examples=60, deadline=None)
@given(words)
def test_words_arrive_in_any_order_at_the_same_belief(
    said: list[tuple[MemberState, int]],
) -> None:
    beliefs = set()
    for order in permutations(said):
        table = MemberTable(GossipSettings())
        table.apply(update(ANN, ALIVE, 0), 0.0)
        for state, incarnation in order:
            table.apply(update(ANN, state, incarnation), 0.0)
        found = table.get(ANN.node_id)
        assert found is not None
        beliefs.add((found.state, found.incarnation))
    assert len(beliefs) == 1


def test_what_cannot_be_true_is_not_plausible() -> None:
    assert plausible(update(ANN))
    assert not plausible(update(ANN, SUSPECT))
    assert not plausible(update(ANN, DEAD))
    assert not plausible(update(ANN, 4))
    assert not plausible(replace(update(ANN), state=-1))
    assert not plausible(replace(update(ANN), incarnation=-1))
    assert not plausible(update(ANN, incarnation=2**63))
    assert not plausible(update(ANN, name="\x1b[2J"))
    assert not plausible(update(Contact(ANN.public_key, Address("10.0.0.1", 0))))


def test_what_is_passed_on_is_the_members_own_word() -> None:
    said = update(ANN, ALIVE, 7)
    believed = replace(member(DEAD, 7), signature=said.signature)
    assert believed.word() == said
    gone = update(ANN, LEFT, 7)
    assert replace(member(LEFT, 7), signature=gone.signature).word() == gone
    assert member(DEAD, 7).in_state(ALIVE) == member(ALIVE, 7)
