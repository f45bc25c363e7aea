"""Signed records: who a node is, who provides a blob, what a publisher calls by a name.

A record is a COSE_Sign1 whose payload is a positional CBOR list that begins with the record's
type and network. The type also goes into what is signed (as COSE's external AAD), so a signature
for one type is worth nothing for another; the signer's key is a field of the payload. Keys are
made with the network's id, so that meshes which share a seed share no key.

Sequence numbers rule: of two records by one signer under one key the higher one is the truth, on
equal ones with different content the signer contradicts himself (equivocation).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TypeAlias, TypeVar

from meshnode.caps import Caps
from meshnode.dht.fields import Reader
from meshnode.errors import LocalProtocolError, RemoteProtocolError
from meshnode.identity.cose import sign1, split1, verify1
from meshnode.identity.keys import Identity
from meshnode.ids import Address, ContentHash, NetworkId, NodeId, PublicKey, node_id_of
from meshnode.wire import cbor
from meshnode.wire.limits import (
    ADDRESSES_MAX,
    BLOB_BYTES_MAX,
    NAME_CHARS_MAX,
    RECORD_PAYLOAD_BYTES_MAX,
)

PAYLOAD_BYTES_MAX = RECORD_PAYLOAD_BYTES_MAX - 24
"""Less than the wire allows: an answer from a seed carries the network's id beside the record."""

SEQ_MAX = 2**63
"""A number beyond this is a mistake or malice: nothing could ever follow it."""
TTL_S_MAX = 2**32
"""A longer time is refused; one longer than the receiver's cap is cut to the cap."""
VERSIONS_MAX = 16
VERSION_CHARS_MAX = 64
HOST_CHARS_MAX = 253


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """What a node says about itself."""

    network: NetworkId
    public_key: PublicKey
    addresses: tuple[Address, ...]
    name: str
    caps: Caps
    seq: int
    ttl_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRecord:
    """`provider` holds `blob` whole and serves it at `addresses`. Many signers for each key."""

    network: NetworkId
    blob: ContentHash
    provider: PublicKey
    addresses: tuple[Address, ...]
    size: int
    root: bytes
    """32 bytes: the root of the blob's verification tree (BEP 52), so a lie about it is signed."""
    seq: int
    ttl_s: int
    withdrawn: bool = False
    """It does not provide it any more; stands until its time is up, so no older copy returns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionEntry:
    """One version of a name."""

    module: ContentHash
    size: int
    root: bytes
    caps: Caps
    yanked: bool = False
    """Withdrawn by its publisher: not chosen unless asked for by hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRecord:
    """What `publisher` means by `name`. One for each key; anybody may store it again unchanged."""

    network: NetworkId
    publisher: PublicKey
    name: str
    versions: Mapping[str, VersionEntry] = field(default_factory=dict)
    seq: int
    ttl_s: int


Record: TypeAlias = NodeRecord | ProviderRecord | NameRecord
RecordT = TypeVar("RecordT", NodeRecord, ProviderRecord, NameRecord)

_NODE, _PROVIDER, _NAME = 1, 2, 3
_AAD = {
    _NODE: b"meshnode/record/node/1",
    _PROVIDER: b"meshnode/record/provider/1",
    _NAME: b"meshnode/record/name/1",
}


def node_key(network: NetworkId, node_id: NodeId) -> bytes:
    """Return the DHT key of a node's record, 32 bytes."""
    return sha256(b"node" + network + node_id).digest()


def provider_key(network: NetworkId, blob: ContentHash) -> bytes:
    """Return the DHT key of a blob's provider records, 32 bytes."""
    return sha256(b"prov" + network + blob).digest()


def name_key(network: NetworkId, publisher: PublicKey, name: str) -> bytes:
    """Return the DHT key of a publisher's name, 32 bytes (BEP 44's mutable items with salt)."""
    return sha256(b"name" + network + publisher + name.encode()).digest()


def key_of(record: Record) -> bytes:
    """Return the DHT key under which a record belongs, 32 bytes."""
    match record:
        case NodeRecord():
            return node_key(record.network, node_id_of(record.public_key))
        case ProviderRecord():
            return provider_key(record.network, record.blob)
        case NameRecord():
            return name_key(record.network, record.publisher, record.name)


def signer_of(record: Record) -> PublicKey:
    """Return the key that must have signed a record."""
    match record:
        case NodeRecord():
            return record.public_key
        case ProviderRecord():
            return record.provider
        case NameRecord():
            return record.publisher


def sign(identity: Identity, record: Record) -> bytes:
    """Return the signed bytes of a record.

    Raises LocalProtocolError if the record is not this identity's, breaks a limit or is too large
    for one datagram: what we sign, every reader must be able to open.
    """
    if signer_of(record) != identity.public_key:
        raise LocalProtocolError("a record is signed by the key that it names")
    kind, payload = _payload_of(record)
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise LocalProtocolError(
            f"a record of {len(payload)} bytes, limit {PAYLOAD_BYTES_MAX}: list fewer versions"
        )
    try:
        _parse(payload)
    except RemoteProtocolError as error:
        raise LocalProtocolError(f"no reader would accept this record: {error.message}") from error
    return sign1(identity, payload, aad=_AAD[kind])


