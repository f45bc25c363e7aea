"""The book of a mesh's keys and revocations at one node: kept on disk, merged with those of others.

Files: `keyring.cbor` (0600) and `revocations.cbor`. What another member sends is verified whole,
revocations first: so whoever has a new key also knows whom it was made against. It is on disk
before anybody is told that it was taken.
"""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from meshnode.errors import IdentityError, MeshnodeError, NotAMember, RemoteProtocolError
from meshnode.identity.certificates import read
from meshnode.identity.keyring import KEYS_MAX, Keyring, RingKey, first_keyring
from meshnode.identity.mesh import Mesh
from meshnode.identity.orders import MeshRules, verify_order
from meshnode.identity.revocations import Revocation, Revocations
from meshnode.ids import PublicKey, node_id_of, short
from meshnode.node.trust_log import TrustLog
from meshnode.storage.state import read_secret, read_state, write_secret, write_state
from meshnode.wire import cbor
from meshnode.wire.limits import RECONCILED_BYTES_MAX, REVOKED_BYTES_MAX
from meshnode.wire.messages import Buffer

_log = logging.getLogger(__name__)
_FORMAT = 1
FALLEN_MAX = 1024
"""Devices below a revoked one that are known as such; the others are refused one by one."""


class MeshBook:
    """What this node knows of its mesh's keys, and of who is expelled from it."""

    def __init__(
        self,
        keyring_file: Path,
        revocations_file: Path,
        mesh: Mesh,
        unix_now: Callable[[], float],
        log: TrustLog | None = None,
    ) -> None:
        """Read both files. Raises IdentityError if others can read the keys, or damaged ones."""
        self._keyring_file = keyring_file
        self._revocations_file = revocations_file
        self._mesh = mesh
        self._unix_now = unix_now
        self._trust_log = log
        self.ring = load_keyring(keyring_file, mesh)
        self.revocations = self._load_revocations()
        self._fallen: set[PublicKey] = set()
        self.expelled = self.revocations.keys
        """The revoked, and those met whose membership comes from one of them."""
        self.on_keys: Callable[[], None] = _nothing
        """Called when the keys changed."""
        self.on_revoked: Callable[[], None] = _nothing
        """Called when the set of the expelled changed."""

    @property
    def digests(self) -> tuple[bytes, bytes]:
        """What is compared with others: of the keys, and of the revocations."""
        return self.ring.digest(), self.revocations.digest()

    def to_bytes(self) -> bytes:
        """Return everything that another member may lack; secret."""
        orders = [[key.order, key.key, list(key.chain)] for key in self.ring.orders()]
        return cbor.dumps([orders, self.revocations.plain()])

    def merge(self, data: Buffer) -> bool:
        """Take what another member sent and is news here; return whether anything was.

        Raises RemoteProtocolError or NotAMember if something in it is not genuine; what was
        found good before it stays. An order by an admin that is revoked is not followed.
        """
        match cbor.loads(data, bytes_max=RECONCILED_BYTES_MAX):
            case [list() as orders, list() as revocations] if len(orders) <= KEYS_MAX:
                changed = self._take_revocations(revocations)
                return self._follow(orders) or changed
            case _:
                raise RemoteProtocolError("not the keys and revocations of a member")

    def revocations_plain(self) -> bytes:
        """Return what a seed may lack; nothing of it is secret."""
        return cbor.dumps(self.revocations.plain())

    def merge_revocations(self, data: Buffer) -> bool:
        """Take the revocations that a seed sent; returns and raises as `merge`."""
        return self._take_revocations(cbor.loads(data, bytes_max=REVOKED_BYTES_MAX))

    def _take_revocations(self, plain: object) -> bool:
        return self.add_revocations(self.revocations.read_new(plain, self._rules()))

    def judged(self, key: PublicKey, fallen: bool) -> None:
        """A peer's certificates were judged: its membership comes from a revoked key, or is good.

        Such a key is not revoked itself, so the device may come back with another certificate.
        """
        if fallen and key not in self._fallen and len(self._fallen) < FALLEN_MAX:
            self._fallen.add(key)
        elif not fallen and key in self._fallen:
            self._fallen.remove(key)
        else:
            return
        self._expel()

    def _expel(self) -> None:
        before = self.expelled
        self.expelled = self.revocations.keys | self._fallen
        if self.expelled != before:
            self.on_revoked()

    def take_key(self, key: RingKey) -> bool:
        """Follow an order that was verified, or is our own; return whether it changed anything."""
        if not self.ring.take(key):
            return False
        write_secret(self._keyring_file, self.ring.to_bytes())
        _log.info("the mesh's keys are %s", self.ring)
        if self._trust_log is not None:
            by = read(key.chain[-1]).name
            self._trust_log.note("key", epoch=str(key.epoch), step=key.stage.name.lower(), by=by)
        self.on_keys()
        return True

    def add_revocations(self, revocations: Iterable[Revocation]) -> bool:
        """Take verified revocations; return whether any is new."""
        new = self.revocations.add(revocations)
        if not new:
            return False
        write_state(
            self._revocations_file,
            {"format": _FORMAT, "network": self._mesh.network, "all": self.revocations.plain()},
        )
        for revocation in new:
            self._note(revocation)
            _log.warning(
                "%s was revoked by %s: %s", revocation.name, revocation.by, revocation.reason
            )
        self._expel()
        return True

    def revoked(self) -> frozenset[PublicKey]:
        """Return the keys that no certificate chain may contain."""
        return self.revocations.keys

    def _note(self, revocation: Revocation) -> None:
        if self._trust_log is not None:
            self._trust_log.note(
                "revoked",
                name=revocation.name,
                id=short(node_id_of(revocation.subject)),
                reason=revocation.reason,
                by=revocation.by,
            )

    def _follow(self, orders: list[cbor.Plain]) -> bool:
        changed = False
        for fields in orders:
            match fields:
                case [bytes() as order, bytes() as key, list() as chain]:
                    try:
                        ordered = verify_order(order, key, chain, self._rules())
                    except NotAMember as error:
                        _log.warning("an order about a mesh key is not followed: %s", error)
                        continue
                    changed = self.take_key(ordered) or changed
                case _:
                    raise RemoteProtocolError("an order about a mesh key has another form")
        return changed

    def _rules(self) -> MeshRules:
        return MeshRules(
            root_key=self._mesh.root_key,
            network=self._mesh.network,
            now_unix=self._unix_now(),
            revoked=self.revocations.keys,
        )

    def _load_revocations(self) -> Revocations:
        """Read the file and check it as if a peer had sent it; a damaged one is learnt again."""
        known = Revocations()
        rules = MeshRules(
            root_key=self._mesh.root_key, network=self._mesh.network, now_unix=self._unix_now()
        )
        saved = read_state(self._revocations_file)
        if isinstance(saved, dict) and saved.get("network") == self._mesh.network:
            try:
                known.add(known.read_new(saved.get("all"), rules))
            except MeshnodeError as error:
                _log.warning("%s is damaged: %s", self._revocations_file, error)
        return known


def load_keyring(path: Path, mesh: Mesh) -> Keyring:
    """Return the keyring of this mesh; for a new membership the one key that came with it."""
    raw = read_secret(path)
    if raw is None:
        return first_keyring(mesh.network, mesh.mesh_key)
    try:
        ring = Keyring.from_bytes(raw)
    except RemoteProtocolError as error:
        raise IdentityError(
            f"{path} is damaged: {error}",
            try_=f"mv {path} {path}.damaged   (the node then asks the others for the keys)",
        ) from error
    return ring if ring.network == mesh.network else first_keyring(mesh.network, mesh.mesh_key)


def _nothing() -> None:
    pass
