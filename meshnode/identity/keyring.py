"""The mesh's keys of one node: the one it sends under, those it accepts, and which come next.

A key is replaced in three steps, each an admin's signed order that every member can check and
pass on: `ACCEPT` (everybody learns the new key and opens what is sealed under it), `USE`
(everybody sends under it), `RETIRE` (the older ones are thrown away). A member that misses a step
is never cut off by it: what it sends under an older key is opened until that key is retired, and
afterwards the older key still opens one door, through which it can fetch the new one.

Of a retired key only a one-way derivative is kept, which opens that door and reads nothing.
Orders of one epoch that two admins made at once are ordered by their key's id, so that all
members end with the same key whatever the order of arrival.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from hashlib import blake2b

from meshnode.errors import RemoteProtocolError
from meshnode.ids import NetworkId
from meshnode.wire import cbor
from meshnode.wire.limits import CERTIFICATE_CHAIN_MAX, KIB

FORMAT = 1
KEY_BYTES = 32
KEY_ID_BYTES = 16
DIGEST_BYTES = 16
KEYS_MAX = 3
"""The present one, one before and one after it: a stranger's datagram costs a hash for each."""
RETIRED_MAX = 8
"""Rotations that a node may sleep through and still come back by itself."""
EPOCH_MAX = 2**40
EPOCH_JUMP_MAX = 1024
"""No order is so far ahead of what is known that no later one could follow it."""
KEYRING_BYTES_MAX = 64 * KIB


class Stage(IntEnum):
    """How far the mesh has gone with a key."""

    ACCEPT = 1
    USE = 2
    RETIRE = 3
    """Used, and the older ones are no longer accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RingKey:
    """One key that is accepted. Its repr shows no secret."""

    epoch: int
    """0 for the key that came with the membership; every rotation takes a higher one."""
    key: bytes = field(repr=False)
    stage: Stage = Stage.USE
    order: bytes = field(default=b"", repr=False)
    """The admin's signed order for this stage; empty for the key of epoch 0."""
    chain: tuple[bytes, ...] = field(default=(), repr=False)
    """The admin's certificates."""

    @property
    def key_id(self) -> bytes:
        """What an order calls the key by."""
        return key_id_of(self.key)

    @property
    def rank(self) -> tuple[int, bytes]:
        """Which of two keys wins: the later epoch, then the higher id."""
        return self.epoch, self.key_id


