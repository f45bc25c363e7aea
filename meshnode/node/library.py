"""Library: modules this node holds and serves; `ensure` makes one present. Pairs with `modules/`.

`info` (to place) is apart from `ensure` (to run): a node that only places never downloads a
module. Nothing is kept whose publisher is not trusted, and nothing is served unverified.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import trio

from meshnode.errors import (
    BlobNotFound,
    CorruptBlob,
    MeshnodeError,
    StoreError,
    UntrustedPublisher,
)
from meshnode.ids import ContentHash, NodeId, PublicKey
from meshnode.modules.layout import head_of
from meshnode.modules.manifest import Manifest
from meshnode.modules.sections import custom_section
from meshnode.modules.signing import verify_head, verify_module
from meshnode.node.fetching import Fetching
from meshnode.node.trust import Trust
from meshnode.storage.blobs import BlobStore
from meshnode.storage.state import read_state, write_state
from meshnode.wire.limits import CATALOG_ENTRIES_MAX, HEAD_BYTES_MAX
from meshnode.wire.messages import (
    AskHeld,
    Catalog,
    CatalogEntry,
    Describe,
    Description,
    GetPiece,
    GetPieceHashes,
    Held,
    Piece,
    PieceHashes,
)

_log = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")
Rest = TypeVarTuple("Rest")
INFOS_MAX = 512
"""Modules whose metadata is remembered without holding them; each is a few KiB."""


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """What is known of a module before any of it runs."""

    module: ContentHash
    manifest: Manifest
    publisher: PublicKey
    size: int

    @property
    def label(self) -> str:
        """`name@version`, for people."""
        return f"{self.manifest.name}@{self.manifest.version}"


@dataclass(frozen=True, slots=True)
class Present:
    """A module that lies here whole and verified."""

    info: ModuleInfo
    wasm: bytes
    models: Mapping[str, bytes]
    sources: Mapping[NodeId, int]
    """From whom how many bytes came just now; empty if it was here already."""


class Library:
    """Makes a module present and trusted before it is run, and serves it to others."""

    def __init__(self, path: Path, blobs: BlobStore, trust: Trust, fetching: Fetching) -> None:
        self._path = path
        self._blobs = blobs
        self._trust = trust
        self._fetching = fetching
        self._mine: dict[ContentHash, ModuleInfo] = {}
        self._known: OrderedDict[ContentHash, ModuleInfo] = OrderedDict()
        self._ensuring: dict[ContentHash, trio.Lock] = {}
        self._warm: frozenset[ContentHash] = frozenset()
        self.on_held = _ignore
        """Called with a ModuleInfo whenever a module has become present here."""

    async def open(self) -> None:
        """Take stock of what a previous run left; what fails its check is left out."""
        saved = await trio.to_thread.run_sync(read_state, self._path)
        for raw in saved if isinstance(saved, list) else []:
            module = ContentHash(bytes(raw))
            try:
                self._mine[module] = await trio.to_thread.run_sync(self._check_held, module)
            except MeshnodeError as error:
                _log.warning("module %s is not offered: %s", module.hex()[:12], error)

    @property
    def modules(self) -> tuple[ModuleInfo, ...]:
        """The modules that lie here whole."""
        return tuple(self._mine.values())

    def holds(self, module: ContentHash) -> bool:
        """Return whether a module lies here whole."""
        return module in self._mine

    def drop_evicted(self) -> None:
        """Stop offering what the store gave up to stay within its budget."""
        for blob in self._blobs.take_evicted():
            self._forget(blob)

    async def info(self, module: ContentHash) -> ModuleInfo:
        """Return a module's metadata: held, remembered, or one small call to a provider."""
        known = self._mine.get(module) or self._known.get(module)
        if known is None:
            known = await self._fetching.describe(module, partial(self._accept, module))
            self._known[module] = known
            while len(self._known) > INFOS_MAX:
                self._known.popitem(last=False)
        return known

    async def ensure(self, module: ContentHash) -> Present:
        """Return a whole module, fetching what is missing. Concurrent calls share one fetch.

        Raises UntrustedPublisher before anything is downloaded, BlobNotFound when nobody has it,
        HashMismatch, StoreFull or DiskFull. A stored file that has rotted is fetched again.
        """
        lock = self._ensuring.setdefault(module, trio.Lock())
        async with lock:
            try:
                return await self._ensure(module)
            finally:
                if not lock.statistics().tasks_waiting:
                    self._ensuring.pop(module, None)

    async def add(self, data: bytes, weights: list[bytes]) -> ModuleInfo:
        """Take a module from this device's user (publish), or raise TrustError."""
        signed = await trio.to_thread.run_sync(verify_module, data)
        self._trust.check(signed.publisher, ())
        module = signed.module
        for blob in (*weights, data):
            await trio.to_thread.run_sync(self._blobs.put, blob)
        for model in signed.manifest.models:
            if not model.embedded and not self._blobs.has(model.sha256):
                raise BlobNotFound(
                    f"the weights of {signed.manifest.name} are missing",
                    because=[f"model '{model.name}' is a file of its own: {model.sha256.hex()}"],
                    try_="publish the .wasm from the folder that holds its .weights file",
                )
        info = ModuleInfo(module, signed.manifest, signed.publisher, len(data))
        self._mine[module] = info
        return info

    def keep(self, info: ModuleInfo) -> None:
        """Keep and announce what `add` took in: it has proved to start."""
        self._known.pop(info.module, None)
        self._mine[info.module] = info
        self._save()
        self.on_held(info)

    async def discard(self, info: ModuleInfo) -> None:
        """Forget what `add` took in, bytes and all: it did not start."""
        self._forget(info.module)
        blobs = [info.module, *map(ContentHash, weights_of(info))]
        for blob in blobs:
            if self._blobs.has(blob):
                await trio.to_thread.run_sync(self._blobs.delete, blob)

    async def discard_untrusted(self) -> list[ModuleInfo]:
        """Forget, bytes and all, the modules whose publishers are trusted no more; return them."""
        gone = [info for info in self.modules if not self._is_trusted(info)]
        for module in [m for m, info in self._known.items() if not self._is_trusted(info)]:
            del self._known[module]
        for info in gone:
            await self.discard(info)
        return gone

    def _is_trusted(self, info: ModuleInfo) -> bool:
        try:
            self._trust.check(info.publisher, ())
        except UntrustedPublisher:
            return False
        return True

    # ------------------------------------------------------------------ serving

    async def describe(self, ask: Describe) -> Description:
        """Serve a module's signed head to a peer."""
        info = self._serving(ask.module)
        size, root, _ = await self._read_to_serve(self._blobs.piece_hashes, ask.module)
        head = await self._read_to_serve(self._blobs.head, ask.module, HEAD_BYTES_MAX)
        return Description(
            module=ask.module,
            size=size,
            root=root,
            publisher_chain=self._trust.chain_of(info.publisher),
            body=(head_of(head),),
        )

    def held(self, ask: AskHeld) -> Held:
        """Say which blobs lie here whole."""
        return Held(held=tuple(self._blobs.has(blob) for blob in ask.blobs))

    async def piece_hashes(self, ask: GetPieceHashes) -> PieceHashes:
        """Serve a blob's piece layer."""
        if not self._blobs.has(ask.blob):
            raise BlobNotFound("not held here")
        size, root, hashes = await self._read_to_serve(self._blobs.piece_hashes, ask.blob)
        return PieceHashes(blob=ask.blob, size=size, root=root, body=(b"".join(hashes),))

    async def piece(self, ask: GetPiece) -> Piece:
        """Serve one verified piece; a rotten file is set aside and never served."""
        if not self._blobs.has(ask.blob):
            raise BlobNotFound("not held here")
        data = await self._read_to_serve(self._blobs.piece, ask.blob, ask.index)
        return Piece(blob=ask.blob, index=ask.index, body=(data,))

    def set_warm(self, warm: tuple[ContentHash, ...]) -> None:
        """Note which modules are warm, for the catalog."""
        self._warm = frozenset(warm)

    def catalog(self) -> Catalog:
        """List what lies here."""
        return Catalog(
            entries=tuple(
                CatalogEntry(
                    module=i.module,
                    name=i.manifest.name,
                    version=i.manifest.version,
                    publisher=i.publisher,
                    size=i.size,
                    warm=i.module in self._warm,
                )
                for i in self.modules[:CATALOG_ENTRIES_MAX]
            )
        )

    # ------------------------------------------------------------------ parts

    async def _ensure(self, module: ContentHash) -> Present:
        sources: dict[NodeId, int] = {}
        info = self._mine.get(module)
        if info is not None:
            try:
                return await self._read(info, sources)
            except CorruptBlob as error:
                _log.warning("%s: %s; fetching it again", info.label, error)
                self._forget(module)
        await self._fetching.describe(module, partial(self._accept, module))
        # What was described is one peer's word: a true head of another module, or a false root.
        await self._fetching.fetch(module, sources)
        info = await trio.to_thread.run_sync(self._check_held, module)
        for model in info.manifest.models:
            if not model.embedded:
                await self._fetching.fetch(
                    model.sha256, sources, root=model.root or None, size_max=model.size
                )
        present = await self._read(info, sources)
        self.keep(present.info)
        return present

    async def _read(self, info: ModuleInfo, sources: dict[NodeId, int]) -> Present:
        """Read a module and its weights from disk, hash and signature verified."""
        try:
            wasm, models = await trio.to_thread.run_sync(self._read_files, info.module)
        except BlobNotFound as error:
            raise CorruptBlob(f"{info.label} is no longer whole: {error}") from error
        return Present(info, wasm, models, sources)

    def _read_files(self, module: ContentHash) -> tuple[bytes, dict[str, bytes]]:
        wasm = bytes(self._blobs.read(module))
        signed = verify_module(wasm)
        self._trust.check(signed.publisher, ())
        models: dict[str, bytes] = {}
        for model in signed.manifest.models:
            if model.embedded:
                models[model.name] = bytes(custom_section(wasm, f"meshnode.weights.{model.name}"))
            else:
                models[model.name] = bytes(self._blobs.read(model.sha256))
        return wasm, models

    def _accept(self, module: ContentHash, description: Description) -> ModuleInfo:
        """Check the signed head that a provider sent, and whether its publisher is trusted."""
        head = b"".join(bytes(part) for part in description.body)
        publisher, manifest = verify_head(head)
        self._trust.check(publisher, description.publisher_chain)
        return ModuleInfo(module, manifest, publisher, description.size)

    def _check_held(self, module: ContentHash) -> ModuleInfo:
        wasm = self._blobs.read(module)
        signed = verify_module(wasm)
        self._trust.check(signed.publisher, ())
        return ModuleInfo(module, signed.manifest, signed.publisher, len(wasm))

    def _serving(self, module: ContentHash) -> ModuleInfo:
        info = self._mine.get(module)
        if info is None or not self._blobs.has(module):
            raise BlobNotFound("not held here")
        return info

    async def _read_to_serve(
        self, read: Callable[[ContentHash, *Rest], ResultT], blob: ContentHash, *rest: *Rest
    ) -> ResultT:
        """Read of a blob for a peer; offer it no more if it turns out to be rotten or gone."""
        try:
            return await trio.to_thread.run_sync(read, blob, *rest)
        except (CorruptBlob, BlobNotFound) as error:
            _log.warning("%s; it is fetched again when it is next needed here", error)
            self._forget(blob)
            raise

    def _forget(self, blob: ContentHash) -> None:
        """Offer a module no more, or every module whose weights a blob is."""
        gone = [m for m, info in self._mine.items() if blob == m or blob in weights_of(info)]
        for module in gone:
            del self._mine[module]
        if gone:
            self._save()

    def _save(self) -> None:
        """Write which modules lie here; a full disk costs the list, and not the node."""
        try:
            write_state(self._path, [bytes(module) for module in self._mine])
        except StoreError as error:
            _log.warning("the list of modules is not kept: %s", error)


def weights_of(info: ModuleInfo) -> list[bytes]:
    """Return the hashes of a module's weights that are files of their own."""
    return [model.sha256 for model in info.manifest.models if not model.embedded]


def _ignore(info: ModuleInfo) -> None:
    """Do nothing: nobody listens yet."""
