"""Announcing: the signed records by which others find what lies here."""

from collections.abc import Callable
from dataclasses import replace

import trio

from meshnode.dht.records import NameRecord, ProviderRecord, VersionEntry
from meshnode.errors import MeshnodeError
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import Mesh
from meshnode.ids import Address, ContentHash, PublicKey
from meshnode.machine import Random
from meshnode.node.directory import Directory
from meshnode.node.library import ModuleInfo
from meshnode.storage.blobs import BlobStore

PROVIDER_TTL_S = 1800
NAME_TTL_S = 7200
VERSIONS_MAX = 4
"""Versions in one name record: it must fit a datagram."""
SWAPS_MAX = 3
"""How often a name is read again because somebody else wrote it meanwhile."""
WITHDRAWALS_MAX = 64
"""Records taken back on a clean stop; what is left expires within half an hour."""
NAMES_KEPT_ALIVE_MAX = 256
"""Other publishers' names that this node announces again while it holds their modules."""


class Announcing:
    """Keeps provider and name records of this node alive in the DHT."""

    def __init__(
        self,
        *,
        identity: Identity,
        mesh: Mesh,
        address: Address,
        blobs: BlobStore,
        directory: Directory,
        unix_now: Callable[[], float],
        rng: Random,
    ) -> None:
        self._identity = identity
        self._mesh = mesh
        self._address = address
        self._blobs = blobs
        self._directory = directory
        self._unix_now = unix_now
        self._rng = rng
        self._provided: dict[ContentHash, None] = {}
        self._names: dict[tuple[PublicKey, str], None] = {}

    def held(self, info: ModuleInfo) -> None:
        """Keep telling the DHT that a module (and its weights) lie here."""
        blobs = [info.module, *(m.sha256 for m in info.manifest.models if not m.embedded)]
        self._keep_name_alive(info)
        for blob in blobs:
            self._provided[ContentHash(blob)] = None
            self._directory.keep_announced(
                b"prov" + blob,
                self._provider(ContentHash(blob)),
                self._identity,
                PROVIDER_TTL_S / 2,
            )

    def _keep_name_alive(self, info: ModuleInfo) -> None:
        name = (info.publisher, info.manifest.name)
        if name not in self._names and len(self._names) < NAMES_KEPT_ALIVE_MAX:
            self._names[name] = None

    async def run(self) -> None:
        """Announce others' names again, unchanged, while their modules lie here."""
        while True:
            await trio.sleep(NAME_TTL_S / 4 * self._rng.uniform(0.75, 1.25))
            for publisher, name in list(self._names):
                await self._directory.announce_again(publisher, name)

    async def withdraw(self, module: ContentHash) -> None:
        """Tell the DHT that this node does not provide a module any more."""
        self._directory.stop_announcing(b"prov" + module)
        self._provided.pop(module, None)
        try:
            record = replace(self._provider(module)(), withdrawn=True)
        except MeshnodeError:  # it is gone from the store already, and so is what was said of it
            return
        await self._directory.publish(record, self._identity)

    async def withdraw_all(self) -> None:
        """Tell the DHT that this node goes; cancelled, the rest expires by itself."""
        async with trio.open_nursery() as nursery:
            for blob in list(self._provided)[:WITHDRAWALS_MAX]:
                nursery.start_soon(self.withdraw, blob)

    async def name(self, info: ModuleInfo, signer: Identity) -> int:
        """Add this version to the publisher's signed list of the name; return who keeps it.

        Compare and swap: where another device of the same publisher wrote in between, its list
        is read again and ours is added to it.
        """
        size, root, _ = await trio.to_thread.run_sync(self._blobs.piece_hashes, info.module)
        entry = VersionEntry(
            module=info.module, size=size, root=root, caps=info.manifest.required, yanked=False
        )
        stored = 0
        for _ in range(SWAPS_MAX):
            before = await self._directory.name(signer.public_key, info.manifest.name)
            record = self._next(before, info, entry, signer)
            done = await self._directory.publish(record, signer, cas=before.seq if before else None)
            stored = done.stored
            if done.stored >= done.conflicts and done.seq_held <= record.seq:
                break
        # The same signed bytes are announced again until the next start of this node.
        self._directory.keep_announced(
            b"name" + info.manifest.name.encode(), lambda: record, signer, NAME_TTL_S / 4
        )
        return stored

    def _next(
        self, before: NameRecord | None, info: ModuleInfo, entry: VersionEntry, signer: Identity
    ) -> NameRecord:
        versions = {**(before.versions if before else {}), info.manifest.version: entry}
        return NameRecord(
            network=self._mesh.network,
            publisher=signer.public_key,
            name=info.manifest.name,
            versions=dict(list(versions.items())[-VERSIONS_MAX:]),
            seq=max(self._seq(), before.seq + 1 if before else 0),
            ttl_s=NAME_TTL_S,
        )

    def _provider(self, blob: ContentHash) -> Callable[[], ProviderRecord]:
        def make() -> ProviderRecord:
            size, root, _ = self._blobs.piece_hashes(blob)
            return ProviderRecord(
                network=self._mesh.network,
                blob=blob,
                provider=self._identity.public_key,
                addresses=(self._address,),
                size=size,
                root=root,
                seq=self._seq(),
                ttl_s=PROVIDER_TTL_S,
                withdrawn=False,
            )

        return make

    def _seq(self) -> int:
        """A sequence that rises over restarts too: milliseconds of the wall clock."""
        return int(self._unix_now() * 1000)
