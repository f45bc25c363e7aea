"""The parts of a node that look after the mesh's keys and its expelled, put together."""

from typing import TYPE_CHECKING

import trio

from meshnode.identity.keys import random_bytes
from meshnode.ids import Contact
from meshnode.machine import Random
from meshnode.node.clock import unix_now
from meshnode.node.keyring_reconciling import Reconciling
from meshnode.node.keyring_rotation import Rotation
from meshnode.node.revoking import Revoking
from meshnode.node.revoking_effects import Expelled

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
        )
        parts.book.on_keys = self.reconciling.news
        parts.book.on_revoked = self.expelled.enforce

    def start(self, nursery: trio.Nursery) -> None:
        """Start the tasks in the node's nursery."""
        self.expelled.enforce()
        nursery.start_soon(self.reconciling.run)
        nursery.start_soon(self.rotation.run)
        nursery.start_soon(self.expelled.run)

    def _known(self) -> list[Contact]:
        """Return whom the DHT and the peer cache remember, without seeds and ourselves."""
        parts = self._parts
        known = dict.fromkeys((*parts.directory.contacts(), *parts.saved.contacts))
        nobody = {*parts.datagrams.seeds, parts.contact.public_key}
        return [contact for contact in known if contact.public_key not in nobody]
