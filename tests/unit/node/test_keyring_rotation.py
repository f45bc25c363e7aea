"""Replacing the mesh's key: killed at any step it goes on, and at no step is anybody cut off."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from meshnode.errors import RoleMissing
from meshnode.identity.certificates import ALL_ROLES, MEMBER
from meshnode.identity.keyring import Stage
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import Mesh, admit, found
from meshnode.ids import Address, Contact, NodeId
from meshnode.node import keyring_book, keyring_rotation
from meshnode.node.keyring_book import MeshBook
from meshnode.node.keyring_rotation import Rotation

START = 1_800_000_000.0
SEEDS = [Identity.from_seed(bytes([n]) * 32) for n in range(1, 6)]


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Someone:
    """A member as gossip shows it."""

    contact: Contact
    name: str
    up: bool = True

    @property
    def state(self) -> "Someone":
        return self

    @property
    def present(self) -> bool:
        return self.up


@dataclass
class Town:
    """The books of an admin and three members on disk, and calls between them that arrive."""

    root: Path
    now: float = START
    books: dict[NodeId, MeshBook] = field(default_factory=dict)
    people: list[Someone] = field(default_factory=list)
    checked: int = 0

    def __post_init__(self) -> None:
        self.mesh, _ = found(SEEDS[0], "home", START)
        for n, identity in enumerate(SEEDS[1:4]):
            chain = admit(
                SEEDS[0],
                self.mesh.chain,
                identity.public_key,
                name="m",
                roles=MEMBER,
                now_unix=START,
            )
            mesh = Mesh(
                name="home", root_key=self.mesh.root_key, mesh_key=self.mesh.mesh_key, chain=chain
            )
            contact = Contact(identity.public_key, Address("192.0.2.1", 1 + n))
            self.people.append(Someone(contact, f"m{n}"))
            self.books[contact.node_id] = self.book(f"m{n}", mesh)
        self.restart()

    def book(self, name: str, mesh: Mesh) -> MeshBook:
        folder = self.root / name
        return MeshBook(
            folder / "keyring.cbor", folder / "revocations.cbor", mesh, lambda: self.now
        )

    def restart(self) -> None:
        """The admin's process starts from what is on its disk."""
        self.own = self.book("admin", self.mesh)
        self.rotation = Rotation(
            self.root / "admin" / "rotation.cbor",
            book=self.own,
            reconciling=self,  # type: ignore[arg-type]
            membership=self,  # type: ignore[arg-type]
            identity=SEEDS[0],
            mesh=self.mesh,
            unix_now=lambda: self.now,
        )

    # what Rotation asks of membership and reconciling

    def members(self) -> list[Someone]:
        return self.people

    def alive(self) -> list[Someone]:
        return [m for m in self.people if m.up]

    async def tell_all(self, contacts: Iterable[Contact]) -> dict[NodeId, bool]:
        found = {}
        for contact in contacts:
            book = self.books[contact.node_id]
            book.merge(self.own.to_bytes())
            self.nobody_is_cut_off()
            found[contact.node_id] = book.digests == self.own.digests
        return found

    def nobody_is_cut_off(self) -> None:
        """Among those that are up: what one sends under, every other accepts."""
        up = [self.own, *(self.books[m.contact.node_id] for m in self.people if m.up)]
        for sender in up:
            for receiver in up:
                assert sender.ring.mesh_key in receiver.ring.accepted_keys()
                self.checked += 1

    async def until(self, holds: Callable[[], bool]) -> None:
        for _ in range(50):
            await self.rotation._round()
            self.nobody_is_cut_off()
            if holds():
                return
            self.now += 1
        raise AssertionError(self.rotation.progress())

    def everywhere(self, stage: Stage, epoch: int = 1) -> bool:
        up = [self.own, *(self.books[m.contact.node_id] for m in self.people if m.up)]
        return all((b.ring.newest.epoch, b.ring.newest.stage) == (epoch, stage) for b in up)

    def done(self) -> bool:
        return bool(self.rotation.progress()["finished"]) and self.everywhere(Stage.RETIRE)


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return Town(tmp_path)


async def test_the_steps_wait_for_those_that_are_alive(town: Town) -> None:
    silent = town.people[2]
    town.rotation.start(force=False, wait_s=30, keep_s=10)
    silent_book = town.books.pop(silent.contact.node_id)

    async def all_but_one(contacts: Iterable[Contact]) -> dict[NodeId, bool]:
        return await Town.tell_all(town, [c for c in contacts if c != silent.contact])

    town.tell_all = all_but_one  # type: ignore[method-assign]
    town.books[silent.contact.node_id] = silent_book
    for _ in range(20):
        await town.rotation._round()
        town.now += 1
    assert town.own.ring.newest.stage is Stage.ACCEPT, "one that is alive has not got it"
    silent.up = False
    await town.rotation._round()
    assert town.own.ring.current.stage is Stage.USE, "one that is gone is not waited for"
    await town.rotation._round()
    assert town.own.ring.newest.stage is Stage.USE, "the old key is kept as long as was asked"
    town.now += 11
    await town.until(lambda: town.own.ring.newest.stage is Stage.RETIRE)


