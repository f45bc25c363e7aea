"""Tags: two bytes for each contact that an asker knows, so that the answer need not name it.

Near the end of a lookup everybody names the same sixteen nodes; a contact takes 48 bytes. A tag is
the head of SHA-256 over a salt of the question, the contact's key and its address, so that nobody
can make a node whose tag hides another's, and a contact known at a false address is told again. One
contact in 65,536 is left out by chance, and named by the next one asked.
"""

from collections.abc import Iterable
from hashlib import sha256

from meshnode.ids import Contact

SALT_BYTES = 4
TAG_BYTES = 2
TAGS_MAX = 40
"""The k nearest and some to spare: what is farther away is hardly ever named."""


def tags_of(contacts: Iterable[Contact], salt: bytes) -> bytes:
    """Return the salt and a tag for each contact, or nothing if there is none."""
    tags = b"".join(_tag(contact, salt) for contact in contacts)
    return salt + tags if tags else b""


def unknown_of(contacts: Iterable[Contact], known: bytes) -> list[Contact]:
    """Return those contacts of which `known` has no tag, in the same order."""
    if len(known) <= SALT_BYTES:
        return list(contacts)
    salt = known[:SALT_BYTES]
    tags = {known[i : i + TAG_BYTES] for i in range(SALT_BYTES, len(known), TAG_BYTES)}
    return [contact for contact in contacts if _tag(contact, salt) not in tags]


def _tag(contact: Contact, salt: bytes) -> bytes:
    host, port = contact.address.host.encode(), contact.address.port.to_bytes(2, "big")
    return sha256(salt + contact.public_key + port + host).digest()[:TAG_BYTES]
