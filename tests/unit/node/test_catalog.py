"""Names: what no record tells is asked of the neighbours, and of the silent once more."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing

from meshnode.caps import Caps
from meshnode.errors import DeadlineExceeded, ModuleNotFound
from meshnode.gossip.member import Member, MemberState
from meshnode.ids import Address, Contact, ContentHash, PublicKey
from meshnode.node.catalog import ASK_TIMEOUT_S, Catalog
from meshnode.wire.messages import Catalog as Listed
from meshnode.wire.messages import CatalogEntry

ENTRY = CatalogEntry(
    module=ContentHash(b"m" * 32),
    name="digits",
    version="1.0.0",
    publisher=PublicKey(b"p" * 32),
    size=100,
    warm=True,
)


def member(number: int) -> Member:
    contact = Contact(PublicKey(bytes([number]) * 32), Address("127.0.0.1", 6000 + number))
    return Member(
        contact=contact,
        name=f"n{number}",
        caps=Caps.NN,
        state=MemberState.ALIVE,
        incarnation=1,
    )


@dataclass
class Pool:
    """Members that need a while to be connected to, and what they list then."""

    takes_s: dict[str, float]
    entries: tuple[CatalogEntry, ...] = (ENTRY,)
    asked: list[tuple[int, float]] = field(default_factory=list)

    async def call(self, contact: Contact, message: object, *, timeout_s: float) -> Listed:
        self.asked.append((contact.address.port, timeout_s))
        takes_s = self.takes_s[f"n{contact.address.port - 6000}"]
        await trio.sleep(min(takes_s, timeout_s))
        if takes_s > timeout_s:
            raise DeadlineExceeded("no answer in time")
        return Listed(entries=self.entries)


def catalog(pool: Pool) -> Catalog:
    members = [member(number + 1) for number in range(len(pool.takes_s))]
    parts: dict[str, Any] = {
        "library": SimpleNamespace(modules=(), catalog=lambda: Listed(entries=())),
        "directory": SimpleNamespace(),
        "membership": SimpleNamespace(alive=lambda: members),
        "pool": pool,
        "trust": SimpleNamespace(publishers=tuple),
    }
    return Catalog(**cast("Any", parts), own_name="here")


async def test_a_neighbour_that_is_hard_to_connect_to_is_asked_once_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pool = Pool({"n1": 3.0})
    assert await catalog(pool).resolve("digits") == ENTRY.module
    assert len(pool.asked) == 2


async def test_only_the_silent_are_asked_again(autojump_clock: trio.testing.MockClock) -> None:
    pool = Pool({"n1": 0.01, "n2": 60.0}, entries=())
    with pytest.raises(ModuleNotFound):
        await catalog(pool).resolve("digits")
    assert sorted(port for port, _ in pool.asked) == [6001, 6002, 6002]


async def test_who_answers_is_enough(autojump_clock: trio.testing.MockClock) -> None:
    pool = Pool({"n1": 0.01, "n2": 60.0})
    assert await catalog(pool).resolve("digits") == ENTRY.module
    assert all(timeout_s == ASK_TIMEOUT_S for _, timeout_s in pool.asked)
