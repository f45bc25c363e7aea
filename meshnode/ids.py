"""Who and where: node ids, content hashes, addresses, their text forms, and XOR distance.

Floor 0. Plain values; nothing here does I/O or imports a third-party package.
"""

from base64 import b32decode, b32encode
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import NewType

NodeId = NewType("NodeId", bytes)
"""32 bytes: SHA-256 of the node's Ed25519 public key. Also its place in the DHT keyspace."""

PublicKey = NewType("PublicKey", bytes)
"""32 bytes: an Ed25519 public key."""

ContentHash = NewType("ContentHash", bytes)
"""32 bytes: SHA-256 of a file (a Wasm module or a weights blob)."""

RequestId = NewType("RequestId", bytes)
"""16 random bytes, chosen by the submitter; the idempotency key of one request."""

NetworkId = NewType("NetworkId", bytes)
"""16 bytes: the head of SHA-256 of a mesh's root public key; separates meshes everywhere."""

NodeTag = NewType("NodeTag", bytes)
"""The first 8 bytes of a node id: enough to name a member inside one mesh's load gossip."""

ID_BYTES = 32
TAG_BYTES = 8
GROUP_CHARS = 7
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a node listens: an IP literal or host name. One port serves UDP and TCP."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return `host:port`, an IPv6 literal in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Contact:
    """A node's public key together with the address it was last heard from.

    The key and not its hash, because a sealed datagram needs it before the first answer.
    """

    public_key: PublicKey
    address: Address

    @property
    def node_id(self) -> NodeId:
        """The id that the key hashes to."""
        return node_id_of(self.public_key)


@lru_cache(maxsize=8192)
def node_id_of(public_key: PublicKey) -> NodeId:
    """Return the node id of an Ed25519 public key."""
    return NodeId(sha256(public_key).digest())


def tag_of(long_id: bytes) -> NodeTag:
    """Return the first 8 bytes of a node id or content hash."""
    return NodeTag(long_id[:TAG_BYTES])


def distance(a: bytes, b: bytes) -> int:
    """Return the XOR distance between two ids of equal length."""
    if len(a) != len(b):
        raise ValueError(f"ids differ in length: {len(a)} and {len(b)}")
    return int.from_bytes(a, "big") ^ int.from_bytes(b, "big")


@lru_cache(maxsize=4096)
def to_text(value: bytes) -> str:
    """Return 32 bytes as 8 groups of 7: base32, one Luhn mod 32 check character per 13.

    The layout is Syncthing's device id (its BEP "Device IDs" page): 52 characters of base32 are
    cut into four runs of 13, each followed by its check character.
    """
    if len(value) != ID_BYTES:
        raise ValueError(f"an id has {ID_BYTES} bytes, not {len(value)}")
    plain = b32encode(value).decode().rstrip("=")
    checked = "".join(run + _luhn(run) for run in _cut(plain, 13))
    return "-".join(_cut(checked, GROUP_CHARS))


def from_text(text: str) -> bytes:
    """Return the 32 bytes of `to_text`'s form, or raise ValueError naming what is wrong."""
    plain = text.replace("-", "").replace(" ", "").upper()
    if len(plain) != 56:
        raise ValueError(f"an id has 56 letters and digits, this has {len(plain)}")
    runs = _cut(plain, 14)
    for run in runs:
        if any(c not in _ALPHABET for c in run):
            raise ValueError(f"'{run}' has characters outside A-Z and 2-7")
        if _luhn(run[:-1]) != run[-1]:
            raise ValueError(f"'{run}' is mistyped (its check character does not match)")
    return b32decode("".join(run[:-1] for run in runs) + "====")


def short(value: bytes) -> str:
    """Return the first group of an id's text form, the form shown beside a name."""
    return to_text(value)[:GROUP_CHARS]


def parse_address(text: str, default_port: int | None = None) -> Address:
    """Return the address in `host:port` or `[v6]:port`, or raise ValueError saying why not."""
    host, colon, port = text.rpartition(":")
    if not colon or (host.count(":") and not host.startswith("[")):
        host, port = text, str(default_port or "")
    host = host.strip("[]")
    if not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError(f"'{text}' is not HOST:PORT")
    return Address(host, int(port))


def parse_contact(text: str) -> Contact:
    """Return the contact in `KEY@host:port`, KEY as in `to_text`, or raise ValueError."""
    key, at, address = text.strip().partition("@")
    if not at:
        raise ValueError(f"'{text}' is not KEY@HOST:PORT")
    return Contact(PublicKey(from_text(key)), parse_address(address))


def _cut(text: str, size: int) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


def _luhn(run: str) -> str:
    total = 0
    for i, char in enumerate(run):
        addend = _ALPHABET.index(char) * (2 if i % 2 else 1)
        total += addend // 32 + addend % 32
    return _ALPHABET[-total % 32]
