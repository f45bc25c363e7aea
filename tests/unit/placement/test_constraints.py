"""Who may be given an input, and how the reasons of many nodes are told in few lines."""

from hypothesis import given
from hypothesis import strategies as st

from meshnode.constraints import UNCONSTRAINED, Constraints, Scope
from meshnode.labels import Labels, Traits
from meshnode.placement.constraints import (
    KINDS_MAX,
    NAMED_MAX,
    counted,
    in_time,
    kind_of,
    reach_labels,
    told,
    too_large,
    unmet,
)
from meshnode.wire.limits import MIB

HALL_3, HALL_4 = (("site", "hall-3"),), (("site", "hall-4"),)


def reason(
    wanted: Constraints, theirs: Labels, origin: Labels = HALL_3, *, at_origin: bool = False
) -> str:
    return unmet(wanted, theirs=theirs, origin=origin, at_origin=at_origin)


def test_a_label_must_match() -> None:
    wanted = Constraints((("tier", "edge"),))
    assert reason(wanted, (("tier", "edge"),)) == ""
    assert reason(wanted, (("tier", "cloud"),)) == "other tier (cloud, needs edge)"
    assert reason(wanted, ()) == "no label tier (needs tier=edge)"
    assert reason(wanted, (), at_origin=True) == "no label tier (needs tier=edge)"


def test_labels_that_contradict_each_other_match_nobody() -> None:
    both = Constraints((("site", "hall-3"), ("site", "hall-4")))
    assert reason(both, HALL_3) == "other site (hall-3, needs hall-4)"
    assert reason(both, HALL_4) == "other site (hall-4, needs hall-3)"


def test_data_of_a_node_stays_there() -> None:
    wanted = Constraints(data=Scope.NODE)
    assert reason(wanted, HALL_3) == "data may not leave its node"
    assert reason(wanted, HALL_3, at_origin=True) == ""
    assert reach_labels(wanted, HALL_3) is None


def test_data_of_a_site_goes_to_nodes_of_that_site() -> None:
    wanted = Constraints(data=Scope.SITE)
    assert reason(wanted, HALL_3) == ""
    assert reason(wanted, HALL_4) == "other site (hall-4, data may not leave hall-3)"
    assert reason(wanted, ()) == "other site (none, data may not leave hall-3)"
    assert reach_labels(wanted, HALL_3) == HALL_3


def test_a_node_without_a_site_is_one_by_itself() -> None:
    wanted = Constraints(data=Scope.SITE)
    for theirs in (HALL_3, ()):
        assert kind_of(reason(wanted, theirs, origin=())) == "data may not leave its site"
    assert reason(wanted, (), origin=(), at_origin=True) == ""
    assert reach_labels(wanted, ()) is None


def test_no_constraint_excludes_nobody() -> None:
    assert reason(UNCONSTRAINED, ()) == ""
    assert reach_labels(UNCONSTRAINED, ()) == ()


words = st.sampled_from(["a", "b", "c"])
labels = st.dictionaries(st.sampled_from(["site", "tier"]), words).map(
    lambda d: tuple(sorted(d.items()))
)
wants = st.builds(Constraints, labels, st.sampled_from(Scope))


@given(wants, wants, labels, labels)
def test_joining_never_lets_anybody_in(
    one: Constraints, other: Constraints, theirs: Labels, origin: Labels
) -> None:
    alone = reason(one, theirs, origin) or reason(other, theirs, origin)
    assert bool(reason(one.joined(other), theirs, origin)) == bool(alone)


@given(wants, labels, labels)
def test_whom_a_large_mesh_is_searched_for_is_who_may_be_asked(
    wanted: Constraints, theirs: Labels, origin: Labels
) -> None:
    asked = reach_labels(wanted, origin)
    found = asked is not None and set(asked) <= set(theirs)
    assert found == (not reason(wanted, theirs, origin))


def test_memory_and_time_are_told_in_numbers() -> None:
    assert too_large(600 * MIB + 1, 0, Traits(memory_mib=512)) == (
        "memory budget (needs 601 MiB, has 512)"
    )
    assert too_large(512 * MIB, 0, Traits(memory_mib=512)) == ""
    assert too_large(600 * MIB, 600 * MIB, Traits()) == ""
    small = Traits(memory_pages=24)
    assert too_large(9 * MIB, 24 * 65_536, small) == ""
    assert too_large(9 * MIB, 2 * MIB, small) == (
        "memory policy (needs 2 MiB, gives an instance 1536 KiB)"
    )
    assert in_time(84.4, 50.0) == "too late (predicted 84 ms, has 50 ms)"
    assert in_time(50.0, 50.0) == "in time (predicted 50 ms of 50 ms)"


def test_a_kind_has_no_particulars() -> None:
    assert [
        kind_of(text)
        for text in (
            "lacks cap nn (off unless named in its policy.caps)",
            "other site (hall-4, needs hall-3)",
            "suspect: it does not answer probes",
            "failed 2.1 s ago, excluded 3.0 s more",
            "no load record for 5.1 s",
            "draining",
        )
    ] == [
        "lacks cap nn",
        "other site",
        "suspect",
        "failed",
        "no load record for",
        "draining",
    ]


def test_a_few_nodes_are_named_in_one_order() -> None:
    reasons = [("nas", "dead"), ("gpu", "draining"), ("mac", "dead")]
    assert told(reasons) == told(reasons[::-1]) == ["gpu: draining", "mac: dead", "nas: dead"]
    assert told([]) == []


def test_many_nodes_are_counted() -> None:
    many = [(f"cpu-{i:03}", "lacks cap cuda") for i in range(196)]
    many += [(f"far-{i:03}", f"other site (hall-{i}, needs hall-3)") for i in range(32)]
    lines = told(many)
    assert len(lines) == NAMED_MAX + 1
    assert lines[0] == "cpu-000: lacks cap cuda"
    assert lines[-1] == "and 212 more: 180 lacks cap cuda, 32 other site"


def test_kinds_are_bounded_too() -> None:
    text = counted([f"kind {chr(97 + i)}" for i in range(KINDS_MAX + 3)])
    assert text.endswith(", 3 for other reasons")
