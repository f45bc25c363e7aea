"""Sealed datagrams: strangers are refused by one keyed hash, members by an AEAD under a pair key.

    packet = mac1 (16) || sender's Ed25519 key (32) || nonce (24) || XChaCha20-Poly1305

`mac1` is keyed BLAKE2b over the rest, with a key made from the recipient's public key and the
mesh's secrets (WireGuard's idea): whoever lacks them costs one hash and gets silence. The pair
key comes from X25519 of the two static keys, so a packet that opens is from its sender.
"""

import hmac
from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import blake2b

import nacl.bindings
from nacl.exceptions import CryptoError

from meshnode.errors import LocalProtocolError, RemoteProtocolError
from meshnode.identity.aead import XChaCha
from meshnode.identity.keys import Identity, random_bytes, x25519_public
from meshnode.ids import Address, NetworkId, PublicKey
from meshnode.wire.limits import DATAGRAM_BYTES_MAX

MAC1_BYTES = 16
KEY_BYTES = 32
NETWORK_BYTES = 16
NONCE_BYTES = 24
TAG_BYTES = 16
OVERHEAD_BYTES = MAC1_BYTES + KEY_BYTES + NONCE_BYTES + TAG_BYTES
PLAINTEXT_BYTES_MAX = DATAGRAM_BYTES_MAX - OVERHEAD_BYTES
START_BYTES = 16
PAIR_KEYS_MAX = 4096
"""A new pair key costs 130 us (a point mapped, then X25519), one at hand nothing."""
COOKIE_BYTES = 8
COOKIE_EPOCH_S = 300.0

SEED_MESH_KEY = bytes(32)
SEED_NETWORK = NetworkId(bytes(16))
"""Traffic with seeds is sealed outside any mesh: a seed holds no mesh's secret."""


