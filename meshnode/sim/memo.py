"""Signatures verified once: many simulated nodes check the same ones in one process.

One that was made in this process is good without being verified at all.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from meshnode.identity import cose, keys

REMEMBERED_MAX = 100_000

_verify = keys.verify_raw
_sign = keys.Identity.sign_raw
_known: OrderedDict[tuple[bytes, bytes, bytes], bool] = OrderedDict()


def verified(public_key: bytes, data: bytes, signature: bytes) -> bool:
    """Return what `identity.keys.verify_raw` says, asking it once for each key, text and signature.

    All three are the name of what is remembered, so that none passes for another.
    """
    name = (bytes(public_key), bytes(data), bytes(signature))
    good = _known.get(name)
    if good is None:
        good = _verify(public_key, data, signature)
        _remember(name, good)
    return good


def signed(identity: keys.Identity, data: bytes) -> bytes:
    """Return what `Identity.sign_raw` makes, and remember that it is good."""
    signature = _sign(identity, data)
    _remember((identity.public_key, bytes(data), signature), True)
    return signature


def _remember(name: tuple[bytes, bytes, bytes], good: bool) -> None:
    _known[name] = good
    if len(_known) > REMEMBERED_MAX:
        _known.popitem(last=False)


@contextmanager
def remembered_signatures() -> Iterator[None]:
    """Verify each signature once within this; afterwards everything is as it was.

    Where the check was replaced already, by a simulation around this one or by a test that leaves
    it out, it stays as it is: what such a check says is not to be remembered.
    """
    # A signature is good or not whoever asks, so no machine can tell the difference.
    users = [module for module in (keys, cose) if getattr(module, "verify_raw") is _verify]  # noqa: B009  # a function of theirs, replaced
    replaced = keys.Identity.sign_raw is _sign
    _install(users, verified)
    if replaced:
        keys.Identity.sign_raw = signed  # type: ignore[method-assign, assignment]  # as above
    try:
        yield
    finally:
        _install(users, _verify)
        if replaced:
            keys.Identity.sign_raw = _sign  # type: ignore[method-assign]


def _install(users: list[ModuleType], verify: object) -> None:
    for module in users:
        setattr(module, "verify_raw", verify)  # noqa: B010  # a function of theirs, replaced
