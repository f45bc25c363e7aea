"""Publishing: from a signed file on this device to a name that the whole mesh can run.

Verify, try it here, announce the signed name and provider records, then ask a few fitting
neighbours to hold a copy, so that the module survives this device.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import trio

from meshnode.caps import Caps, lacking
from meshnode.errors import CannotRunHere, MeshnodeError, RoleMissing
from meshnode.identity.certificates import Role
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import Mesh, certify_publisher
from meshnode.ids import PublicKey, short
from meshnode.modules.signing import verify_module
from meshnode.node.admission import Admissions
from meshnode.node.announcing import Announcing
from meshnode.node.catalog import Catalog
from meshnode.node.lanes import Lanes
from meshnode.node.library import Library, ModuleInfo
from meshnode.node.spreading import Replica, Spreading
from meshnode.node.trust import Trust
from meshnode.wire.messages import Hold, Holding

_log = logging.getLogger(__name__)
REPLICAS_DEFAULT = 3


@dataclass(frozen=True, slots=True)
class Published:
    """What came of a publish."""

    info: ModuleInfo
    publisher_name: str
    names_kept: int
    """DHT nodes that store the name record."""
    replicas: tuple[Replica, ...]
    tried_here: str
    """"ready", or why it was not tried on this node."""


class Publishing:
    """Announces what lies here, and spreads what its user publishes."""

    def __init__(
        self,
        *,
        own_caps: Caps,
        keys: "PublisherKeys",
        trust: Trust,
        library: Library,
        catalog: Catalog,
        lanes: Lanes,
        announcing: Announcing,
        spreading: Spreading,
    ) -> None:
        self._own_caps = own_caps
        self._keys = keys
        self._trust = trust
        self._library = library
        self._catalog = catalog
        self._lanes = lanes
        self._announcing = announcing
        self._spreading = spreading

    async def publish(self, data: bytes, weights: list[bytes], *, replicas: int) -> Published:
        """Publish a module, or raise TrustError, ModuleFailed, StoreError or RoleMissing."""
        signed = await trio.to_thread.run_sync(verify_module, data)
        signer = self._keys.signer(signed.publisher)
        known = self._library.holds(signed.module)
        info = await self._library.add(data, weights)
        try:
            tried_here = await self._try_here(info)
        except MeshnodeError:
            if not known:
                await self._library.discard(info)
            raise
        self._library.keep(info)
        kept = await self._announcing.name(info, signer) if signer is not None else 0
        self._catalog.forget()
        asked = await self._spreading.replicate(info, replicas - 1)
        publisher = self._trust.check(signed.publisher, ())
        return Published(info, publisher.name, kept, asked, tried_here)

    async def hold(self, ask: Hold) -> Holding:
        """Answer a peer that asks us to keep a copy; trust and budget decide as for any fetch.

        It is made ready too where it can run, so that the first request here finds it warm.
        """
        present = await self._library.ensure(ask.module)
        try:
            ready = await self._try_here(present.info)
        except MeshnodeError as error:
            ready = f"{error.code} {error.message}"
        _log.info("holding %s: %s", present.info.label, ready)
        return Holding(module=ask.module, sources=tuple(present.sources.items()))

    async def _try_here(self, info: ModuleInfo) -> str:
        """Start the module where it can run here: a broken one is not announced."""
        missing = info.manifest.required & ~self._own_caps
        if missing:
            return f"not tried here: this node {lacking(missing)}"
        try:
            await self._lanes.get(info.module)
        except CannotRunHere as error:
            return f"not tried here: {error.message}"
        return "ready"


class PublisherKeys:
    """This user's publisher key, certified in the mesh when it is first needed."""

    def __init__(
        self,
        identity: Identity,
        mesh: Mesh,
        admissions: Admissions,
        trust: Trust,
        publisher: Callable[[], Identity | None],
        unix_now: Callable[[], float],
    ) -> None:
        self._identity = identity
        self._mesh = mesh
        self._admissions = admissions
        self._trust = trust
        self._publisher = publisher
        self._unix_now = unix_now

    def signer(self, key: PublicKey) -> Identity | None:
        """Return this user's publisher identity if it signed, certified in this mesh.

        Another publisher's module may be published here too if it is trusted already; then no
        name record can be signed, and it is found by the neighbours' lists.
        """
        publisher = self._publisher()
        if publisher is None or publisher.public_key != key:
            self._trust.check(key, ())
            return None
        if not self._trust.chain_of(key):
            if not self._admissions.own_roles() & Role.PUBLISH:
                raise RoleMissing(
                    "this node may not publish: its certificate lacks the role publish",
                    try_="publish on another node, or ask for an invite with --role member",
                )
            chain = certify_publisher(
                self._identity,
                self._mesh.chain,
                key,
                name=short(key),
                now_unix=self._unix_now(),
            )
            self._trust.add_chain(key, chain)
        return publisher
