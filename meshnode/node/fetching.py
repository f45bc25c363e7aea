"""Fetching: finds who holds a blob and brings it here in verified pieces, from several at once.

Neighbours are asked first, the DHT after them. What a piece plan asks for next is decided in
`modules/pieces.py`; this file is its hands.
"""

import logging
from collections.abc import Callable, Iterable
from math import inf
from typing import TypeVar

import trio

from meshnode.dht.records import ProviderRecord
from meshnode.errors import (
    BlobNotFound,
    DeadlineExceeded,
    DiskFull,
    HashMismatch,
    MeshnodeError,
    PeerUnreachable,
    RemoteProtocolError,
    StoreError,
    StoreFull,
    TooLarge,
)
from meshnode.gossip.member import Member
from meshnode.ids import Contact, ContentHash, NodeId, PublicKey, node_id_of, short
from meshnode.modules.pieces import Ask, PieceLayer, PiecePlan, check_layer
from meshnode.net.pool import ConnectionPool
from meshnode.node.directory import Directory
from meshnode.node.membership import Membership
from meshnode.storage.blobs import BlobStore, Partial
from meshnode.wire.messages import (
    AskHeld,
    Describe,
    Description,
    GetPiece,
    GetPieceHashes,
    Held,
    Piece,
    PieceHashes,
)

_log = logging.getLogger(__name__)
ASK_TIMEOUT_S = 1.5
ASK_AGAIN_S = 4.0
"""Where a quarter of all packets is lost, TCP says some things for the third time only by then."""
PIECE_TIMEOUT_S = 20.0
NEIGHBOURS_MAX = 24
PROVIDERS_MAX = 8
OTHERS_MAX = 16
"""Providers tried after the first ones have all failed: most may be one liar's."""
BLOB_LIMIT_DEFAULT = 2048 << 20

Accepted = TypeVar("Accepted")


