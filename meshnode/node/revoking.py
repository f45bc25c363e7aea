"""Revoking: an admin expels a device from the mesh.

The expelled device keeps its copy of the mesh's key, so a revocation also replaces that key, and
the old one is not kept. What every node does about the expelled is in `revoking_effects.py`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from meshnode.errors import UsageError
from meshnode.gossip.member import Member
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import Mesh
from meshnode.identity.revocations import Revocation, revoke, taken_over
from meshnode.ids import NodeId, PublicKey, from_text, node_id_of, short, to_text
from meshnode.node.keyring_book import MeshBook
from meshnode.node.keyring_reconciling import Reconciling
from meshnode.node.keyring_rotation import Rotation
from meshnode.node.membership import Membership

ROTATION_WAIT_S = 20.0
"""How long the old key is borne with for members that are alive and do not answer."""


class Revoking:
    """Expels devices at the operator's word."""

    def __init__(
        self,
        *,
        book: MeshBook,
        reconciling: Reconciling,
        rotation: Rotation,
        membership: Membership,
        identity: Identity,
        mesh: Mesh,
        unix_now: Callable[[], float],
        tell_seeds: Callable[[], Awaitable[int]],
    ) -> None:
        """`tell_seeds` tells every seed who is expelled, and returns how many know it."""
        self._book = book
        self._reconciling = reconciling
        self._rotation = rotation
        self._membership = membership
        self._identity = identity
        self._mesh = mesh
        self._unix_now = unix_now
        self._tell_seeds = tell_seeds

    async def revoke(self, who: str, reason: str, *, rotate: bool) -> dict[str, Any]:
        """Expel a device and tell everybody; return who was reached.

        `who` is a name, an id as `peers` shows it, or a key. With `rotate` the mesh's key is
        replaced, too. Raises RoleMissing, UsageError, or StoreError with nothing done.
        """
        subject, name = self._found(who)
        chain, network = self._mesh.chain, self._mesh.network
        revocation = revoke(
            self._identity,
            chain,
            network,
            subject,
            name=name,
            reason=reason,
            now_unix=self._unix_now(),
        )
        inherited = taken_over(
            self._book.revocations.listed(), subject, self._identity, chain, network
        )
        already = subject in self._book.revocations.keys
        if not already:
            self._book.add_revocations([revocation, *inherited])
        others = [m for m in self._membership.members() if m.contact.public_key != subject]
        alive = [m for m in others if m.state.present]
        heard = await self._reconciling.tell_all(m.contact for m in alive)
        seeds_told = await self._tell_seeds()
        # Telling them has shown whose membership came from the expelled device.
        fallen = [m for m in others if m.contact.public_key in self._book.expelled]
        others = [m for m in others if m not in fallen]
        self._reconciling.news()
        if rotate:
            self._rotation.start(force=False, wait_s=ROTATION_WAIT_S, keep_s=0.0)
        return {
            "name": name,
            "node_id": to_text(node_id_of(subject)),
            "already": already,
            "number": len(self._book.revocations),
            "reached": sum(heard.values()),
            "members": len(others),
            "not_reached": [m.name for m in others if not heard.get(m.contact.node_id)],
            "fallen": [m.name for m in fallen],
            "seeds": len(self._mesh.seeds),
            "seeds_told": seeds_told,
            "rotating": rotate,
        }

    def listed(self) -> list[dict[str, Any]]:
        """Return every revocation that counts, by its time."""
        return [_facts(r) for r in self._book.revocations.listed()]

    def _found(self, who: str) -> tuple[PublicKey, str]:
        """Return the key and name of a member, a revoked device, or a key given as text."""
        members = [m for m in self._membership.members() if _is_called(m, who)]
        if len(members) > 1:
            raise UsageError(
                f"{len(members)} members are called '{who}'",
                because=[f"{m.name} {to_text(m.contact.node_id)}" for m in members],
                try_="give the id of the one that is meant",
            )
        if members:
            return members[0].contact.public_key, members[0].name
        for revocation in self._book.revocations.listed():
            if who in (revocation.name, to_text(node_id_of(revocation.subject))):
                return revocation.subject, revocation.name
        try:
            key = PublicKey(from_text(who))
        except ValueError:
            raise UsageError(
                f"no member is called '{who}'",
                because=[
                    f"members: {', '.join(sorted(m.name for m in self._membership.members()))}"
                ],
                try_="meshnode peers   (or give the device's public key)",
            ) from None
        return key, short(node_id_of(key))


def _is_called(member: Member, who: str) -> bool:
    node_id: NodeId = member.contact.node_id
    return who in (
        member.name,
        to_text(node_id),
        short(node_id),
        to_text(member.contact.public_key),
    )


def _facts(revocation: Revocation) -> dict[str, Any]:
    node_id = node_id_of(revocation.subject)
    return {
        "name": revocation.name,
        "node_id": to_text(node_id),
        "short": short(node_id),
        "public_key": to_text(revocation.subject),
        "reason": revocation.reason,
        "at": revocation.at,
        "by": revocation.by,
    }
