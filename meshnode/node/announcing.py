"""Announcing: the signed records by which others find what lies here."""

from collections.abc import Callable
from dataclasses import replace

import trio

from meshnode.dht.records import NameRecord, ProviderRecord, VersionEntry
from meshnode.errors import MeshnodeError
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import Mesh
from meshnode.ids import Address, ContentHash
from meshnode.node.directory import Directory
from meshnode.node.library import ModuleInfo
from meshnode.storage.blobs import BlobStore

PROVIDER_TTL_S = 1800
NAME_TTL_S = 7200
VERSIONS_MAX = 4
"""Versions in one name record: it must fit a datagram."""


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
    ) -> None:
        self._identity = identity
        self._mesh = mesh
        self._address = address
        self._blobs = blobs
        self._directory = directory
        self._unix_now = unix_now

    def held(self, info: ModuleInfo) -> None:
        """Keep telling the DHT that a module (and its weights) lie here."""
        blobs = [info.module, *(m.sha256 for m in info.manifest.models if not m.embedded)]
        for blob in blobs:
            self._directory.keep_announced(
                b"prov" + blob,
                self._provider(ContentHash(blob)),
                self._identity,
                PROVIDER_TTL_S / 2,
            )

    async def withdraw(self, module: ContentHash) -> None:
        """Tell the DHT that this node does not provide a module any more."""
        self._directory.stop_announcing(b"prov" + module)
        try:
            record = replace(self._provider(module)(), withdrawn=True)
        except MeshnodeError:  # it is gone from the store already, and so is what was said of it
            return
        await self._directory.publish(record, self._identity)

    async def name(self, info: ModuleInfo, signer: Identity) -> int:
        """Add this version to the publisher's signed list of the name."""
        before = await self._directory.name(signer.public_key, info.manifest.name)
        versions = dict(before.versions) if before else {}
        size, root, _ = await trio.to_thread.run_sync(self._blobs.piece_hashes, info.module)
        versions[info.manifest.version] = VersionEntry(
            module=info.module, size=size, root=root, caps=info.manifest.required, yanked=False
        )
        newest = dict(list(versions.items())[-VERSIONS_MAX:])
        record = NameRecord(
            network=self._mesh.network,
            publisher=signer.public_key,
            name=info.manifest.name,
            versions=newest,
            seq=max(self._seq(), before.seq + 1 if before else 0),
            ttl_s=NAME_TTL_S,
        )
        # The same signed bytes are announced again until the next start of this node.
        self._directory.keep_announced(
            b"name" + info.manifest.name.encode(), lambda: record, signer, NAME_TTL_S / 4
        )
        return await self._directory.publish(record, signer)

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
