"""Manifests: any bytes give a manifest with one encoding, or BadMetadata and nothing else."""

from collections.abc import Callable
from random import Random

from meshnode.errors import BadMetadata
from meshnode.modules.metadata import decode, encode
from meshnode.wire import cbor
from tests.fuzz.long.mutate import EDGES, mutated
from tests.unit.modules.samples import MANIFEST

GOOD = encode(MANIFEST)
PLAIN = cbor.loads(GOOD, bytes_max=1 << 16)
LEAVES: tuple[Callable[[Random], object], ...] = (
    lambda rng: rng.choice(EDGES),
    lambda rng: -rng.choice(EDGES),
    lambda rng: rng.choice((None, True, False, 0.0, 1e308, -1.5, "", "x" * 300, b"", bytes(32))),
    lambda rng: rng.choice(("float32", "seed", "infer", "nn", "../../etc/passwd", "\0", "a/b:c")),
    lambda rng: [],
    lambda rng: {},
    lambda rng: [rng.choice(EDGES)] * rng.randrange(20),
    lambda rng: {"name": "x"},
)


class Fuzzer:
    """Mutates the bytes of a good manifest, or its values."""

    def round(self, rng: Random) -> str:
        """Try one."""
        data = mutated(rng, GOOD) if rng.random() < 0.5 else cbor.dumps(changed(rng, PLAIN))
        try:
            found = decode(data)
        except BadMetadata:
            return "refused"
        assert encode(found) == data, "a manifest has one encoding"
        assert decode(encode(found)) == found
        return "accepted"


def changed(rng: Random, value: object, depth: int = 0) -> object:
    """Return a copy with some value in it replaced, added or taken away."""
    if depth and rng.random() < 0.15 * depth:
        return rng.choice(LEAVES)(rng)
    if isinstance(value, dict) and value:
        made = dict(value)
        key = rng.choice(list(made))
        match rng.randrange(6):
            case 0:
                del made[key]
            case 1:
                made[rng.choice(("extra", "", key + "s"))] = rng.choice(LEAVES)(rng)
            case _:
                made[key] = changed(rng, made[key], depth + 1)
        return made
    if isinstance(value, list) and value:
        made_list = list(value)
        at = rng.randrange(len(made_list))
        match rng.randrange(4):
            case 0:
                made_list += made_list * rng.choice((1, 1, 40))
            case 1:
                del made_list[at]
            case _:
                made_list[at] = changed(rng, made_list[at], depth + 1)
        return made_list
    return rng.choice(LEAVES)(rng)
