"""The messages in which two members compare the mesh's keys and revocations, and share them."""

from dataclasses import dataclass

from meshnode.wire.tensor import Body


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconcile:
    """Here is what I know of keys and revocations, as digests: tell me what I lack.

    The only call that a member may make on a channel under a retired key.
    """

    keys: bytes
    """16 bytes: which orders about mesh keys I follow."""
    revocations: bytes
    """16 bytes: which revocations I know."""
    body: Body = ()
    """Empty, or what I know of that which you lack, as in Reconciled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """Answer to Reconcile: my digests after I took what came with it, and what you lack."""

    keys: bytes
    revocations: bytes
    body: Body = ()
    """Empty if the digests are equal, else CBOR: [[[order, key, chain], ...],
    [[chain, [revocation, ...]], ...]]. Holds mesh keys."""
