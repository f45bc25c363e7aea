"""Glimpses: 30 bytes a member, the youngest counts, none older than half a minute."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from meshnode.gossip.glimpses import MODULES, Glimpse, GlimpseTable, entry_of
from meshnode.gossip.settings import GossipSettings
from meshnode.ids import NodeTag
from meshnode.wire.limits import GLIMPSES_MAX
from meshnode.wire.messages import ModuleLoad
from tests.unit.gossip.people import ANN, BOB, CID, OWN, load, tag

KNOWN = {tag(ANN), tag(BOB), tag(CID)}
BUSY = replace(
    load(ANN),
    wait=1234,
    speed=310,
    draining=True,
    modules=(ModuleLoad(module=NodeTag(b"m" * 8), warm=True, first=1, unit=1),),
)


def table() -> GlimpseTable:
    return GlimpseTable(GossipSettings())


def test_an_entry_says_roughly_how_a_node_does() -> None:
    made = table()
    entry = entry_of(tag(ANN), BUSY)
    assert len(entry) == 30
    made.hear(entry, 1.0, KNOWN)
    assert made.of(tag(ANN), 1.0) == Glimpse(123, 310, True, frozenset([b"mmm"]))
    assert made.of(tag(BOB), 1.0) is None
    nothing = entry_of(tag(BOB), None)
    made.hear(nothing, 1.0, KNOWN)
    assert made.of(tag(BOB), 1.0) == Glimpse(0, 0, False, frozenset())


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 8))
def test_large_numbers_and_many_modules_are_cut(wait: int, speed: int, modules: int) -> None:
    entry = entry_of(tag(ANN), replace(load(ANN, modules=modules), wait=wait, speed=speed))
    assert len(entry) == 30
    made = table()
    made.hear(entry, 1.0, KNOWN)
    glimpse = made.of(tag(ANN), 1.0)
    assert glimpse is not None
    assert glimpse.wait_ms == min(2**16 - 1, wait // 10)
    assert len(glimpse.modules) <= min(modules, MODULES)


def test_only_members_are_kept_and_only_the_youngest() -> None:
    made = table()
    made.hear(entry_of(tag(OWN), None), 1.0, KNOWN)
    assert len(made) == 0
    made.hear(entry_of(tag(ANN), BUSY), 1.0, KNOWN)
    passed_on = made.packet(entry_of(tag(OWN), None), 6.0)
    other = table()
    other.hear(passed_on, 6.0, KNOWN)
    newer = entry_of(tag(ANN), load(ANN))
    other.hear(newer, 4.0, KNOWN)
    assert other.of(tag(ANN), 6.0) == Glimpse(0, 100, False, frozenset())
    other.hear(passed_on, 6.0, KNOWN)  # five seconds old: older than what is held
    assert other.of(tag(ANN), 6.0) == Glimpse(0, 100, False, frozenset())


def test_they_age_out() -> None:
    made = table()
    made.hear(entry_of(tag(ANN), BUSY), 1.0, KNOWN)
    assert made.of(tag(ANN), 31.1) is None
    assert len(made.packet(entry_of(tag(OWN), None), 31.1)) == 30
    assert len(made) == 1
    made.forget(tag(ANN))
    assert len(made) == 0
    made.hear(made.packet(entry_of(tag(BOB), None), 40.0), 40.0, KNOWN)
    made.forget(tag(BOB))
    assert made.of(tag(BOB), 40.0) is None


def test_a_packet_has_our_entry_first_and_each_member_once() -> None:
    made = table()
    many = {NodeTag(i.to_bytes(8, "big")) for i in range(200)}
    for _ in range(2):
        for name in many:
            made.hear(entry_of(name, None), 1.0, many)
    packet = made.packet(entry_of(tag(OWN), BUSY), 2.0)
    tags = [packet[i : i + 8] for i in range(0, len(packet), 30)]
    assert len(tags) == len(set(tags)) == GLIMPSES_MAX
    assert tags[0] == tag(OWN)
