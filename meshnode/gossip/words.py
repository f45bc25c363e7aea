"""The two things that are signed in gossip, and who may sign them.

A member's word about itself is signed by its own key, an accusation by its accuser's; both name
the mesh and, in an accusation, whole node ids, though tags travel. So a third party can neither
invent "alive at incarnation 9" nor speak with many voices. Strings are joined so that no two
contents give the same bytes:

    word        network 16 || key 32 || state u8 || incarnation u64 || caps u32 || port u16
                || length of host u8 || host (4, 16 or the text's bytes) || memory u32 (MiB)
                || length of labels u16 || labels ("key=value", a line feed between) || name
    accusation  network 16 || suspect's node id 32 || incarnation u64 || accuser's node id 32
"""

from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from meshnode.identity.keys import Identity, verify
from meshnode.ids import Contact, NetworkId, NodeId, PublicKey, tag_of
from meshnode.wire.membership import Accusation, MemberUpdate

WORD_DOMAIN = b"member"
ACCUSATION_DOMAIN = b"accusation"
VERIFIED_MAX = 8192
"""Verdicts remembered, good and bad: each word is heard many times and checked once."""


class Witness(Protocol):
    """Signs our own words, and says of others' whether their signature is theirs."""

    def signed(self, update: MemberUpdate) -> MemberUpdate:
        """Return our own word with our signature."""
        ...

    def accuse(self, suspect: NodeId, incarnation: int) -> Accusation:
        """Return our signed accusation."""
        ...

    def is_own_word(self, update: MemberUpdate) -> bool:
        """Return whether the member itself said this. Never raises."""
        ...

    def is_true(self, accusation: Accusation, suspect: NodeId, accuser: Contact) -> bool:
        """Return whether `accuser` said this of `suspect`. Never raises."""
        ...


class Signatures:
    """The witness of one node in one mesh."""

    def __init__(self, identity: Identity, network: NetworkId) -> None:
        self._identity = identity
        self._network = network

    def signed(self, update: MemberUpdate) -> MemberUpdate:
        """See `Witness.signed`."""
        data = word_bytes(self._network, update)
        return replace(update, signature=self._identity.sign(data, domain=WORD_DOMAIN))

    def accuse(self, suspect: NodeId, incarnation: int) -> Accusation:
        """See `Witness.accuse`."""
        data = accusation_bytes(self._network, suspect, incarnation, self._identity.node_id)
        return Accusation(
            suspect=tag_of(suspect),
            incarnation=incarnation,
            accuser=tag_of(self._identity.node_id),
            signature=self._identity.sign(data, domain=ACCUSATION_DOMAIN),
        )

    def is_own_word(self, update: MemberUpdate) -> bool:
        """See `Witness.is_own_word`."""
        data = word_bytes(self._network, update)
        return _good(update.contact.public_key, data, update.signature, WORD_DOMAIN)

    def is_true(self, accusation: Accusation, suspect: NodeId, accuser: Contact) -> bool:
        """See `Witness.is_true`."""
        data = accusation_bytes(self._network, suspect, accusation.incarnation, accuser.node_id)
        return _good(accuser.public_key, data, accusation.signature, ACCUSATION_DOMAIN)


def word_bytes(network: NetworkId, update: MemberUpdate) -> bytes:
    """Return what a member signs of itself."""
    contact = update.contact
    host = packed_host(contact.address.host)
    labels = "\n".join(f"{key}={value}" for key, value in update.traits.labels).encode()
    return b"".join(
        (
            network,
            contact.public_key,
            update.state.to_bytes(1, "big"),
            update.incarnation.to_bytes(8, "big"),
            int(update.caps).to_bytes(4, "big"),
            contact.address.port.to_bytes(2, "big"),
            len(host).to_bytes(1, "big"),
            host,
            update.traits.memory_mib.to_bytes(4, "big"),
            update.traits.memory_pages.to_bytes(4, "big"),
            len(labels).to_bytes(2, "big"),
            labels,
            update.name.encode(),
        )
    )


def accusation_bytes(
    network: NetworkId, suspect: NodeId, incarnation: int, accuser: NodeId
) -> bytes:
    """Return what an accuser signs."""
    return network + suspect + incarnation.to_bytes(8, "big") + accuser


@lru_cache(maxsize=VERIFIED_MAX)
def _good(key: PublicKey, data: bytes, signature: bytes, domain: bytes) -> bool:
    return verify(key, data, signature, domain=domain)


@lru_cache(maxsize=VERIFIED_MAX)
def packed_host(host: str) -> bytes:
    """Return a host as it travels, so that both ends sign the same: literals packed, no zone."""
    try:
        ip = ip_address(host)
    except ValueError:
        return host.encode()[:255]
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped.packed
    return ip.packed
