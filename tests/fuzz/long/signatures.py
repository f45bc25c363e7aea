"""Signed modules: no bytes but the publisher's own verify under the publisher's key."""

from random import Random

from meshnode.errors import BadMetadata, BadSignature, TooLarge, TrustError
from meshnode.modules import signatures
from meshnode.modules.layout import head_of
from meshnode.modules.sections import read_sections
from meshnode.modules.signing import verify_head, verify_module
from tests.fuzz.long.mutate import mutated
from tests.unit.modules.samples import PUBLISHER, signed

MODULE = signed()
HEAD = head_of(MODULE)
SECTION = read_sections(MODULE)[0]


class Fuzzer:
    """Mutates the whole module, its head, or its signature section alone."""

    def round(self, rng: Random) -> str:
        """Try one."""
        kind = rng.randrange(3)
        if kind == 0:
            changed = mutated(rng, MODULE, [MODULE])
        elif kind == 1:
            changed = mutated(rng, MODULE[: SECTION.end]) + MODULE[SECTION.end :]
        else:
            return head(mutated(rng, HEAD, [MODULE])) + data(rng)
        if changed == MODULE:
            return "unchanged"
        try:
            verify_module(changed)
        except (TrustError, BadMetadata, TooLarge) as error:
            return type(error).__name__
        raise AssertionError("a changed module verifies")


def head(changed: bytes) -> str:
    """Verify a head alone: it may never name the publisher unless it is the publisher's."""
    if changed.startswith(HEAD):
        return "head unchanged"
    try:
        publisher, _ = verify_head(changed)
    except (TrustError, BadMetadata, TooLarge):
        return "head refused"
    assert publisher != PUBLISHER.public_key, "a changed head names the publisher"
    return "head of another"


def data(rng: Random) -> str:
    """Decode signature data: what is read is written again as it was."""
    raw = mutated(rng, bytes(SECTION.data))
    try:
        found = signatures.decode(memoryview(raw))
    except BadSignature:
        return ", data refused"
    assert signatures.decode(memoryview(signatures.encode(found))) == found
    return ", data read"
