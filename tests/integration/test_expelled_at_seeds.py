"""Seeds serve nobody who is expelled from its mesh: with them told of it, and without."""

from pathlib import Path

import pytest
import trio
import trio.testing

from meshnode.identity.keys import Identity
from meshnode.identity.mesh import found
from meshnode.identity.revocations import Revocations, revoke
from meshnode.ids import NetworkId, PublicKey, to_text
from meshnode.node.clock import unix_now
from meshnode.node.expelled_lists import ExpelledLists
from meshnode.wire import cbor
from meshnode.wire.messages import FindNode, FoundNodes, Received, Reply
from meshnode.wire.reach import CallBack, CompareExpelled, ExpelledCompared, OpenCircuit
from tests.integration.rendezvous import Field, Member, field, refused
from tests.integration.test_mesh import until
from tests.integration.test_reach import seeded, sees, two_members, up

pytestmark = pytest.mark.integration
DEFENDED = pytest.mark.parametrize("defended", [True, False])


def list_of(place: Field, *subjects: PublicKey, mesh_name: str = "home") -> Revocations:
    """What the founder of a mesh has revoked."""
    mesh, founder = place.meshes[mesh_name]
    known = Revocations()
    known.add(
        revoke(
            founder,
            mesh.chain,
            mesh.network,
            subject,
            name="gateway",
            reason="stolen",
            now_unix=unix_now(),
        )
        for subject in subjects
    )
    return known


async def tell(member: Member, known: Revocations) -> Reply:
    body = (cbor.dumps(known.plain()),)
    return await member.ask(CompareExpelled(revocations=known.digest(), body=body))


@DEFENDED
async def test_an_expelled_member_has_no_service_at_a_seed(tmp_path: Path, defended: bool) -> None:
    async with field(tmp_path) as place:
        honest, victim, stolen = [await place.member() for _ in range(3)]
        await victim.reserve()
        known = list_of(place, stolen.identity.public_key)
        if defended:
            reply = await tell(honest, known)
            assert isinstance(reply, ExpelledCompared)
            assert (reply.revocations, reply.body) == (known.digest(), ())
        target = victim.identity.node_id
        for request in (CallBack(target=target, port=1), OpenCircuit(target=target)):
            assert await refused(stolen.ask(request)) is defended
        assert await refused(stolen.reserve()) is defended
        assert not await refused(honest.ask(CallBack(target=target, port=1)))


@DEFENDED
async def test_what_it_has_open_at_the_seed_ends_when_the_seed_hears_of_it(
    tmp_path: Path, defended: bool
) -> None:
    async with field(tmp_path) as place, trio.open_nursery() as nursery:
        honest, victim, stolen = [await place.member() for _ in range(3)]
        await victim.reserve()
        await stolen.reserve()
        connection = await stolen.through(victim.contact)
        nursery.start_soon(connection.run, stolen.answer)
        seed = place.seed
        assert (len(seed.rendezvous.places), seed.rendezvous.places.circuits) == (2, 1)
        gone = [stolen.identity.public_key] if defended else [Identity.generate().public_key]
        await tell(honest, list_of(place, *gone))
        if defended:
            await until(lambda: seed.rendezvous.places.circuits == 0, timeout_s=30)
            await until(lambda: len(seed.rendezvous.places) == 1, timeout_s=30)
            await until(lambda: not connection.usable, timeout_s=30)
        else:
            await trio.testing.wait_all_tasks_blocked()
            assert (len(seed.rendezvous.places), seed.rendezvous.places.circuits) == (2, 1)
        nursery.cancel_scope.cancel()


async def test_what_the_expelled_admitted_falls_at_the_seed_too(tmp_path: Path) -> None:
    async with field(tmp_path) as place:
        honest, stolen = await place.member(), await place.member()
        accomplice = await place.member_of(stolen)
        await accomplice.reserve()
        await tell(honest, list_of(place, stolen.identity.public_key))
        assert await refused(accomplice.reserve())
        assert not await refused(honest.reserve())


async def test_a_mesh_expels_nobody_from_another_mesh(tmp_path: Path) -> None:
    async with field(tmp_path) as place:
        honest, enemy = await place.member("home"), await place.member("other")
        await tell(enemy, list_of(place, honest.identity.public_key, mesh_name="other"))
        assert not await refused(honest.reserve())


