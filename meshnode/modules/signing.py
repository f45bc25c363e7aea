"""Signs modules and verifies them, strictly, in the format of wasmsign2 0.2.6.

The format interoperates; the verifier does not copy four holes of wasmsign2's own (three were
reproduced with the real library; see `docs/module-format.md`):

- The 8-byte header is not signed: it is pinned to core modules by `sections`.
- A module without delimiters passes `verify_multi` unhashed: here a signature counts only if its
  set lists the digest after every delimiter *and* the digest of the whole file.
- A module cut off after any delimiter passes `verify`: the last digest must be that of the end.
- Undecodable records are skipped: here every length and every byte is accounted for.

Which publishers are trusted is not decided here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from meshnode.errors import BadSignature, Unsigned
from meshnode.identity.keys import Identity, verify_raw
from meshnode.ids import ContentHash, PublicKey
from meshnode.modules import signatures
from meshnode.modules.layout import PUBLISHER_NAME, Head, check_weights, read_head, read_module
from meshnode.modules.manifest import Manifest
from meshnode.modules.sections import HEADER, Section, encode_custom
from meshnode.modules.signatures import SignatureRecord, SignedHashes, key_id_of
from meshnode.wire.tensor import Buffer

_SIGNATURE = signatures.SECTION_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A module whose signature holds for every byte after its header."""

    module: ContentHash
    """SHA-256 of the whole file: the module's id."""
    publisher: PublicKey
    """The key that the module names as its publisher's, which did sign it."""
    signers: tuple[PublicKey, ...]
    """Every key known to us that signed it, the publisher's first."""
    manifest: Manifest
    head: bytes
    """The bytes up to and with the first delimiter."""


def sign(module: Buffer, identity: Identity) -> bytes:
    """Return the packed module signed by `identity`; a signature it had is replaced.

    Deterministic: the same module and key give the same bytes. Raises MalformedModule or
    BadMetadata if `module` is not a packed module.
    """
    named = encode_custom(PUBLISHER_NAME, identity.public_key)
    body = HEADER + named + unsign(module)[len(HEADER) :]
    packed = read_module(body)
    hashes = _part_hashes(body, packed.sections)
    record = SignatureRecord(
        key_id_of(identity.public_key), identity.sign_raw(signatures.signed_message(hashes))
    )
    data = signatures.encode([SignedHashes(hashes, (record,))])
    return HEADER + encode_custom(signatures.SECTION_NAME, data) + body[len(HEADER) :]


def unsign(module: Buffer) -> bytes:
    """Return the module as it was before it was signed; an unsigned one comes back unchanged."""
    first = next(
        s for s in read_module(module).sections if s.name not in (_SIGNATURE, PUBLISHER_NAME)
    )
    return HEADER + bytes(memoryview(module)[first.start :])


def verify_head(head: Buffer, *, keys: Iterable[PublicKey] = ()) -> tuple[PublicKey, Manifest]:
    """Return who published the module that begins with `head`, and its manifest.

    The signature holds for the digest of the head and promises the digests of the rest; whoever
    fetches the rest checks it by `verify_module`. Bytes after the head are not looked at. `keys`
    are further keys to try, needed only where another tool signed and left no key in the module.
    Raises Unsigned, BadSignature, MalformedModule or BadMetadata.
    """
    known = read_head(head)
    digest = sha256(memoryview(head)[known.signed_from : known.end]).digest()
    # A set of one digest would be that of a module that ends with its head: there is no such.
    sets = [s for s in _sets(known) if len(s.hashes) > 1 and s.hashes[0] == digest]
    return _signers(known, sets, keys)[0], known.manifest


def verify_module(data: Buffer, *, keys: Iterable[PublicKey] = ()) -> Signed:
    """Return who signed a module, having checked every byte of it.

    `keys` as for `verify_head`. Raises Unsigned, BadSignature, MalformedModule, BadMetadata or
    TooLarge.
    """
    # The signature first: of a changed file its owner wants to hear just that.
    packed = read_module(data, weights_too=False)
    offered = _sets(packed.head)
    hashes = _part_hashes(data, packed.sections)
    signers = _signers(packed.head, [s for s in offered if s.hashes == hashes], keys)
    check_weights(packed)
    return Signed(
        module=ContentHash(sha256(data).digest()),
        publisher=signers[0],
        signers=signers,
        manifest=packed.head.manifest,
        head=bytes(memoryview(data)[: packed.head.end]),
    )


def _sets(head: Head) -> tuple[SignedHashes, ...]:
    """Return the signed sets of a module, or raise Unsigned or BadSignature."""
    if head.signature is None:
        raise Unsigned(
            "the module is not signed", try_="meshnode pack signs it; leave out --unsigned"
        )
    return signatures.decode(head.signature)


def _signers(
    head: Head, sets: Sequence[SignedHashes], keys: Iterable[PublicKey]
) -> tuple[PublicKey, ...]:
    """Return the keys whose signature over one of these sets holds, or raise BadSignature."""
    named = () if head.publisher is None else (head.publisher,)
    candidates = tuple(dict.fromkeys((*named, *keys)))
    found = tuple(key for key in candidates if any(_signed_by(key, s) for s in sets))
    if not found or (named and found[0] != head.publisher):
        raise BadSignature(
            "the signature of the module does not hold",
            because=[_why(sets, named)],
            try_="get the file from its publisher again, or pack and sign it again",
        )
    return found


def _why(sets: Sequence[SignedHashes], named: Sequence[PublicKey]) -> str:
    if not sets:
        return "the bytes are not those that were signed, or not signed part by part"
    return "the publisher it names did not sign it" if named else "it does not name its publisher"


def _signed_by(key: PublicKey, signed: SignedHashes) -> bool:
    key_id = key_id_of(key)
    return any(
        record.key_id in (b"", key_id) and verify_raw(key, signed.message, record.signature)
        for record in signed.records
    )


def _part_hashes(module: Buffer, sections: Sequence[Section]) -> tuple[bytes, ...]:
    """Return the rolling SHA-256 after each delimiter and at the end of the module.

    Without the header and the signature section, as wasmsign2 does; a module that ends with a
    delimiter has no digest after it.
    """
    view = memoryview(module)
    rolling, hashes = sha256(), []
    covered = [s for s in sections if s.name != _SIGNATURE]
    for section in covered:
        rolling.update(view[section.start : section.end])
        if section.name == signatures.DELIMITER_NAME or section is covered[-1]:
            hashes.append(rolling.digest())
    return tuple(hashes)
