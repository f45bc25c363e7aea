"""Signatures verified once: many simulated nodes check the same ones in one process."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from meshnode.identity import cose, keys

REMEMBERED_MAX = 100_000

_verify = keys.verify_raw
_known: OrderedDict[tuple[bytes, bytes, bytes], bool] = OrderedDict()


def verified(public_key: bytes, data: bytes, signature: bytes) -> bool:
    """Return what `identity.keys.verify_raw` says, asking it once for each key, text and signature.

    All three are the name of what is remembered, so that none passes for another.
    """
    name = (bytes(public_key), bytes(data), bytes(signature))
    good = _known.get(name)
    if good is None:
        good = _known[name] = _verify(public_key, data, signature)
        if len(_known) > REMEMBERED_MAX:
            _known.popitem(last=False)
    return good


@contextmanager
def remembered_signatures() -> Iterator[None]:
    """Verify each signature once within this; afterwards everything is as it was.

    Where the check was replaced already, by a simulation around this one or by a test that leaves
    it out, it stays as it is: what such a check says is not to be remembered.
    """
    # A signature is good or not whoever asks, so no machine can tell the difference.
    users = [module for module in (keys, cose) if getattr(module, "verify_raw") is _verify]  # noqa: B009  # a function of theirs, replaced
    _install(users, verified)
    try:
        yield
    finally:
        _install(users, _verify)


def _install(users: list[ModuleType], verify: object) -> None:
    for module in users:
        setattr(module, "verify_raw", verify)  # noqa: B010  # a function of theirs, replaced