class Fetching:
    """Brings blobs here."""

    def __init__(
        self,
        *,
        blobs: BlobStore,
        pool: ConnectionPool,
        membership: Membership,
        directory: Directory,
    ) -> None:
        self._blobs = blobs
        self._pool = pool
        self._membership = membership
        self._directory = directory

    async def describe(
        self, module: ContentHash, accept: Callable[[Description], Accepted]
    ) -> Accepted:
        """Return what `accept` makes of the first holder's word that it does not refuse.

        Raises what `accept` raised if it refused all, BlobNotFound when no live node holds it.
        """
        holders = await self.holders(module)
        try:
            return await self._described(module, holders, accept)
        except MeshnodeError:
            others = await self._others(module, holders)
            if not others:
                raise
        return await self._described(module, others, accept)

    async def _described(
        self,
        module: ContentHash,
        holders: list[Contact],
        accept: Callable[[Description], Accepted],
    ) -> Accepted:
        """Ask these holders; raises as `describe`."""
        because: list[str] = []
        refusal: MeshnodeError | None = None
        queue = [(contact, ASK_TIMEOUT_S) for contact in holders]
        for contact, timeout_s in queue:
            try:
                reply = await self._pool.call(contact, Describe(module=module), timeout_s=timeout_s)
            except (DeadlineExceeded, PeerUnreachable) as error:
                because.append(f"{short(contact.node_id)}: {error.message}")
                if timeout_s == ASK_TIMEOUT_S:
                    queue.append((contact, ASK_AGAIN_S))
                continue
            except MeshnodeError as error:
                because.append(f"{short(contact.node_id)}: {error.message}")
                continue
            if isinstance(reply, Description) and reply.module == module:
                try:
                    return accept(reply)
                except MeshnodeError as error:  # one that lies must not hide those that do not
                    refusal = refusal or error
        if refusal is not None:
            raise refusal
        raise BlobNotFound(f"no live node holds module sha256:{module.hex()[:12]}", because=because)

    async def holders(self, blob: ContentHash) -> list[Contact]:
        """Return live nodes that hold a blob whole: neighbours by RTT, else the DHT's providers."""
        near = await self._neighbours_with(blob)
        if len(near) >= PROVIDERS_MAX // 2:
            return near
        far = self._contacts(await self._directory.providers(blob)) if not near else []
        return (near + far)[:PROVIDERS_MAX]

    async def _others(self, blob: ContentHash, tried: list[Contact]) -> list[Contact]:
        """Return providers besides those that all failed: the DHT is asked to the end.

        Whoever surrounds a blob's key with nodes of his own can fill a plain look with false
        providers, and hides none from this one.
        """
        keys = {contact.public_key for contact in tried}
        found = self._contacts(await self._directory.providers(blob, thorough=True))
        return [contact for contact in found if contact.public_key not in keys][:OTHERS_MAX]

    def _contacts(self, records: Iterable[ProviderRecord]) -> list[Contact]:
        """Return where providers are: where they are seen as members, else where they say."""
        found: dict[PublicKey, Contact] = {}
        for record in records:
            member = self._membership.contact_of(node_id_of(record.provider))
            addresses = record.addresses
            contact = member or (Contact(record.provider, addresses[0]) if addresses else None)
            if contact is not None:
                found.setdefault(contact.public_key, contact)
        return list(found.values())

    async def fetch(
        self,
        blob: ContentHash,
        sources: dict[NodeId, int],
        *,
        root: bytes | None = None,
        size_max: int = BLOB_LIMIT_DEFAULT,
    ) -> None:
        """Bring a blob into the store, adding to `sources` the bytes that came from each peer.

        Cancelled or killed half-way, the verified pieces stay and a later fetch goes on from
        them. Raises BlobNotFound, HashMismatch, TooLarge, StoreFull or DiskFull.
        """
        if self._blobs.has(blob):
            return
        holders = await self.holders(blob)
        try:
            await self._fetch_from(blob, holders, sources, root, size_max)
        except (BlobNotFound, HashMismatch, TooLarge):
            others = await self._others(blob, holders)
            if not others:
                raise
            await self._fetch_from(blob, others, sources, root, size_max)

    async def _fetch_from(
        self,
        blob: ContentHash,
        holders: list[Contact],
        sources: dict[NodeId, int],
        root: bytes | None,
        size_max: int,
    ) -> None:
        """Fetch from these holders, whatever tree each swears to; raises as `fetch`."""
        witnesses, tried = list(holders), list[PieceLayer]()
        trouble: MeshnodeError | None = None
        while True:
            try:
                layer, witnesses = await self._layer(blob, witnesses, root)
            except BlobNotFound as error:
                raise trouble or error from None
            if layer in tried:
                continue
            tried.append(layer)
            try:
                await self._bring(blob, layer, holders, sources, size_max)
                return
            except (BlobNotFound, HashMismatch, TooLarge, StoreFull) as error:
                # Its witness may have lied about the tree or the size; the next one is heard.
                trouble = trouble or error

    async def _bring(
        self,
        blob: ContentHash,
        layer: PieceLayer,
        holders: list[Contact],
        sources: dict[NodeId, int],
        size_max: int,
    ) -> None:
        """Fetch what has this piece layer; raises as `fetch`."""
        if layer.size > size_max:
            raise TooLarge(f"the file has {layer.size} bytes, {size_max} are allowed")
        partial = await trio.to_thread.run_sync(
            self._blobs.begin, blob, layer.size, layer.root, layer.hashes
        )
        plan = PiecePlan(layer, have=partial.have(), now=trio.current_time())
        for contact in holders:
            plan.add_provider(contact.node_id)
        await _Swarm(self._pool, plan, partial, blob, holders).run()
        for node_id, count in plan.bytes_from().items():
            sources[node_id] = sources.get(node_id, 0) + count
        await trio.to_thread.run_sync(partial.finish)

    async def _neighbours_with(self, blob: ContentHash) -> list[Contact]:
        """Return the neighbours that hold a blob; if none says yes, the silent are asked again."""
        found: list[tuple[float, Contact]] = []
        silent: list[Member] = []

        async def ask(member: Member, timeout_s: float) -> None:
            try:
                reply = await self._pool.call(
                    member.contact, AskHeld(blobs=(blob,)), timeout_s=timeout_s
                )
            except (DeadlineExceeded, PeerUnreachable):
                silent.append(member)
            except MeshnodeError:
                return
            else:
                if isinstance(reply, Held) and reply.held == (True,):
                    found.append((member.rtt_ms or 1e9, member.contact))

        asked = sorted(self._membership.alive(), key=lambda m: m.rtt_ms or 1e9)[:NEIGHBOURS_MAX]
        for timeout_s in (ASK_TIMEOUT_S, ASK_AGAIN_S):
            async with trio.open_nursery() as nursery:
                for member in asked:
                    nursery.start_soon(ask, member, timeout_s)
            if found or not silent:
                break
            asked, silent = silent, []
        return [contact for _, contact in sorted(found, key=lambda pair: pair[0])]

    async def _layer(
        self, blob: ContentHash, holders: list[Contact], root: bytes | None
    ) -> tuple[PieceLayer, list[Contact]]:
        """Return the first holder's piece layer that fits its root, and who may be asked next."""
        because: list[str] = []
        for index, contact in enumerate(holders):
            try:
                reply = await self._pool.call(
                    contact, GetPieceHashes(blob=blob), timeout_s=ASK_AGAIN_S
                )
                if not isinstance(reply, PieceHashes) or reply.blob != blob:
                    raise RemoteProtocolError("another answer than the piece layer asked for")
                if root is not None and reply.root != root:
                    raise RemoteProtocolError("its tree has another root than was described")
                layer = check_layer(reply.size, reply.root, b"".join(map(bytes, reply.body)))
                return layer, holders[index + 1 :]
            except MeshnodeError as error:
                because.append(f"{short(contact.node_id)}: {error.message}")
        raise BlobNotFound(f"no live node provides sha256:{blob.hex()[:12]}", because=because)