def open_record(data: bytes, *, network: NetworkId) -> Record:
    """Return the verified record in `data`, or raise RemoteProtocolError.

    Everything cheap is checked before the signature (60 us).
    """
    payload, _ = split1(data)
    kind, record = _parse(payload)
    if record.network != network:
        raise RemoteProtocolError("a record of another mesh")
    verify1(data, signer_of(record), aad=_AAD[kind])
    return record


# ---------------------------------------------------------------- payloads


def _payload_of(record: Record) -> tuple[int, bytes]:
    kind, fields = _fields_of(record)
    return kind, cbor.dumps([kind, record.network, record.seq, record.ttl_s, *fields])


def _fields_of(record: Record) -> tuple[int, list[cbor.Plain]]:
    match record:
        case NodeRecord():
            r = record
            return _NODE, [r.public_key, _plain_addresses(r.addresses), r.name, int(r.caps)]
        case ProviderRecord():
            p = record
            where = _plain_addresses(p.addresses)
            return _PROVIDER, [p.blob, p.provider, where, p.size, p.root, p.withdrawn]
        case NameRecord():
            return _NAME, [record.publisher, record.name, _plain_versions(record.versions)]


def _parse(payload: bytes) -> tuple[int, Record]:
    """Return (type, record) with every field checked, or raise RemoteProtocolError."""
    reader = Reader(cbor.loads(payload, bytes_max=PAYLOAD_BYTES_MAX))
    kind = reader.whole(1, len(_PARSERS))
    network = NetworkId(reader.blob(16))
    seq = reader.whole(0, SEQ_MAX)
    ttl_s = reader.whole(1, TTL_S_MAX)
    record = _PARSERS[kind](reader, network, seq, ttl_s)
    reader.end()
    return kind, record


def _parse_node(reader: Reader, network: NetworkId, seq: int, ttl_s: int) -> NodeRecord:
    return NodeRecord(
        network=network,
        public_key=PublicKey(reader.blob(32)),
        addresses=_parse_addresses(reader),
        name=reader.text(NAME_CHARS_MAX),
        caps=Caps(reader.whole(0, 2**32 - 1)),
        seq=seq,
        ttl_s=ttl_s,
    )


def _parse_provider(reader: Reader, network: NetworkId, seq: int, ttl_s: int) -> ProviderRecord:
    return ProviderRecord(
        network=network,
        blob=ContentHash(reader.blob(32)),
        provider=PublicKey(reader.blob(32)),
        addresses=_parse_addresses(reader),
        size=reader.whole(0, BLOB_BYTES_MAX),
        root=reader.blob(32),
        withdrawn=reader.flag(),
        seq=seq,
        ttl_s=ttl_s,
    )


def _parse_name(reader: Reader, network: NetworkId, seq: int, ttl_s: int) -> NameRecord:
    return NameRecord(
        network=network,
        publisher=PublicKey(reader.blob(32)),
        name=reader.text(NAME_CHARS_MAX, chars_min=1),
        versions=_parse_versions(reader),
        seq=seq,
        ttl_s=ttl_s,
    )


_PARSERS: dict[int, Callable[[Reader, NetworkId, int, int], Record]] = {
    _NODE: _parse_node,
    _PROVIDER: _parse_provider,
    _NAME: _parse_name,
}


def _plain_addresses(addresses: tuple[Address, ...]) -> cbor.Plain:
    return [[address.host, address.port] for address in addresses]


def _parse_addresses(reader: Reader) -> tuple[Address, ...]:
    found = []
    for item in reader.lists(ADDRESSES_MAX):
        found.append(Address(item.text(HOST_CHARS_MAX, chars_min=1), item.whole(1, 65535)))
        item.end()
    return tuple(found)


def _plain_versions(versions: Mapping[str, VersionEntry]) -> cbor.Plain:
    return [
        [version, e.module, e.size, e.root, int(e.caps), e.yanked]
        for version, e in versions.items()
    ]


def _parse_versions(reader: Reader) -> dict[str, VersionEntry]:
    listed = [_parse_version(item) for item in reader.lists(VERSIONS_MAX)]
    versions = dict(listed)
    if len(versions) != len(listed):
        raise RemoteProtocolError("a version is listed twice")
    return versions


def _parse_version(item: Reader) -> tuple[str, VersionEntry]:
    version = item.text(VERSION_CHARS_MAX, chars_min=1)
    entry = VersionEntry(
        module=ContentHash(item.blob(32)),
        size=item.whole(0, BLOB_BYTES_MAX),
        root=item.blob(32),
        caps=Caps(item.whole(0, 2**32 - 1)),
        yanked=item.flag(),
    )
    item.end()
    return version, entry
