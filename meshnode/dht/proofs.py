"""Proofs that a signer contradicts himself: two records, one sequence number.

Two signed records under one key with the same sequence number and other content can only come
from whoever holds the signer's key: a mistake or a theft, and its owner has to know. Both are
kept, so that anybody can check it, and told once.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from meshnode.ids import PublicKey

PROOFS_MAX = 64
"""Signers caught and remembered: 140 KB. The oldest is forgotten first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivocation:
    """Effect: two contradicting records were seen. Each proves the other a lie."""

    key: bytes
    """The DHT key under which both belong."""
    signer: PublicKey
    seq: int
    first: bytes
    second: bytes
    """Signed bytes; the first is the one that was known before."""


class Proofs:
    """What was found, one proof for each signer and key; `news` until it is told."""

    def __init__(self, held: Iterable[Equivocation] = ()) -> None:
        """`held` were kept by an earlier run, and told by it."""
        self.changed = False
        """Something was found since this was last set to False."""
        self.news: deque[Equivocation] = deque(maxlen=PROOFS_MAX)
        self._held: OrderedDict[tuple[bytes, PublicKey], Equivocation] = OrderedDict()
        for proof in held:
            self.note(proof)
        self.news.clear()
        self.changed = False

    def note(self, proof: Equivocation) -> None:
        """Keep a proof, unless one against this signer under this key is held already."""
        where = (proof.key, proof.signer)
        if where in self._held:
            return
        self._held[where] = proof
        self.news.append(proof)
        self.changed = True
        while len(self._held) > PROOFS_MAX:
            self._held.popitem(last=False)

    @property
    def held(self) -> tuple[Equivocation, ...]:
        """Every proof, the oldest first."""
        return tuple(self._held.values())