class _Swarm:
    """One fetch under way."""

    def __init__(
        self,
        pool: ConnectionPool,
        plan: PiecePlan,
        partial: Partial,
        blob: ContentHash,
        holders: list[Contact],
    ) -> None:
        self._pool = pool
        self._plan = plan
        self._partial = partial
        self._blob = blob
        self._contacts = {c.node_id: c for c in holders}
        self._progress = trio.Event()
        self._trouble: StoreError | None = None

    async def run(self) -> None:
        """Ask until every piece is here.

        Raises BlobNotFound when nobody is left to ask, StoreError when the pieces cannot be kept.
        """
        async with trio.open_nursery() as nursery:
            while not self._plan.finished and self._trouble is None:
                asks = self._plan.next_asks(trio.current_time())
                for ask in asks:
                    nursery.start_soon(self._one, ask)
                if not asks and self._plan.stalled:
                    break
                self._progress = trio.Event()
                with trio.move_on_at(_or_never(self._plan.next_timer())):
                    await self._progress.wait()
            nursery.cancel_scope.cancel()
        # Raised out here: a nursery would wrap it in a group.
        if self._trouble is not None:
            raise self._trouble
        if not self._plan.finished:
            raise BlobNotFound(
                f"nobody is left who provides sha256:{self._blob.hex()[:12]}",
                because=self._plan.blames(),
            )

    async def _one(self, ask: Ask) -> None:
        try:
            reply = await self._pool.call(
                self._contacts[ask.provider],
                GetPiece(blob=self._blob, index=ask.index),
                timeout_s=PIECE_TIMEOUT_S,
            )
            if not isinstance(reply, Piece) or (reply.blob, reply.index) != (self._blob, ask.index):
                raise RemoteProtocolError("another answer than the piece asked for")
            data = b"".join(bytes(part) for part in reply.body)
            if self._plan.on_piece(ask.provider, ask.index, data, trio.current_time()):
                await self._write(ask.index, data)
        except MeshnodeError as error:
            self._plan.on_failure(ask.provider, ask.index, error.message, trio.current_time())
        finally:
            self._progress.set()

    async def _write(self, index: int, data: bytes) -> None:
        """Keep a piece. That this disk is full is no fault of the provider, and ends the fetch."""
        try:
            await trio.to_thread.run_sync(self._partial.write, index, data)
        except StoreError as error:
            # A full disk takes all pieces with it; that the next one has no file is no news.
            if self._trouble is None or isinstance(error, DiskFull):
                self._trouble = error
        else:
            self._plan.on_written(index)


def _or_never(when: float | None) -> float:
    return inf if when is None else when
