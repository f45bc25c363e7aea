"""Where things lie in a packed module: the head, the guest's own sections, embedded weights.

    header | signature | meshnode.publisher | meshnode | signature_delimiter   <- the head
           | the guest's sections | meshnode.weights.NAME ...

The first two sections are absent while the module is unsigned. The head can be read and verified
alone, so a node learns what a module is and who published it before it fetches the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from meshnode.errors import BadMetadata, MalformedModule, TooLarge
from meshnode.ids import PublicKey
from meshnode.modules import metadata, signatures
from meshnode.modules.manifest import SECTION_NAME as MANIFEST_NAME
from meshnode.modules.manifest import Manifest
from meshnode.modules.sections import CUSTOM, Section, iter_sections
from meshnode.wire.limits import HEAD_BYTES_MAX, MIB
from meshnode.wire.tensor import Buffer

PUBLISHER_NAME = "meshnode.publisher"
"""The publisher's Ed25519 key, 32 bytes. A signature names its key by a hash only, so the key
itself travels beside it, covered by what it signs."""
WEIGHTS_PREFIX = "meshnode.weights."
MODULE_BYTES_MAX = 16 * MIB
"""Larger weights travel as blobs of their own; what is compiled stays small."""
_KEY_BYTES = 32
_HEAD_ORDER = {
    signatures.SECTION_NAME: 1,
    PUBLISHER_NAME: 2,
    MANIFEST_NAME: 3,
    signatures.DELIMITER_NAME: 4,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the beginning of a module says of it. Nothing here is verified yet."""

    manifest: Manifest
    signature: memoryview | None
    """The data of the signature section; None if the module is unsigned."""
    publisher: PublicKey | None
    """The key that the module names as its publisher's; None if it names none."""
    signed_from: int
    """Where the signed bytes begin: after the signature section, or after the header."""
    end: int
    """One past the first delimiter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedModule:
    """A whole module, its structure checked; its signature is `signing`'s business."""

    head: Head
    sections: tuple[Section, ...]
    guest: tuple[Section, ...]
    """The sections that are the guest's own."""
    weights: Mapping[str, memoryview]
    """The models that travel inside, by name; each has the SHA-256 that the manifest gives."""


def read_head(data: Buffer) -> Head:
    """Return the head of a module; bytes after it are not looked at.

    Raises MalformedModule, or BadMetadata if there is no manifest or a wrong one.
    """
    found: dict[str, Section] = {}
    for section in iter_sections(data):
        place = _HEAD_ORDER.get(section.name, 0) if section.id == CUSTOM else 0
        if not place or any(place <= _HEAD_ORDER[name] for name in found):
            raise _misplaced(section, found)
        if not section.minimal:
            raise MalformedModule(f"the section {section.name} has a padded length")
        if section.end > HEAD_BYTES_MAX:
            raise MalformedModule(f"the head of the module exceeds {HEAD_BYTES_MAX} bytes")
        found[section.name] = section
        if section.name == signatures.DELIMITER_NAME:
            return _head(found)
    raise BadMetadata("the module ends before its metadata does", try_="meshnode pack")


def head_of(data: Buffer) -> bytes:
    """Return a copy of the bytes of a module's head, or raise as `read_head` does."""
    return bytes(memoryview(data)[: read_head(data).end])


def read_module(data: Buffer, *, weights_too: bool = True) -> PackedModule:
    """Return the parts of a packed module.

    Raises MalformedModule for a wrong structure, BadMetadata for a wrong manifest, and TooLarge.
    Without `weights_too` the caller checks the embedded weights itself, by `check_weights`.
    """
    if len(data) > MODULE_BYTES_MAX:
        raise TooLarge(f"the module has {len(data)} bytes, at most {MODULE_BYTES_MAX} are accepted")
    head = read_head(data)
    sections = tuple(iter_sections(data))
    guest: list[Section] = []
    weights: dict[str, memoryview] = {}
    for section in sections:
        if section.start < head.end:
            continue
        if section.name.startswith(WEIGHTS_PREFIX):
            name = section.name.removeprefix(WEIGHTS_PREFIX)
            if name in weights:
                raise MalformedModule(f"the module has two sections {section.name}")
            weights[name] = section.data
        elif is_reserved(section.name) and section.name != signatures.DELIMITER_NAME:
            raise MalformedModule(f"the section {section.name} is in the wrong place")
        elif weights and section.name != signatures.DELIMITER_NAME:
            raise MalformedModule("a section of the guest comes after embedded weights")
        else:
            guest.append(section)
    packed = PackedModule(head=head, sections=sections, guest=tuple(guest), weights=weights)
    if weights_too:
        check_weights(packed)
    return packed


def check_weights(packed: PackedModule) -> None:
    """Raise MalformedModule unless the embedded weights are those that the manifest names."""
    weights = packed.weights
    promised = {m.name: m for m in packed.head.manifest.models if m.embedded}
    if promised.keys() != weights.keys():
        odd = ", ".join(sorted(promised.keys() ^ weights.keys()))
        raise MalformedModule(f"the manifest and the embedded weights differ: {odd}")
    for name, data in weights.items():
        model = promised[name]
        if len(data) != model.size or sha256(data).digest() != model.sha256:
            raise MalformedModule(f"the embedded weights '{name}' are not what the manifest names")


def is_reserved(name: str) -> bool:
    """Return whether a custom section's name belongs to packing, so that no guest may use it."""
    return (
        name in (signatures.SECTION_NAME, signatures.DELIMITER_NAME, MANIFEST_NAME)
        or name.startswith(MANIFEST_NAME + ".")
    )  # fmt: skip


def delimiter_of(manifest: Buffer) -> bytes:
    """Return the delimiter's 16 bytes: from the manifest and not random, so packing repeats."""
    return sha256(b"meshnode/delimiter\0" + bytes(manifest)).digest()[: signatures.DELIMITER_BYTES]


def _head(found: Mapping[str, Section]) -> Head:
    manifest, delimiter = found.get(MANIFEST_NAME), found[signatures.DELIMITER_NAME]
    if manifest is None:
        raise _misplaced(delimiter, {})
    if bytes(delimiter.data) != delimiter_of(manifest.data):
        raise MalformedModule("the delimiter does not belong to the manifest")
    signature, publisher = found.get(signatures.SECTION_NAME), found.get(PUBLISHER_NAME)
    if publisher is not None and len(publisher.data) != _KEY_BYTES:
        raise MalformedModule(f"the publisher's key has {len(publisher.data)} bytes")
    return Head(
        manifest=metadata.decode(manifest.data),
        signature=signature.data if signature else None,
        publisher=PublicKey(bytes(publisher.data)) if publisher else None,
        signed_from=signature.end if signature else (publisher or manifest).start,
        end=delimiter.end,
    )


def _misplaced(section: Section, found: Mapping[str, Section]) -> MalformedModule | BadMetadata:
    if MANIFEST_NAME in found or is_reserved(section.name):
        return MalformedModule(f"the head of the module is not in order at byte {section.start}")
    return BadMetadata("the module has no metadata section 'meshnode'", try_="meshnode pack")
