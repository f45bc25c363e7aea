"""Attack 10 of network.md: holders that lie about a module, each with its defence and without it.

What runs is the library, the fetch and the store of a node, and those of its holders; only the
network between them is a call in memory. The liar is asked first, the honest holder after it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio

from meshnode.errors import BlobNotFound, MeshnodeError, PeerUnreachable
from meshnode.identity.mesh import found
from meshnode.ids import Address, Contact, ContentHash, NodeId
from meshnode.machine import Random
from meshnode.modules import pieces as pieces_module
from meshnode.modules import tree
from meshnode.modules.pack import assemble
from meshnode.modules.pieces import PieceLayer, PiecePlan, layer_of
from meshnode.modules.signing import sign
from meshnode.node.fetching import Fetching
from meshnode.node.library import Library
from meshnode.node.trust import Trust
from meshnode.placement.board import Scoreboard
from meshnode.placement.settings import PlacementSettings
from meshnode.storage.blobs import BlobStore
from meshnode.wire.limits import MIB, PIECE_BYTES
from meshnode.wire.messages import (
    AskHeld,
    Describe,
    Description,
    GetPiece,
    GetPieceHashes,
    Piece,
    PieceHashes,
    Reply,
    Request,
)
from tests.unit.modules.samples import GUEST, MANIFEST, PUBLISHER, WITH_MODEL
from tests.unit.net.mesh import ALICE, BOB, CAROL, NOW
from tests.unit.placement.nodes import MODULE as MODULE_ID
from tests.unit.placement.nodes import decide, node, node_id, record, request

Patch = pytest.MonkeyPatch
switched = pytest.mark.parametrize("defended", [True, False])
WEIGHTS = {"model": Random(1).randbytes(3 * PIECE_BYTES + 5)}
MODULE = sign(assemble(GUEST, WITH_MODEL, WEIGHTS, embed=True)[0], PUBLISHER)
OTHER = sign(assemble(GUEST, replace(MANIFEST, version="1.1.0"), {}, embed=True)[0], PUBLISHER)
GARBAGE = Random(2).randbytes(len(MODULE))
BOMB_BYTES = 1024 * MIB
ASKS_MAX = 500
"""Far more than a fetch of four pieces needs."""
Lie = Callable[[Request, Reply], Reply]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """What a fetch reads of a member."""

    contact: Contact
    rtt_ms: float


class Lan:
    """Two holders, of which the nearer one may lie, and the calls to them."""

    def __init__(self) -> None:
        self.libraries: dict[NodeId, Library] = {}
        self.neighbours: list[Neighbour] = []
        self.lie: Lie = lambda request, reply: reply
        self.asked = 0
        self.enough: Callable[[], object] = lambda: None

    def add(self, contact: Contact, library: Library) -> None:
        self.libraries[contact.node_id] = library
        self.neighbours.append(Neighbour(contact, rtt_ms=1.0 + len(self.neighbours)))

    def alive(self) -> list[Neighbour]:
        return self.neighbours

    def contact_of(self, node_id: NodeId) -> None:
        return None

    async def providers(self, blob: ContentHash, *, thorough: bool = False) -> list[object]:
        return []

    async def call(self, contact: Contact, request: Request, *, timeout_s: float) -> Reply:
        self.asked += 1
        if self.asked >= ASKS_MAX:
            self.enough()
        await trio.lowlevel.checkpoint()
        reply = await _answer(self.libraries[contact.node_id], request)
        return self.lie(request, reply) if contact == self.neighbours[0].contact else reply


async def _answer(library: Library, request: Request) -> Reply:
    match request:
        case Describe():
            return await library.describe(request)
        case AskHeld():
            return library.held(request)
        case GetPieceHashes():
            return await library.piece_hashes(request)
        case GetPiece():
            return await library.piece(request)
    raise AssertionError(request)


def library_of(root: Path, lan: Lan) -> Library:
    mesh, _ = found(ALICE, "lab", NOW)
    trust = Trust(root / "trust.cbor", mesh, accept_mesh=False, unix_now=lambda: NOW)
    trust.add(PUBLISHER.public_key, "lab")
    blobs = BlobStore(root / "store", bytes_max=64 * MIB)
    fetching = Fetching(blobs=blobs, pool=lan, membership=lan, directory=lan)  # type: ignore[arg-type]
    return Library(root / "modules.cbor", blobs, trust, fetching)


async def fetched(root: Path, lie: Lie) -> tuple[Library, ContentHash, Lan]:
    """A node that is about to fetch the module of which one of two holders lies."""
    lan = Lan()
    for name, identity in (("liar", BOB), ("honest", CAROL)):
        library = library_of(root / name, lan)
        info = await library.add(MODULE, [])
        library.keep(info)
        lan.add(Contact(identity.public_key, Address("10.0.0.1", len(name))), library)
    lan.lie = lie
    return library_of(root / "wanting", lan), info.module, lan


async def arrives(root: Path, lie: Lie) -> bool:
    """Whether the module is here, whole and as it is, in spite of a lie."""
    library, module, _ = await fetched(root, lie)
    try:
        with trio.fail_after(20):
            present = await library.ensure(module)
    except MeshnodeError:
        return False
    return present.wasm == MODULE and present.info.manifest.version == MANIFEST.version


# ------------------------------------------------------------------ what a liar says


def another_head(request: Request, reply: Reply) -> Reply:
    """A head that is truly signed, of another module of the same publisher."""
    if not isinstance(reply, Description):
        return reply
    from meshnode.modules.layout import head_of

    return replace(reply, body=(head_of(OTHER),))


def forged_head(request: Request, reply: Reply) -> Reply:
    if not isinstance(reply, Description):
        return reply
    head = b"".join(map(bytes, reply.body))
    return replace(reply, body=(head[:-20] + bytes(20),))


def bad_tree(request: Request, reply: Reply) -> Reply:
    """The tree of another file, and its pieces."""
    garbage = layer_of(GARBAGE)
    if isinstance(reply, PieceHashes):
        return replace(reply, root=garbage.root, body=(b"".join(garbage.hashes),))
    if isinstance(reply, Description):
        return replace(reply, root=garbage.root)
    if isinstance(reply, Piece):
        start = reply.index * PIECE_BYTES
        return replace(reply, body=(GARBAGE[start : start + PIECE_BYTES],))
    return reply


def wrong_size(request: Request, reply: Reply) -> Reply:
    """One byte less: the last piece of the honest does not fit."""
    return replace(reply, size=reply.size - 1) if isinstance(reply, PieceHashes) else reply


def size_bomb(request: Request, reply: Reply) -> Reply:
    """A true tree of 1 GiB of zeros: the layout allows it, and the store has 64 MiB."""
    if not isinstance(reply, PieceHashes):
        return reply
    zeros = tree.hash_piece(bytes(PIECE_BYTES), 2 * PIECE_BYTES)
    layer = [zeros] * (BOMB_BYTES // PIECE_BYTES)
    root = tree.root_of_layer(layer)
    return replace(reply, size=len(layer) * PIECE_BYTES, root=root, body=(b"".join(layer),))


def bad_piece(request: Request, reply: Reply) -> Reply:
    if not isinstance(reply, Piece):
        return reply
    first, *rest = map(bytes, reply.body)
    return replace(reply, body=(bytes([first[0] ^ 1]) + first[1:], *rest))


def nothing_to_give(request: Request, reply: Reply) -> Reply:
    """It says that it holds the file, and refuses each piece."""
    if isinstance(reply, Piece):
        raise BlobNotFound("not held here")
    return reply


# ------------------------------------------------------------------ with the defences, and without


def believe_the_first_word(patch: Patch) -> None:
    """The first holder's description, and the first holder's tree, are taken for true."""
    hear = Fetching._layer

    async def first_only(
        self: Fetching, blob: ContentHash, holders: list[Contact], root: bytes | None
    ) -> tuple[PieceLayer, list[Contact]]:
        return (await hear(self, blob, holders, root))[0], []

    async def describe(
        self: Fetching, module: ContentHash, accept: Callable[[Description], object]
    ) -> object:
        contact = (await self.holders(module))[0]
        reply = await self._pool.call(contact, Describe(module=module), timeout_s=1)
        assert isinstance(reply, Description)
        return accept(reply)

    patch.setattr(Fetching, "_layer", first_only)
    patch.setattr(Fetching, "describe", describe)


def believe_the_head(patch: Patch) -> None:
    """What a holder showed is kept, and not what the file says of itself."""
    accepted: list[object] = []
    accept, whole = Library._accept, Library._check_held

    def noted(self: Library, module: ContentHash, description: Description) -> object:
        accepted.append(accept(self, module, description))
        return accepted[-1]

    patch.setattr(Library, "_accept", noted)
    patch.setattr(Library, "_check_held", lambda self, m: accepted[-1] if accepted else whole)


def blame_nobody(patch: Patch) -> None:
    """A piece is taken as it comes."""
    patch.setattr(PieceLayer, "fits", lambda self, index, data: True)


LIES: dict[str, tuple[Lie, Callable[[Patch], None]]] = {
    "a forged head": (forged_head, believe_the_first_word),
    "the head of another module": (another_head, believe_the_head),
    "a bad tree": (bad_tree, believe_the_first_word),
    "a wrong size": (wrong_size, believe_the_first_word),
    "a size bomb": (size_bomb, believe_the_first_word),
    "a bad piece": (bad_piece, blame_nobody),
}


@switched
@pytest.mark.parametrize("lie", LIES)
async def test_10_a_module_arrives_whole_whatever_one_holder_says(
    tmp_path: Path, monkeypatch: Patch, lie: str, defended: bool
) -> None:
    told, switch_off = LIES[lie]
    if not defended:
        switch_off(monkeypatch)
    assert await arrives(tmp_path, told) is defended


@switched
async def test_10_a_size_bomb_takes_no_room(
    tmp_path: Path, monkeypatch: Patch, defended: bool
) -> None:
    """The only holder claims 1 GiB: it is refused before a byte of the disk is promised."""
    if not defended:
        monkeypatch.setattr("meshnode.node.library.Fetching._bring", _make_room_for_anything)
    library, module, lan = await fetched(tmp_path, size_bomb)
    lan.neighbours = lan.neighbours[:1]
    with pytest.raises(MeshnodeError):
        await library.ensure(module)
    promised = [p.stat().st_size for p in (tmp_path / "wanting/store/partial").iterdir()]
    assert (sum(promised) == 0) is defended


async def _make_room_for_anything(
    self: Fetching, blob: ContentHash, layer: PieceLayer, *others: object
) -> None:
    self._blobs._bytes_max = layer.size * 2
    self._blobs.begin(blob, layer.size, layer.root, layer.hashes)
    raise PeerUnreachable("the attack is over")


@switched
async def test_10_a_holder_that_has_nothing_is_soon_not_asked(
    tmp_path: Path, monkeypatch: Patch, defended: bool
) -> None:
    """Alone it ends the fetch; without the account of its refusals it would be asked for ever."""
    if not defended:
        monkeypatch.setattr(PiecePlan, "on_failure", _forget_the_refusal)
    library, module, lan = await fetched(tmp_path, nothing_to_give)
    lan.neighbours = lan.neighbours[:1]
    with trio.CancelScope() as scope:
        lan.enough = scope.cancel
        with pytest.raises(BlobNotFound):
            await library.ensure(module)
    assert (lan.asked < ASKS_MAX) is defended


def _forget_the_refusal(
    self: PiecePlan, provider: NodeId, index: int, reason: str, now: float
) -> None:
    self._release(self._providers[provider], [index])


# ------------------------------------------------------------------ the last piece


A, B = NodeId(b"A" * 32), NodeId(b"B" * 32)


@switched
def test_10_a_last_piece_that_is_held_back_is_had_from_another(
    monkeypatch: Patch, defended: bool
) -> None:
    """One holder never gives what it was asked for last; how long until all is here?"""
    if not defended:
        monkeypatch.setattr(pieces_module, "REQUESTERS_MAX", 1)
    layer = layer_of(WEIGHTS["model"])
    plan, now, held_back = PiecePlan(layer), 0.0, set[int]()
    plan.add_provider(A)
    plan.add_provider(B)
    while not plan.finished and now < 60.0:
        for ask in plan.next_asks(now):
            if ask.provider == A and plan.missing <= 2:
                held_back.add(ask.index)
                continue
            data = WEIGHTS["model"][ask.index * PIECE_BYTES :][:PIECE_BYTES]
            if plan.on_piece(ask.provider, ask.index, data, now + 0.01):
                plan.on_written(ask.index)
        now += 0.01
    assert held_back, "the attack took place"
    assert plan.finished
    assert (now < 0.5) is defended


# ------------------------------------------------------------------ who says that it is idle


@switched
def test_10_a_holder_that_calls_itself_idle_and_is_slow_is_soon_passed_over(
    defended: bool,
) -> None:
    board = Scoreboard(PlacementSettings(sticky_ms=0.0, **({} if defended else {"bias_gain": 0.0})))
    to_the_liar, now = 0, 1000.0
    for number in range(60):
        said = {"liar": record("liar", wait=0.0), "honest": record("honest", wait=20.0)}
        chosen = decide(*(node(name, load) for name, load in said.items()), board=board, now=now)
        name = chosen.ranked[0].candidate.name
        to_the_liar += name == "liar"
        board.on_sent(node_id(name), request(number), MODULE_ID, chosen.ranked[0], now)
        took_ms = 400.0 if name == "liar" else 31.0
        now += took_ms / 1000
        board.on_answer(node_id(name), request(number), "", took_ms, now)
    assert (to_the_liar < 10) is defended
