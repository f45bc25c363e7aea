"""The guests that models are measured in: one entry for each ABI, and one guest of a megabyte."""

from dataclasses import dataclass

from meshnode.assets import asset
from meshnode.bench.models import CLASSES, Model
from meshnode.caps import Caps
from meshnode.identity.keys import Identity
from meshnode.modules.manifest import Limits, Manifest, SelfTest, TensorSpec
from meshnode.modules.pack import RUNNER_MODEL, assemble, runner_limits
from meshnode.modules.sections import HEADER, leb
from meshnode.modules.signing import sign, verify_module
from meshnode.runtime import ort
from meshnode.runtime.abi import IMPORTS
from meshnode.wire.limits import MIB

TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class AbiCase:
    """One way in which a guest can ask for a model to be run."""

    name: str
    guest: str
    """Its file among the shipped guests."""
    abi: str
    """How the host calls the guest."""
    import_: tuple[str, str]
    """How the guest calls the host; without it the case is left out."""

    @property
    def offered(self) -> bool:
        """Whether this host has the import."""
        return self.import_ in IMPORTS


ABIS = (
    AbiCase(
        name="one-shot infer",
        guest="onnx-runner.wasm",
        abi="infer",
        import_=("meshnode", "infer"),
    ),
    AbiCase(
        name="seed ABI",
        guest="seed-runner.wasm",
        abi="seed",
        import_=("meshnode", "infer"),
    ),
    AbiCase(
        name="wasi-nn",
        guest="nn-runner.wasm",
        abi="infer",
        import_=("wasi_ephemeral_nn", "compute"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A signed module, and what it says of itself."""

    wasm: bytes
    manifest: Manifest


def packed(case: AbiCase, model: Model) -> Packed:
    """Return a model in the guest of an ABI, with a self-test."""
    inputs = (TensorSpec(name="x", dtype="float32", shape=(-1, *model.shape)),)
    outputs = (TensorSpec(name="y", dtype="float32", shape=(-1, CLASSES)),)
    x = model.rows(1)
    y = ort.plain_run(model.data, {"x": x}, threads=1)["y"]
    small = x.nbytes < 16_384  # a self-test travels in the module's head
    test = SelfTest(inputs=(x.tobytes(),), outputs=(y.tobytes(),), tolerance=TOLERANCE)
    about = Manifest(
        name=model.name,
        version="1.0.0",
        abi=case.abi,
        inputs=inputs,
        outputs=outputs,
        required=Caps.CPU | Caps.NN,
        limits=_limits(inputs, outputs),
        batch=True,
        self_tests=(test,) if small else (),
    )
    guest = asset(case.guest).read_bytes()
    return _signed(guest, about, {RUNNER_MODEL: model.data})


def megabyte() -> Packed:
    """Return a guest with a megabyte of code and no model, as a large compiled program is."""
    spec = TensorSpec(name="x", dtype="float32", shape=(-1, 1))
    about = Manifest(
        name="megabyte",
        version="1.0.0",
        abi="seed",
        inputs=(spec,),
        outputs=(spec,),
        limits=Limits(memory_bytes=MIB),
        self_tests=(SelfTest(inputs=(bytes(4),), outputs=(bytes(4),)),),
    )
    return _signed(_large_guest(MIB), about, {})


def _limits(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> Limits:
    """Return limits that leave room for the largest batch that is measured."""
    limits = runner_limits(inputs, outputs, batch=True)
    return Limits(
        memory_bytes=4 * limits.memory_bytes,
        run_ms=limits.run_ms,
        output_bytes=limits.output_bytes,
    )


def _signed(guest: bytes, about: Manifest, weights: dict[str, bytes]) -> Packed:
    module = sign(assemble(guest, about, weights, embed=True)[0], Identity.generate())
    return Packed(wasm=module, manifest=verify_module(module).manifest)


# ---------------------------------------------------------------------- a large guest


def _large_guest(size: int) -> bytes:
    """Return the bytes of a Wasm module with about `size` bytes of code that nothing calls.

    `init` and `predict` only return 0. The other functions are arithmetic on their argument with a
    branch now and then, so that the compiler has as much to do as with a real program.
    """
    step = b"\x20\x00\x41\xad\x02\x6c\x41\x07\x6a\x21\x00"  # p = p * 301 + 7
    leave = b"\x20\x00\x45\x04\x40\x41\x01\x0f\x0b"  # if p == 0, return 1
    body = b"\x00" + (step * 4 + leave) * 5 + b"\x20\x00\x0b"
    filler = leb(len(body)) + body
    count = size // len(filler)
    zero = b"\x04\x00\x41\x00\x0b"
    types = b"\x03\x60\x00\x01\x7f\x60\x04\x7f\x7f\x7f\x7f\x01\x7f\x60\x01\x7f\x01\x7f"
    functions = leb(count + 2) + b"\x00\x01" + b"\x02" * count
    exports = b"\x03" + b"".join(
        leb(len(name)) + name + kind
        for name, kind in (
            (b"memory", b"\x02\x00"),
            (b"init", b"\x00\x00"),
            (b"predict", b"\x00\x01"),
        )
    )
    code = leb(count + 2) + zero + zero + filler * count
    sections = ((1, types), (3, functions), (5, b"\x01\x00\x01"), (7, exports), (10, code))
    return HEADER + b"".join(bytes((id_,)) + leb(len(data)) + data for id_, data in sections)
