"""The order of the ways to a node."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from meshnode.ids import Address, NodeId
from meshnode.reach.steps import (
    ADDRESSES_MAX,
    REMEMBERED_S,
    Step,
    Way,
    WayMemory,
    Worked,
    plan,
)

LAN, PUBLIC, FAR = (Address(h, 1) for h in ("192.168.1.5", "203.0.113.5", "10.1.2.3"))
NEAR = ("192.168.1.20",)


def test_lan_then_public_then_elsewhere_then_called_back_then_half_way_then_relayed() -> None:
    steps = plan((FAR, PUBLIC, LAN), near=NEAR, detours=True)
    assert [(s.way, s.address) for s in steps] == [
        (Way.DIRECT, LAN),
        (Way.DIRECT, PUBLIC),
        (Way.DIRECT, FAR),
        (Way.CALL_BACK, None),
        (Way.HALF_WAY, None),
        (Way.CIRCUIT, None),
    ]
    assert steps[0].after_s == 0


def test_without_a_rendezvous_there_are_only_addresses() -> None:
    assert plan((PUBLIC,), near=NEAR, detours=False) == (Step(Way.DIRECT, PUBLIC, 0.0),)


def test_what_worked_comes_first_and_at_once() -> None:
    steps = plan((PUBLIC,), near=NEAR, detours=True, worked=Worked(Way.CIRCUIT, None, 0.0))
    assert [s.way for s in steps] == [Way.CIRCUIT, Way.DIRECT, Way.CALL_BACK, Way.HALF_WAY]
    assert steps[0].after_s == 0


def test_an_address_that_is_no_longer_known_is_not_tried() -> None:
    steps = plan((PUBLIC,), near=NEAR, detours=False, worked=Worked(Way.DIRECT, LAN, 0.0))
    assert [s.address for s in steps] == [PUBLIC]


@given(
    st.lists(st.integers(1, 99).map(lambda n: Address(f"10.0.{n}.1", n)), min_size=1),
    st.booleans(),
)
def test_each_way_once_bounded_and_in_rising_time(addresses: list[Address], detours: bool) -> None:
    steps = plan(addresses, near=NEAR, detours=detours)
    assert len({(s.way, s.address) for s in steps}) == len(steps)
    assert len(steps) <= ADDRESSES_MAX + 3
    assert all(a.after_s < b.after_s for a, b in pairwise(steps))


def test_memory_fades() -> None:
    memory, node = WayMemory(), NodeId(bytes(32))
    memory.note(node, Step(Way.CIRCUIT, None, 0.0), 5.0)
    assert memory.of(node, 6.0) == Worked(Way.CIRCUIT, None, 5.0)
    assert memory.of(node, 5.0 + REMEMBERED_S) is None
    memory.forget(node)
    assert memory.of(node, 6.0) is None
