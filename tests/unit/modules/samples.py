"""Small real modules for tests: a guest put together by hand, packed and signed."""

from dataclasses import replace

from meshnode.caps import Caps
from meshnode.identity.keys import Identity
from meshnode.modules.manifest import Limits, Manifest, SelfTest, TensorSpec
from meshnode.modules.pack import assemble
from meshnode.modules.sections import HEADER, encode_custom, leb
from meshnode.modules.signing import sign

PUBLISHER = Identity.from_seed(bytes(range(32)))
STRANGER = Identity.from_seed(bytes(range(1, 33)))


def section(id_: int, payload: bytes) -> bytes:
    return bytes([id_]) + leb(len(payload)) + payload


GUEST = (
    HEADER
    + section(1, b"\x01\x60\x00\x00")  # one type: () -> ()
    + section(2, b"\x01\x08meshnode\x03log\x00\x00")  # (import "meshnode" "log" (func (type 0)))
    + section(3, b"\x01\x00")  # one function of that type
    + section(10, b"\x01\x02\x00\x0b")  # with an empty body
    + encode_custom("name", b"\x00\x02\x01g")
)

MANIFEST = Manifest(
    name="double",
    version="1.2.0",
    abi="infer",
    inputs=(TensorSpec(name="x", dtype="float32", shape=(-1, 2), layout="NC"),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=(-1, 2)),),
    required=Caps.CPU,
    limits=Limits(memory_bytes=1 << 20, run_ms=100, output_bytes=4096),
    batch=True,
    self_tests=(SelfTest(inputs=(bytes(8),), outputs=(bytes(8),)),),
    licence="Apache-2.0",
    labels={"site": "b"},
)
WITH_MODEL = replace(MANIFEST, required=Caps.CPU | Caps.NN)
WEIGHTS = {"model": bytes(range(256)) * 4}


def packed(*, embed: bool = True) -> bytes:
    """An unsigned module with one model."""
    return assemble(GUEST, WITH_MODEL, WEIGHTS, embed=embed)[0]


def signed(*, embed: bool = True) -> bytes:
    """The same, signed by PUBLISHER."""
    return sign(packed(embed=embed), PUBLISHER)
