"""When direct ways to relayed peers are tried, on a virtual clock."""

import itertools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import trio
from trio.testing import MockClock

from meshnode.errors import PeerUnreachable
from meshnode.ids import Address, Contact, NodeId, PublicKey
from meshnode.node.upgrading import EVERY_S_MAX, FIRST_AFTER_S, LOOK_EVERY_S, Upgrading
from meshnode.reach.steps import Step, Way

CONTACT = Contact(PublicKey(b"k" * 32), Address("192.0.2.1", 1))
OTHER = Address("192.0.2.2", 2)
STEPS = (
    Step(Way.CIRCUIT, None, 0.0),
    Step(Way.DIRECT, CONTACT.address, 1.5),
    Step(Way.DIRECT, OTHER, 1.75),
    Step(Way.CALL_BACK, None, 2.0),
)


class World:
    """A pool with one relayed peer, of whom some addresses can be connected to."""

    def __init__(self) -> None:
        self.open: set[Address] = set()
        self.tried: list[tuple[float, Address]] = []
        self.worked: list[Step] = []
        self.relayed = True
        self.began = trio.current_time()
        self.upgrading = Upgrading(
            pool=self,  # type: ignore[arg-type]  # the two methods that it uses
            contact_of=self._contact_of,
            steps=self._steps,
            worked=lambda _, step: self.worked.append(step),
        )

    def peers(self) -> list[Any]:
        return [SimpleNamespace(node_id=CONTACT.node_id, relayed=self.relayed)]

    async def connect_anew(self, contact: Contact) -> None:
        self.tried.append((trio.current_time() - self.began, contact.address))
        if contact.address not in self.open:
            raise PeerUnreachable("nobody there")
        self.relayed = False

    def _contact_of(self, node_id: NodeId) -> Contact | None:
        return CONTACT if node_id == CONTACT.node_id else None

    def _steps(self, contact: Contact) -> Sequence[Step]:
        return STEPS


async def test_direct_ways_alone_are_tried_less_and_less_often(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    world = World()
    nursery.start_soon(world.upgrading.run)
    await trio.sleep(4 * EVERY_S_MAX)
    assert {address for _, address in world.tried} == {CONTACT.address, OTHER}
    at = sorted({round(after_s, 3) for after_s, _ in world.tried})
    assert FIRST_AFTER_S <= at[0] <= FIRST_AFTER_S + 2 * LOOK_EVERY_S
    pauses = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert pauses == sorted(pauses)
    assert EVERY_S_MAX <= pauses[-1] <= EVERY_S_MAX + 2 * LOOK_EVERY_S
    assert world.upgrading.upgraded == 0


async def test_the_first_address_that_answers_is_enough_and_remembered(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    world = World()
    world.open = {OTHER}
    nursery.start_soon(world.upgrading.run)
    await trio.sleep(10 * EVERY_S_MAX)
    assert [address for _, address in world.tried] == [CONTACT.address, OTHER]
    assert world.worked == [STEPS[2]]
    assert world.upgrading.upgraded == 1


async def test_who_is_connected_directly_is_left_alone(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    world = World()
    world.relayed = False
    nursery.start_soon(world.upgrading.run)
    await trio.sleep(EVERY_S_MAX)
    assert world.tried == []
