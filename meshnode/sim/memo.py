"""Signatures verified once: many simulated nodes check the same ones in one process."""

from collections import OrderedDict
from hashlib import blake2b

from meshnode.identity import cose, keys

REMEMBERED_MAX = 200_000
_verify = keys.verify_raw
_known: OrderedDict[bytes, bool] = OrderedDict()


def verified(public_key: bytes, data: bytes, signature: bytes) -> bool:
    """Return what `identity.keys.verify_raw` says, asking it once for each signature."""
    name = blake2b(
        b"%d %d " % (len(public_key), len(data)) + public_key + data + signature, digest_size=16
    ).digest()
    good = _known.get(name)
    if good is None:
        good = _known[name] = _verify(public_key, data, signature)
        if len(_known) > REMEMBERED_MAX:
            _known.popitem(last=False)
    return good


def memoise_signatures() -> None:
    """From now on this process verifies each signature once. Only for simulations."""
    # A signature is good or not whoever asks, so no machine can tell the difference.
    for module in (keys, cose):
        setattr(module, "verify_raw", verified)  # noqa: B010  # a function of theirs, replaced
