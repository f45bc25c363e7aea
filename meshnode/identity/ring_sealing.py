"""Sealed datagrams under a keyring: several keys open, one seals.

A datagram is sealed under the current key, except to a peer that itself still uses an older one
that is accepted: it would not understand anything else. Each key has its own cache of pair keys.
"""

from collections import OrderedDict
from typing import Protocol

from meshnode.errors import RemoteProtocolError
from meshnode.identity.keys import Identity
from meshnode.identity.sealing import PAIR_KEYS_MAX, Sealer
from meshnode.ids import NetworkId, PublicKey


class SealingKeys(Protocol):
    """What sealing needs of a mesh: `Keyring` has it, and `Mesh` for one that has one key."""

    @property
    def network(self) -> NetworkId:
        """The mesh's network id."""
        ...

    def accepted_keys(self) -> tuple[bytes, ...]:
        """Return the secrets that open what arrives, the one to send under first."""
        ...


class RingSealer:
    """Seals and opens datagrams of one node in its mesh."""

    def __init__(self, identity: Identity, keys: SealingKeys) -> None:
        self._identity = identity
        self._keys = keys
        self._accepted: tuple[bytes, ...] = ()
        self._sealers: dict[bytes, Sealer] = {}
        self._used_by: OrderedDict[PublicKey, bytes] = OrderedDict()
        self._hit: tuple[bytes, Sealer] | None = None

    def seal(self, recipient: PublicKey, plaintext: bytes) -> bytes:
        """Return the packet for `recipient`; raises as `Sealer.seal`."""
        sealers = self._present()
        sealer = sealers[self._accepted[0]]
        if self._used_by:
            sealer = sealers.get(self._used_by.get(recipient, b""), sealer)
        return sealer.seal(recipient, plaintext)

    def is_for_me(self, packet: bytes) -> bool:
        """Return whether the sender knows our key and one of the mesh's: a hash for each key."""
        for sealer in self._present().values():
            if sealer.is_for_me(packet):
                self._hit = (packet, sealer)
                return True
        return False

    def knows(self, sender: bytes) -> bool:
        """Return whether the sender's pair key is at hand, under the key of the packet at hand."""
        hit = self._hit
        if hit is not None:
            return hit[1].knows(sender)
        return any(sealer.knows(sender) for sealer in self._present().values())

    def open(self, packet: bytes) -> tuple[PublicKey, bytes]:
        """Return (sender's key, plaintext), or raise RemoteProtocolError."""
        if not self.is_for_me(packet):
            raise RemoteProtocolError("a datagram that is not for this node")
        return self.open_mine(packet)

    def open_mine(self, packet: bytes) -> tuple[PublicKey, bytes]:
        """As `open`, for a packet of which `is_for_me` was asked last."""
        hit, self._hit = self._hit, None
        if hit is None or hit[0] is not packet:
            return self.open(packet)
        sender, plaintext = hit[1].open_mine(packet)
        self._note(sender, hit[1])
        return sender, plaintext

    def _note(self, sender: PublicKey, sealer: Sealer) -> None:
        """Remember who still uses an older key; forget it as soon as it uses the current one."""
        current = self._accepted[0]
        if sealer is self._sealers[current]:
            if self._used_by:
                self._used_by.pop(sender, None)
            return
        self._used_by[sender] = next(k for k, s in self._sealers.items() if s is sealer)
        self._used_by.move_to_end(sender)
        if len(self._used_by) > PAIR_KEYS_MAX:
            self._used_by.popitem(last=False)

    def _present(self) -> dict[bytes, Sealer]:
        """Return a sealer for each accepted key, the current one first."""
        accepted = self._keys.accepted_keys()
        if accepted != self._accepted:
            self._sealers = {
                key: self._sealers.get(key)
                or Sealer(self._identity, mesh_key=key, network=self._keys.network)
                for key in accepted
            }
            self._used_by = OrderedDict(
                (peer, key) for peer, key in self._used_by.items() if key in self._sealers
            )
            self._accepted = accepted
        return self._sealers

    def __repr__(self) -> str:
        return f"RingSealer({self._identity!r}, {len(self._sealers)} keys)"