class Keyring:
    """The keys of one mesh at one node. Not thread-safe; it has no clock and does no I/O."""

    def __init__(
        self, network: NetworkId, keys: Iterable[RingKey], retired: Iterable[bytes] = ()
    ) -> None:
        """`retired` are the catch-up keys of keys that are accepted no more, the newest first."""
        self.network = network
        self._keys = {key.key_id: key for key in keys}
        if not self._keys:
            raise ValueError("a keyring has at least one key")
        self._retired = tuple(retired)[:RETIRED_MAX]
        self._refresh()

    # ------------------------------------------------------------------ what channels use

    @property
    def current(self) -> RingKey:
        """The key to send under: the highest that is ordered to be used."""
        return self._accepted[0]

    @property
    def mesh_key(self) -> bytes:
        """The secret of the current key."""
        return self.current.key

    def accepted(self) -> tuple[RingKey, ...]:
        """Return the keys that open what arrives: the current one, then newer to older."""
        return self._accepted

    def accepted_keys(self) -> tuple[bytes, ...]:
        """Return the secrets of `accepted`; the same tuple until something changes."""
        return self._secrets

    def catch_up_keys(self) -> tuple[bytes, ...]:
        """Return the handshake keys under which a member that slept may ask for the keys."""
        return self._retired

    def late_keys(self) -> tuple[bytes, ...]:
        """Return the handshake keys under which this node asks, if its own keys are retired."""
        return (*(catch_up_of(key) for key in self._secrets), *self._retired)

    # ------------------------------------------------------------------ what orders change

    @property
    def newest(self) -> RingKey:
        """The key of the highest rank, used already or not."""
        return max(self._keys.values(), key=lambda key: key.rank)

    @property
    def floor(self) -> RingKey | None:
        """The key below which all are retired, or None if nothing ever was."""
        retiring = [key for key in self._keys.values() if key.stage is Stage.RETIRE]
        return max(retiring, key=lambda key: key.rank) if retiring else None

    def takes(self, key: RingKey) -> bool:
        """Return whether this order would change anything: it is no older than what is known."""
        known = self._keys.get(key.key_id)
        if known is not None and known.epoch == key.epoch:
            return key.stage > known.stage
        if known is not None and known.epoch > 0:
            return False
        floor = self.floor
        if floor is not None and key.rank < floor.rank:
            return False
        ahead = key.epoch - self.newest.epoch
        return 0 < key.epoch < EPOCH_MAX and ahead <= EPOCH_JUMP_MAX

    def take(self, key: RingKey) -> bool:
        """Follow an order that was verified; return whether it changed anything."""
        if not self.takes(key):
            return False
        before = dict(self._keys)
        self._keys[key.key_id] = key
        floor = self.floor
        if floor is not None:
            self._drop([k for k in self._keys.values() if k.rank < floor.rank])
        while len(self._keys) > KEYS_MAX:
            self._refresh()
            spare = [k for k in self._keys.values() if k.key_id != self.current.key_id]
            self._drop([min(spare, key=lambda k: k.rank)])
        self._refresh()
        return self._keys != before

    def digest(self) -> bytes:
        """Return what two nodes compare: equal if they follow the same orders."""
        ordered = sorted((k.epoch, k.key_id, int(k.stage)) for k in self._keys.values() if k.epoch)
        floor = self.floor
        relevant = [list(o) for o in ordered if floor is None or o[:2] >= floor.rank]
        return blake2b(
            cbor.dumps(relevant), digest_size=DIGEST_BYTES, person=b"meshnode-ring"
        ).digest()

    def orders(self) -> tuple[RingKey, ...]:
        """Return the keys that came by an order, for another member; secret."""
        ordered = [key for key in self._keys.values() if key.order]
        return tuple(sorted(ordered, key=lambda key: key.rank))

    def _refresh(self) -> None:
        line = sorted(self._keys.values(), key=lambda key: key.rank, reverse=True)
        current = next((key for key in line if key.stage >= Stage.USE), line[0])
        self._accepted = (current, *(key for key in line if key is not current))
        self._secrets = tuple(key.key for key in self._accepted)

    def _drop(self, keys: list[RingKey]) -> None:
        for key in sorted(keys, key=lambda k: k.rank):
            del self._keys[key.key_id]
            self._retired = (catch_up_of(key.key), *self._retired)[:RETIRED_MAX]

    # ------------------------------------------------------------------ on disk

    def to_bytes(self) -> bytes:
        """Return the form kept on disk (secret)."""
        keys = [[k.epoch, k.key, int(k.stage), k.order, list(k.chain)] for k in self._keys.values()]
        return cbor.dumps([FORMAT, self.network, keys, list(self._retired)])

    @classmethod
    def from_bytes(cls, data: bytes) -> "Keyring":
        """Return the keyring that `to_bytes` wrote, or raise RemoteProtocolError."""
        match cbor.loads(data, bytes_max=KEYRING_BYTES_MAX):
            case [int() as version, bytes() as network, list() as keys, list() as retired]:
                fits = all(isinstance(r, bytes) and len(r) == KEY_BYTES for r in retired)
                if version == FORMAT and fits and 1 <= len(keys) <= KEYS_MAX:
                    return cls(NetworkId(network), [_ring_key(k) for k in keys], retired)
            case _:
                pass
        raise RemoteProtocolError("not a keyring file of this version")

    def __repr__(self) -> str:
        return f"Keyring({', '.join(f'{k.epoch}:{k.stage.name}' for k in self.accepted())})"


def first_keyring(network: NetworkId, mesh_key: bytes) -> Keyring:
    """Return the keyring of a device that has just founded or joined a mesh."""
    return Keyring(network, [RingKey(epoch=0, key=mesh_key)])


def next_key(ring: Keyring, secret: bytes) -> RingKey:
    """Return a key for the next epoch, to be accepted first; its order is still to be signed."""
    return RingKey(epoch=ring.newest.epoch + 1, key=secret, stage=Stage.ACCEPT)


def at_stage(key: RingKey, stage: Stage) -> RingKey:
    """Return a key as it is one step further, its order still to be signed."""
    return replace(key, stage=stage, order=b"", chain=())


def key_id_of(key: bytes) -> bytes:
    """Return the public name of a mesh key; it does not lead back to the key."""
    return blake2b(key, digest_size=KEY_ID_BYTES, person=b"meshnode-keyid").digest()


def catch_up_of(key: bytes) -> bytes:
    """Return the handshake key of those who know this mesh key and no newer one."""
    return blake2b(key, digest_size=KEY_BYTES, person=b"meshnode-catchup").digest()


def _ring_key(fields: object) -> RingKey:
    match fields:
        case [int() as epoch, bytes() as key, int() as stage, bytes() as order, list() as chain]:
            fits = len(key) == KEY_BYTES and 0 <= epoch < EPOCH_MAX and stage in tuple(Stage)
            certified = len(chain) <= CERTIFICATE_CHAIN_MAX
            if fits and certified and all(isinstance(c, bytes) for c in chain):
                return RingKey(
                    epoch=epoch, key=key, stage=Stage(stage), order=order, chain=tuple(chain)
                )
        case _:
            pass
    raise RemoteProtocolError("a keyring's key does not have the form of one")
