"""Values that the DHT's tests share: identities, contacts, records."""

from meshnode.caps import Caps
from meshnode.dht.records import NameRecord, NodeRecord, ProviderRecord, VersionEntry
from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact, ContentHash, NetworkId, PublicKey

NETWORK = NetworkId(b"n" * 16)
ALICE, BOB, CAROL = (Identity.from_seed(bytes([n]) * 32) for n in (1, 2, 3))
BLOB = ContentHash(b"b" * 32)


def contact(who: Identity, host: str = "10.0.0.1", port: int = 6174) -> Contact:
    return Contact(who.public_key, Address(host, port))


def numbered(index: int, host: str | None = None) -> Contact:
    """A contact with a made-up key; its own private address unless `host` is given."""
    key = PublicKey(index.to_bytes(32, "big"))
    return Contact(key, Address(host or f"10.{index >> 8 & 255}.{index & 255}.1", 6174))


def provider(who: Identity, *, seq: int = 1, blob: ContentHash = BLOB, **other) -> ProviderRecord:
    plain = {"addresses": (Address("10.0.0.1", 1),), "size": 5, "root": b"r" * 32, "ttl_s": 1800}
    return ProviderRecord(
        network=NETWORK, blob=blob, provider=who.public_key, seq=seq, **{**plain, **other}
    )


def node(who: Identity, *, seq: int = 1, ttl_s: int = 600) -> NodeRecord:
    return NodeRecord(
        network=NETWORK,
        public_key=who.public_key,
        addresses=(Address("192.0.2.1", 6174), Address("2001:db8::1", 6174)),
        name="kitchen",
        caps=Caps.CPU | Caps.NN,
        seq=seq,
        ttl_s=ttl_s,
    )


def name(who: Identity, *, seq: int = 1, version: str = "1.0.0", ttl_s: int = 7200) -> NameRecord:
    entry = VersionEntry(module=BLOB, size=9, root=b"r" * 32, caps=Caps.CPU, yanked=False)
    return NameRecord(
        network=NETWORK,
        publisher=who.public_key,
        name="detect",
        versions={version: entry},
        seq=seq,
        ttl_s=ttl_s,
    )
