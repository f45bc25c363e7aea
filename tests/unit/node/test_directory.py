"""The directory: names by compare and swap, what is saved, and what is taken back."""

import trio
from trio.testing import MockClock

from meshnode.dht.records import NameRecord
from meshnode.errors import StoreError
from meshnode.identity.keys import Identity
from meshnode.node.memory import NameMemory
from tests.unit.dht.page import ALICE, BLOB, BOB, name, provider
from tests.unit.node.directories import place

EVE = Identity.from_seed(b"e" * 32)


async def test_a_name_is_replaced_only_where_it_is_as_it_was_read(
    autojump_clock: MockClock,
) -> None:
    async with place(5) as (_, (one, two, three, *_)):
        await one.publish(name(ALICE, seq=5), ALICE)
        first = await one.publish(name(ALICE, seq=6, version="2"), ALICE, cas=5)
        late = await two.publish(name(ALICE, seq=7, version="3"), ALICE, cas=5)
        assert (first.stored, first.conflicts) == (4, 0)
        assert (late.stored, late.seq_held) == (0, 6)
        assert late.conflicts
        found = await three.name(ALICE.public_key, "detect")
        assert found == name(ALICE, seq=6, version="2")


async def test_of_two_who_swap_at_once_one_is_told_that_he_lost(autojump_clock: MockClock) -> None:
    async with place(6) as (_, (one, two, three, *_)):
        await three.publish(name(ALICE, seq=5), ALICE)
        lost: list[bool] = []

        async def swap(directory, record: NameRecord) -> None:
            done = await directory.publish(record, ALICE, cas=5)
            lost.append(done.conflicts > 0)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(swap, one, name(ALICE, seq=6, version="2"))
            nursery.start_soon(swap, two, name(ALICE, seq=7, version="3"))
        assert any(lost)


async def test_an_older_name_is_not_believed_after_a_newer_one(autojump_clock: MockClock) -> None:
    async with place(4) as (here, (one, two, *_)):
        await one.publish(name(ALICE, seq=5), ALICE)
        assert await two.name(ALICE.public_key, "detect") == name(ALICE, seq=5)
        for contact in [c for c, d in here.directories.items() if d is not two]:
            here.stop(contact)
        _, liar = here.start(EVE)
        await liar.publish(name(ALICE, seq=4), ALICE)
        assert await two.name(ALICE.public_key, "detect") in (None, name(ALICE, seq=5))


async def test_what_was_learnt_of_names_is_saved_once_and_on_the_next_news(
    autojump_clock: MockClock,
) -> None:
    saved: list[NameMemory] = []
    async with place(3) as (here, (one, *_)):
        own, reader = here.start(EVE, save=saved.append)
        reader.join(tuple(c for c in here.directories if c != own))
        await one.publish(name(ALICE, seq=5), ALICE)
        await reader.name(ALICE.public_key, "detect")
        await reader.save()
        await reader.save()
        assert [seq for memory in saved for _, seq in memory.seqs] == [5]
        await one.publish(name(ALICE, seq=6), ALICE)
        await reader.name(ALICE.public_key, "detect")
        await reader.save()
        assert [seq for memory in saved for _, seq in memory.seqs] == [5, 6]


async def test_a_disk_that_refuses_is_tried_again(autojump_clock: MockClock) -> None:
    tried: list[NameMemory] = []

    def refuse(memory: NameMemory) -> None:
        tried.append(memory)
        if len(tried) == 1:
            raise StoreError("full")

    async with place(3) as (here, (one, *_)):
        own, reader = here.start(EVE, save=refuse)
        reader.join(tuple(c for c in here.directories if c != own))
        await one.publish(name(ALICE, seq=5), ALICE)
        await reader.name(ALICE.public_key, "detect")
        await reader.save()
        await reader.save()
        await reader.save()
        assert len(tried) == 2


async def test_a_withdrawn_provider_is_found_no_more(autojump_clock: MockClock) -> None:
    async with place(5) as (_, (one, two, three, *_)):
        # A provider's record is stored by himself only: the first two are these keys' nodes.
        await one.publish(provider(ALICE), ALICE)
        await two.publish(provider(BOB), BOB)
        assert {r.provider for r in await three.providers(BLOB)} == {
            ALICE.public_key,
            BOB.public_key,
        }
        await one.publish(provider(ALICE, seq=2, withdrawn=True), ALICE)
        assert {r.provider for r in await three.providers(BLOB)} == {BOB.public_key}
        await one.publish(provider(ALICE), ALICE)
        assert {r.provider for r in await three.providers(BLOB)} == {BOB.public_key}


async def test_what_is_announced_is_published_again_until_it_is_stopped(
    autojump_clock: MockClock,
) -> None:
    made: list[float] = []

    def make():
        made.append(trio.current_time())
        return provider(ALICE, seq=len(made))

    async with place(3) as (_, (one, two, _)):
        began = trio.current_time()
        one.keep_announced(b"prov", make, ALICE, 900.0)
        await trio.sleep(2000.0)
        assert [round((at - began) / 900) for at in made] == [0, 1, 2]
        (found,) = await two.providers(BLOB)
        assert found.seq == 3
        one.stop_announcing(b"prov")
        await trio.sleep(2000.0)
        assert len(made) == 3