async def test_after_the_wait_and_by_force_it_goes_on_without_the_silent(town: Town) -> None:
    async def nobody(contacts: Iterable[Contact]) -> dict[NodeId, bool]:
        return {c.node_id: False for c in contacts}

    town.tell_all = nobody  # type: ignore[method-assign]
    town.rotation.start(force=False, wait_s=5, keep_s=0)
    await town.rotation._round()
    assert town.own.ring.newest.stage is Stage.ACCEPT
    town.now += 5
    await town.rotation._round()
    assert town.own.ring.newest.stage is Stage.USE
    town.rotation.start(force=True, wait_s=5, keep_s=0)
    await town.rotation._round()
    assert town.own.ring.current.epoch == 2


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after the write"])
async def test_killed_at_any_step_it_goes_on_and_nobody_is_cut_off(
    town: Town, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    writes = {"left": 10**6, "made": 0}
    for module, name in (
        (keyring_book, "write_secret"),
        (keyring_book, "write_state"),
        (keyring_rotation, "write_state"),
    ):
        monkeypatch.setattr(module, name, killing(getattr(module, name), writes, after))
    town.rotation.start(force=False, wait_s=30, keep_s=2)
    await town.until(town.done)
    steps = writes["made"]
    assert steps >= 6
    for killed_at in range(steps):
        fresh = Town(town.root / f"{killed_at}")
        writes["left"] = killed_at
        try:
            fresh.rotation.start(force=False, wait_s=30, keep_s=2)
            await fresh.until(fresh.done)
        except Killed:
            writes["left"] = 10**6
            fresh.nobody_is_cut_off()
            fresh.restart()
            fresh.nobody_is_cut_off()
            if fresh.own.ring.newest.epoch == 0:
                fresh.rotation.start(force=False, wait_s=30, keep_s=2)
            await fresh.until(fresh.done)
        assert fresh.everywhere(Stage.RETIRE)


def killing(write: Callable[..., None], writes: dict[str, int], after: bool) -> Callable[..., None]:
    def write_or_die(path: Path, value: object) -> None:
        if path.parent.name != "admin":
            return write(path, value)
        writes["made"] += 1
        writes["left"] -= 1
        if writes["left"] >= 0 or after:
            write(path, value)
        if writes["left"] < 0:
            raise Killed

    return write_or_die


async def test_another_admin_finishes_what_one_left_undone(town: Town) -> None:
    chain = admit(
        SEEDS[0],
        town.mesh.chain,
        SEEDS[4].public_key,
        name="second",
        roles=ALL_ROLES,
        now_unix=START,
    )
    town.rotation.start(force=False, wait_s=30, keep_s=2)
    await town.rotation._tell_the_rest()
    first = town.own.ring.newest
    second = Mesh(
        name="home", root_key=town.mesh.root_key, mesh_key=town.mesh.mesh_key, chain=chain
    )
    book = town.book("second", second)
    book.merge(town.own.to_bytes())
    town.own = book
    town.rotation = Rotation(
        town.root / "second" / "rotation.cbor",
        book=book,
        reconciling=town,  # type: ignore[arg-type]
        membership=town,  # type: ignore[arg-type]
        identity=SEEDS[4],
        mesh=second,
        unix_now=lambda: town.now,
    )
    town.rotation.start(force=False, wait_s=30, keep_s=2)
    await town.until(town.done)
    assert town.own.ring.current.key_id == first.key_id, "the same key, not a third one"


def test_a_member_may_not(town: Town) -> None:
    mesh = Mesh(
        name="home",
        root_key=town.mesh.root_key,
        mesh_key=town.mesh.mesh_key,
        chain=admit(
            SEEDS[0],
            town.mesh.chain,
            SEEDS[4].public_key,
            name="m",
            roles=MEMBER,
            now_unix=START,
        ),
    )
    rotation = Rotation(
        town.root / "m" / "rotation.cbor",
        book=town.book("m", mesh),
        reconciling=town,  # type: ignore[arg-type]
        membership=town,  # type: ignore[arg-type]
        identity=SEEDS[4],
        mesh=mesh,
        unix_now=lambda: town.now,
    )
    with pytest.raises(RoleMissing):
        rotation.start(force=True, wait_s=0, keep_s=0)