@pytest.mark.parametrize("how", ["a member's word", "another mesh's list", "noise"])
async def test_a_list_that_is_not_genuine_is_not_taken(tmp_path: Path, how: str) -> None:
    async with field(tmp_path) as place:
        honest, liar = await place.member(), await place.member()
        await place.member("other")
        if how == "noise":
            ask = CompareExpelled(revocations=bytes(16), body=(b"\x81\x82\x80\x80",))
            assert await refused(liar.ask(ask))
        else:
            known = list_of(place, honest.identity.public_key, mesh_name="other")
            if how == "a member's word":
                known = forged(place, liar, honest.identity.public_key)
            assert await refused(tell(liar, known))
        assert len(place.seed.expelled) == 0
        assert not await refused(honest.reserve())


def forged(place: Field, liar: Member, subject: PublicKey) -> Revocations:
    """Signed by a member that is no admin, under the founder's certificates."""
    mesh, _ = place.meshes["home"]
    known = Revocations()
    how = {"name": "gateway", "reason": "envy", "now_unix": unix_now()}
    known.add([revoke(liar.identity, mesh.chain, mesh.network, subject, **how)])  # type: ignore[arg-type]
    return known


async def test_a_seed_remembers_over_a_restart(tmp_path: Path) -> None:
    async with field(tmp_path) as place:
        honest, stolen = await place.member(), await place.member()
        await tell(honest, list_of(place, stolen.identity.public_key))
        network, file = honest.channel._mesh.network, place.seed.expelled.file
    again = ExpelledLists(file, unix_now)
    again.load()
    assert again.keys(network) == {stolen.identity.public_key}


def test_the_mesh_with_the_most_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshnode.node.expelled_lists.REVOCATIONS_MAX", 8)
    lists = ExpelledLists(tmp_path / "expelled.cbor", unix_now)
    networks: list[NetworkId] = []
    for count in (2, 6, 3):
        founder = Identity.generate()
        mesh = found(founder, "lab", unix_now())[0]
        known = Revocations()
        known.add(
            revoke(
                founder,
                mesh.chain,
                mesh.network,
                Identity.generate().public_key,
                name="gateway",
                reason="stolen",
                now_unix=unix_now(),
            )
            for _ in range(count)
        )
        lists.take(mesh.network, cbor.dumps(known.plain()), now=0.0)
        networks.append(mesh.network)
    assert [len(lists.keys(network)) for network in networks] == [2, 0, 3]


async def test_one_mesh_cannot_keep_a_seed_busy_with_lists(tmp_path: Path) -> None:
    async with field(tmp_path) as place:
        busy, other = await place.member(), await place.member("other")
        for _ in range(8):
            await refused(tell(busy, list_of(place, Identity.generate().public_key)))
        assert len(place.seed.expelled) == 4
        known = list_of(place, Identity.generate().public_key, mesh_name="other")
        assert not await refused(tell(other, known))


async def test_the_seeds_dht_hears_and_names_nobody_who_is_expelled(tmp_path: Path) -> None:
    await two_members(tmp_path, "a", "b")
    async with seeded(tmp_path) as (seed, stack):
        a, b = await up(tmp_path, "a", seed, stack), await up(tmp_path, "b", seed, stack)
        await until(lambda: seed.status()["nodes"] == 2 and sees(a, b), timeout_s=60)
        said: list[FoundNodes] = []
        send = seed._datagrams.send

        def note(effect: object, *, network: NetworkId) -> None:
            message = effect.message  # type: ignore[attr-defined]
            if isinstance(message, FoundNodes):
                said.append(message)
            send(effect, network=network)  # type: ignore[arg-type]

        seed._datagrams.send = note  # type: ignore[method-assign]
        await a.revoke("b", "stolen", False)
        await until(lambda: bool(seed.expelled.keys(a.mesh.network)), timeout_s=60)
        for node in (a, b):
            ask = FindNode(rpc=1, target=bytes(32))
            seed.receive(a.mesh.network, Received(node.contact, ask, True))
        (told,) = said
        assert b.contact not in told.contacts


async def test_a_revocation_reaches_the_seeds_and_comes_back_from_them(tmp_path: Path) -> None:
    """The seed is told at once; a member that is alone with it hears of it there."""
    await two_members(tmp_path, "a", "b")
    async with seeded(tmp_path) as (seed, stack):
        a = await up(tmp_path, "a", seed, stack)
        done = await a.revoke(to_text(Identity.generate().public_key), "stolen", False)
        assert (done["seeds"], done["seeds_told"]) == (1, 1)
        network = a.mesh.network
        assert seed.expelled.keys(network) == a.parts.upkeep.revoking._book.revocations.keys
        b = await up(tmp_path, "b", seed, stack)
        book = b.parts.upkeep.revoking._book
        await until(lambda: book.revocations.keys == seed.expelled.keys(network), timeout_s=60)