@dataclass(slots=True, eq=False)
class _Pair:
    """What is kept of one peer. Forgotten and made again, it begins with another start."""

    key: bytes
    mac: blake2b
    """Under the peer's MAC key, before the first byte; see `Sealer._own_mac`."""
    start: bytes = field(default_factory=lambda: random_bytes(START_BYTES))
    count: int = 0
    sending: XChaCha | None = None
    receiving: XChaCha | None = None
    """Under the start that the peer used last."""

    def seal(self, head: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
        """Return a nonce that was never used, start || number, and the box under it."""
        if self.sending is None:
            self.sending = XChaCha(self.key, self.start)
        self.count += 1
        number = self.count.to_bytes(NONCE_BYTES - START_BYTES, "big")
        nonce = self.start + number
        return nonce, self.sending.seal(number, plaintext, head + nonce)

    def open(self, nonce: bytes, box: bytes, head: bytes) -> bytes:
        """Return the plaintext, or raise RemoteProtocolError; only then is the start kept."""
        start = nonce[:START_BYTES]
        receiving = self.receiving
        if receiving is None or receiving.start != start:
            receiving = XChaCha(self.key, start)
        plaintext = receiving.open(nonce[START_BYTES:], box, head + nonce)
        self.receiving = receiving
        return plaintext


class Sealer:
    """Seals and opens datagrams of one node in one domain (its mesh, or the seeds')."""

    def __init__(self, identity: Identity, *, mesh_key: bytes, network: NetworkId) -> None:
        if len(mesh_key) != KEY_BYTES or len(network) != NETWORK_BYTES:
            raise LocalProtocolError("a mesh key has 32 bytes and a network id 16")
        self._identity = identity
        self._domain = mesh_key + network
        self._own_mac = _keyed(self._mac_key(identity.public_key))
        """Before the first byte; a copy saves hashing the key for each packet."""
        self._pairs: OrderedDict[bytes, _Pair] = OrderedDict()

    def seal(self, recipient: PublicKey, plaintext: bytes) -> bytes:
        """Return the packet for `recipient`, `OVERHEAD_BYTES` longer than the plaintext.

        Raises LocalProtocolError if it would not fit a datagram, RemoteProtocolError if the
        recipient's key (which came from a peer) is no usable point of the curve.
        """
        if len(plaintext) > PLAINTEXT_BYTES_MAX:
            raise LocalProtocolError(f"a datagram of {len(plaintext)} bytes is too long")
        pair = self._pairs.get(recipient)
        if pair is None:
            pair = self._derive(recipient)
        self._keep(recipient, pair)
        own_key = self._identity.public_key
        nonce, box = pair.seal(own_key, plaintext)
        rest = own_key + nonce + box
        mac = pair.mac.copy()
        mac.update(rest)
        return mac.digest() + rest

    def is_for_me(self, packet: bytes) -> bool:
        """Return whether the sender knows our key and the mesh's; no public-key work is done."""
        if not OVERHEAD_BYTES <= len(packet) <= DATAGRAM_BYTES_MAX:
            return False
        mac = self._own_mac.copy()
        mac.update(packet[MAC1_BYTES:])
        return hmac.compare_digest(mac.digest(), packet[:MAC1_BYTES])

    def knows(self, sender: bytes) -> bool:
        """Return whether the pair key of a sender is at hand, so that opening is cheap."""
        return sender in self._pairs

    def open(self, packet: bytes) -> tuple[PublicKey, bytes]:
        """Return (sender's key, plaintext), or raise RemoteProtocolError."""
        if not self.is_for_me(packet):
            raise RemoteProtocolError("a datagram that is not for this node")
        return self.open_mine(packet)

    def open_mine(self, packet: bytes) -> tuple[PublicKey, bytes]:
        """As `open`, for a packet of which `is_for_me` is known.

        A sender unknown until now costs an X25519; its pair key is remembered only when the
        packet opens, so that made-up senders cannot push out the keys of real ones.
        """
        head = packet[MAC1_BYTES : MAC1_BYTES + KEY_BYTES + NONCE_BYTES]
        sender = PublicKey(head[:KEY_BYTES])
        if sender == self._identity.public_key:
            raise RemoteProtocolError("a datagram reflected to its sender")
        pair = self._pairs.get(sender)
        if pair is None:
            pair = self._derive(sender)
        plaintext = pair.open(head[KEY_BYTES:], packet[MAC1_BYTES + len(head) :], sender)
        self._keep(sender, pair)
        return sender, plaintext

    def _keep(self, other: bytes, pair: _Pair) -> None:
        """Put a peer at the end of the line to be forgotten."""
        self._pairs[other] = pair
        self._pairs.move_to_end(other)
        if len(self._pairs) > PAIR_KEYS_MAX:
            self._pairs.popitem(last=False)

    def _derive(self, other: PublicKey) -> _Pair:
        point = x25519_public(other)
        if point is None:
            raise RemoteProtocolError("a key that is not a point of the curve")
        try:
            shared: bytes = nacl.bindings.crypto_scalarmult(self._identity.x25519_secret, point)
        except (CryptoError, RuntimeError) as error:
            raise RemoteProtocolError("a key of low order") from error
        both = b"".join(sorted((self._identity.public_key, other)))
        material = shared + self._domain + both
        key = blake2b(material, digest_size=KEY_BYTES, person=b"meshnode-pair").digest()
        return _Pair(key, _keyed(self._mac_key(other)))

    def _mac_key(self, recipient: PublicKey) -> bytes:
        material = recipient + self._domain
        return blake2b(material, digest_size=KEY_BYTES, person=b"meshnode-mac1").digest()

    def __repr__(self) -> str:
        return f"Sealer({self._identity!r})"


def _keyed(mac_key: bytes) -> blake2b:
    """Return the keyed hash of an outer MAC, nothing hashed yet."""
    return blake2b(key=mac_key, digest_size=MAC1_BYTES)


class Cookies:
    """Return-routability cookies: a MAC over who was where, valid for five to ten minutes.

    Stateless for the issuer; a node that gives one back has received at that address.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise LocalProtocolError("a cookie secret has 32 bytes")
        self._secret = secret

    def issue(self, public_key: PublicKey, address: Address, now: float) -> bytes:
        """Return the cookie of this key at this address now."""
        return self._at(public_key, address, int(now // COOKIE_EPOCH_S))

    def check(self, cookie: bytes, public_key: PublicKey, address: Address, now: float) -> bool:
        """Return whether it was issued for this key and address in this epoch or the one before."""
        epoch = int(now // COOKIE_EPOCH_S)
        return any(
            hmac.compare_digest(cookie, self._at(public_key, address, e))
            for e in (epoch, epoch - 1)
        )

    def _at(self, public_key: PublicKey, address: Address, epoch: int) -> bytes:
        data = public_key + f"{address.host}|{address.port}|{epoch}".encode()
        return blake2b(
            data, key=self._secret, digest_size=COOKIE_BYTES, person=b"meshnode-cookie"
        ).digest()
