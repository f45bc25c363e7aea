"""The parts of a node that look after who may do what, the mesh's keys, and the expelled."""

from typing import TYPE_CHECKING

import trio

from meshnode.config.home import Home
from meshnode.identity.keys import Identity, random_bytes
from meshnode.identity.mesh import Mesh
from meshnode.ids import Contact
from meshnode.machine import Random
from meshnode.node.admission import Admissions
from meshnode.node.clock import unix_now
from meshnode.node.keyring_book import MeshBook
from meshnode.node.keyring_reconciling import Reconciling
from meshnode.node.keyring_rotation import Rotation
from meshnode.node.revoking import Revoking
from meshnode.node.revoking_effects import Expelled
from meshnode.node.telling_seeds import TellingSeeds
from meshnode.node.trust import Trust
from meshnode.node.trust_log import TrustLog

if TYPE_CHECKING:
    from meshnode.node.building import Building


class Upkeep:
    """Reconciling, rotation and revoking, over one book."""

    def __init__(self, parts: "Building") -> None:
        self._parts = parts
        self.reconciling = Reconciling(
            parts.book,
            pool=parts.pool,
            channel=parts.channel,
            membership=parts.membership,
            known=self._known,
            rng=Random(int.from_bytes(random_bytes(8), "big")),
        )
        self.rotation = Rotation(
            parts.home.rotation_file,
            book=parts.book,
            reconciling=self.reconciling,
            membership=parts.membership,
            identity=parts.identity,
            mesh=parts.mesh,
            unix_now=unix_now,
        )
        self.expelled = Expelled(
            book=parts.book,
            membership=parts.membership,
            directory=parts.directory,
            datagrams=parts.datagrams,
            pool=parts.pool,
            library=parts.library,
            lanes=parts.lanes,
        )
        self.revoking = Revoking(
            book=parts.book,
            reconciling=self.reconciling,
            rotation=self.rotation,
            membership=parts.membership,
            identity=parts.identity,
            mesh=parts.mesh,
            unix_now=unix_now,
            tell_seeds=self._tell_seeds,
        )
        self.telling_seeds = TellingSeeds(
            parts.reach.links, parts.book, Random(int.from_bytes(random_bytes(8), "big"))
        )
        parts.book.on_keys = self.reconciling.news
        parts.book.on_revoked = self._revoked

    def _revoked(self) -> None:
        self.expelled.enforce()
        self.telling_seeds.news()

    def start(self, nursery: trio.Nursery) -> None:
        """Start the tasks in the node's nursery."""
        self.expelled.enforce()
        nursery.start_soon(self.reconciling.run)
        nursery.start_soon(self.rotation.run)
        nursery.start_soon(self.expelled.run)
        nursery.start_soon(self.telling_seeds.run)

    async def _tell_seeds(self) -> int:
        return await self.telling_seeds.tell_now()

    def _known(self) -> list[Contact]:
        """Return whom the DHT and the peer cache remember, without seeds and ourselves."""
        parts = self._parts
        known = dict.fromkeys((*parts.directory.contacts(), *parts.saved.contacts))
        nobody = {*parts.datagrams.seeds, parts.contact.public_key}
        return [contact for contact in known if contact.public_key not in nobody]


def admitting(
    home: Home, identity: Identity, mesh: Mesh, *, accept_mesh: bool
) -> tuple[TrustLog, MeshBook, Trust, Admissions]:
    """Return the parts that say who may do what: they need no network, and all others need them."""
    log = TrustLog(home.trust_log_file, unix_now)
    book = MeshBook(home.keyring_file, home.revocations_file, mesh, unix_now, log)
    trust = Trust(
        home.trust_file,
        mesh,
        accept_mesh=accept_mesh,
        unix_now=unix_now,
        revoked=book.revoked,
        log=log,
    )
    admissions = Admissions(
        home.invites_file,
        identity,
        mesh,
        unix_now,
        mesh_key=lambda: book.ring.mesh_key,
        log=log,
    )
    return log, book, trust, admissions
