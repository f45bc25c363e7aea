"""Admission: invites this node has out, and the certificates it gives for them.

The sponsor keeps each invite's secret and counter, so "single use" needs no agreement with
anybody else; the price is that redeeming needs that sponsor. Kept in `invites.cbor`, 0600.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from meshnode.errors import NotAMember, RemoteProtocolError, RoleMissing, TooLarge
from meshnode.identity.certificates import Role, names_of, verify_chain
from meshnode.identity.invites import Invite, Ledger, encode, new_secret
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import Mesh, admit
from meshnode.ids import Address, Contact, short
from meshnode.net.connection import Peer
from meshnode.node.trust_log import TrustLog
from meshnode.storage.state import read_secret, write_secret
from meshnode.wire import cbor
from meshnode.wire.limits import MIB
from meshnode.wire.messages import Admission as Admitted
from meshnode.wire.messages import Join

_log = logging.getLogger(__name__)
CERTIFICATE_DAYS = 180


class Admissions:
    """The sponsor's side of joining."""

    def __init__(
        self,
        path: Path,
        identity: Identity,
        mesh: Mesh,
        unix_now: Callable[[], float],
        mesh_key: Callable[[], bytes] | None = None,
        log: TrustLog | None = None,
    ) -> None:
        """`mesh_key` gives the mesh's key as it is now, if it may have been replaced."""
        self._path = path
        self._identity = identity
        self._mesh = mesh
        self._unix_now = unix_now
        self._mesh_key = mesh_key
        self._trust_log = log
        self.ledger = _read_ledger(path)

    def own_roles(self) -> Role:
        """Return what this node's certificate allows it."""
        leaf = verify_chain(
            self._mesh.chain,
            root_key=self._mesh.root_key,
            network=self._mesh.network,
            now_unix=self._unix_now(),
        )
        return leaf.roles

    def invite(
        self, *, addresses: tuple[Address, ...], uses: int, ttl_s: int, roles: Role
    ) -> tuple[str, int]:
        """Open an invite and return its text and expiry (unix seconds), or raise RoleMissing."""
        own = self.own_roles()
        if not own & Role.ADMIT:
            raise RoleMissing(
                "this node may not invite: its certificate lacks the role admit",
                try_="run meshnode invite on the node that invited this one",
            )
        if roles & ~own:
            raise RoleMissing("an invite cannot give roles that this node does not have itself")
        secret, expires_at = new_secret(), int(self._unix_now()) + ttl_s
        self.ledger.open(
            secret=secret,
            uses=uses,
            expires_at=expires_at,
            roles=roles,
            now_unix=self._unix_now(),
        )
        self._save()
        invite = Invite(self._mesh.network, secret, addresses, expires_at, uses)
        return encode(invite), expires_at

    def psks(self) -> list[bytes]:
        """Return the channel keys of the invites that are out, for the listener."""
        return [psk for _, psk in self.ledger.psks(self._unix_now())]

    def redeem(self, peer: Peer, join: Join, members: tuple[Contact, ...]) -> Admitted:
        """Admit a joiner who holds an invite's secret, or raise InviteExpired or InviteUsed."""
        if peer.invite is None:
            raise NotAMember("joining takes an invite")
        roles = self.ledger.redeem(peer.invite, peer.public_key, self._unix_now())
        self._save()
        chain = admit(
            self._identity,
            self._mesh.chain,
            peer.public_key,
            name=join.name,
            roles=roles,
            now_unix=self._unix_now(),
            days=CERTIFICATE_DAYS,
        )
        _log.info("admitted %s (%s)", join.name, short(peer.node_id))
        if self._trust_log is not None:
            given = names_of(roles)
            self._trust_log.note("admitted", name=join.name, id=short(peer.node_id), roles=given)
        return Admitted(
            mesh_name=self._mesh.name,
            root_key=self._mesh.root_key,
            mesh_key=self._mesh_key() if self._mesh_key else self._mesh.mesh_key,
            chain=chain,
            members=members,
            seeds=self._mesh.seeds,
        )

    def _save(self) -> None:
        write_secret(self._path, cbor.dumps(self.ledger.to_plain()))


def _read_ledger(path: Path) -> Ledger:
    """Return the invites that are out. A damaged file ends them, but keeps no node from starting.

    Raises IdentityError if others can read the file.
    """
    raw = read_secret(path)
    try:
        return Ledger() if raw is None else Ledger.from_plain(cbor.loads(raw, bytes_max=MIB))
    except (RemoteProtocolError, TooLarge) as error:
        aside = path.with_name(path.name + ".damaged")
        path.replace(aside)
        _log.warning("%s is damaged and was moved to %s: make new invites", path, aside.name)
        _log.debug("what is wrong with it: %s", error)
        return Ledger()
