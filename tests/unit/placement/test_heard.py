"""HeardModules: each part as fresh as it can be, whatever order the excerpts come in."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from meshnode.ids import NodeTag
from meshnode.placement.heard import UNCONFIRMED_S_MAX, HeardModules
from meshnode.wire.excerpts import excerpt
from meshnode.wire.messages import LoadRecord, ModuleLoad
from tests.unit.placement.nodes import NOW, record

A, B, C, D = (NodeTag(bytes([n]) * 8) for n in range(4))


def whole(sequence: int, *tags: NodeTag, warm: str = "", first: int = 0) -> LoadRecord:
    """A record with these modules; `warm` has the places of the warm ones."""
    modules = tuple(
        ModuleLoad(module=tag, warm=str(i) in warm, first=first or sequence, unit=1)
        for i, tag in enumerate(tags)
    )
    return replace(record("a", sequence=sequence), modules=modules)


def known(heard: HeardModules) -> dict[NodeTag, tuple[bool, int]]:
    return {m.module: (m.warm, m.first) for m in heard.loads()}


def test_flags_are_of_the_newest_and_numbers_of_who_told_them_last() -> None:
    heard = HeardModules()
    heard.hear(whole(1, A, B, C, warm="01"), NOW)
    assert heard.hear(excerpt(whole(2, A, B, C, warm="02"), 1), NOW)
    assert known(heard) == {A: (True, 1), B: (False, 2), C: (True, 1)}


def test_an_excerpt_that_was_overtaken_brings_numbers_only() -> None:
    heard = HeardModules()
    heard.hear(whole(1, A, B, warm=""), NOW)
    heard.hear(excerpt(whole(5, A, B, warm="1"), 0), NOW)
    assert heard.hear(excerpt(whole(3, A, B, warm="0"), 1), NOW)
    assert known(heard) == {A: (False, 5), B: (True, 3)}
    assert not heard.hear(excerpt(whole(3, A, B, warm="0"), 1), NOW), "heard before"
    assert not heard.hear(excerpt(whole(2, A, B, warm="0"), 0), NOW)
    assert not heard.hear(whole(2, A, B, warm="0"), NOW)
    assert known(heard) == {A: (False, 5), B: (True, 3)}


def test_flags_of_another_list_say_nothing_of_places_told_before() -> None:
    heard = HeardModules()
    heard.hear(whole(1, A, B, warm="0"), NOW)
    heard.hear(excerpt(whole(2, C, B, warm="1"), 1), NOW)
    assert known(heard) == {A: (True, 1), B: (True, 2)}
    heard.hear(excerpt(whole(3, C, B, warm="1"), 0), NOW)
    assert known(heard) == {C: (False, 3), B: (True, 2)}, "one place, one module"


def test_a_module_that_moved_is_known_at_its_new_place_only() -> None:
    heard = HeardModules()
    heard.hear(whole(1, A, B), NOW)
    heard.hear(excerpt(whole(2, D, C, A), 2), NOW)
    assert known(heard) == {B: (False, 1), A: (False, 2)}
    assert not heard.hear(excerpt(whole(1, A, C), 0), NOW)


def test_what_another_list_had_is_forgotten_after_a_while() -> None:
    heard = HeardModules()
    heard.hear(whole(1, A, B), NOW)
    heard.hear(excerpt(whole(2, C, B), 0, 0), NOW + UNCONFIRMED_S_MAX)
    assert set(known(heard)) == {A, B}
    heard.hear(excerpt(whole(3, D, B), 1), NOW + UNCONFIRMED_S_MAX + 1)
    assert set(known(heard)) == {B}


def test_a_whole_record_leaves_nothing_else() -> None:
    heard = HeardModules()
    heard.hear(whole(1, A, B, C), NOW)
    heard.hear(excerpt(whole(2, A, B, C), 2), NOW)
    heard.hear(whole(3, A), NOW)
    assert known(heard) == {A: (False, 3)}
    late = HeardModules()
    late.hear(excerpt(whole(9, A, B), 1), NOW)
    late.hear(whole(8, A, C, D), NOW)
    assert known(late) == {A: (False, 8), B: (False, 9), D: (False, 8)}


def test_what_was_invented_is_forgotten_with_its_sequence() -> None:
    heard = HeardModules()
    heard.hear(whole(1, A, B, warm="0"), NOW)
    heard.hear(excerpt(whole(90, A, B, warm="1"), 1), NOW)
    heard.disbelieve(5)
    heard.hear(excerpt(whole(5, A, B, warm="0"), 0, 0), NOW)
    assert known(heard) == {A: (True, 1)}


@st.composite
def histories(draw: st.DrawFn) -> list[LoadRecord]:
    """Excerpts of one node's records, in the order in which they are heard."""
    tags = draw(st.permutations([A, B, C, D]))[: draw(st.integers(1, 4))]
    said = []
    for sequence in range(1, draw(st.integers(1, 8)) + 1):
        record_ = whole(sequence, *tags, warm=draw(st.text("0123", max_size=4)))
        at = draw(st.integers(0, len(tags) - 1))
        said.append(excerpt(record_, at, draw(st.sampled_from([0, 1, 2, 4]))))
    heard = draw(st.lists(st.sampled_from(said), min_size=1, max_size=12))
    return list(heard)


@given(histories())
def test_in_any_order_each_part_is_the_newest_that_was_told(heard: list[LoadRecord]) -> None:
    """A list that does not change: what is known depends on what was heard and not on the order."""
    made = HeardModules()
    before: tuple[ModuleLoad, ...] = ()
    for each in heard:
        if not made.hear(each, NOW):
            assert made.loads() == before
        before = made.loads()
    newest = max(heard, key=lambda r: r.sequence)
    numbers: dict[NodeTag, int] = {}
    for each in sorted(heard, key=lambda r: r.sequence):
        numbers.update({m.module: m.first for m in each.modules})
    assert {m.module: m.first for m in made.loads()} == numbers
    flags = {m.module: m.warm for m in newest.modules}
    assert all(m.warm == flags.get(m.module, m.warm) for m in made.loads())
    assert len(made.loads()) <= 8
