"""Reads a packed module from disk together with the weights it names, ready to be published."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from meshnode.errors import MalformedModule, TooLarge, UnreadableModel
from meshnode.modules.manifest import ModelRef
from meshnode.modules.signing import verify_module
from meshnode.wire.control import PUBLISH_BYTES_MAX

WASM = b"\0asm\1\0\0\0"


def read_package(path: Path, weights: Sequence[Path] = ()) -> list[bytes]:
    """Return the module's bytes, then those of each weights blob that is not inside it.

    Weights are recognised by SHA-256, whatever their file is called: among `weights` first, then
    beside the module. Raises TrustError if the module is unsigned or changed, UnreadableModel if
    a file is missing, TooLarge if together they are more than one publish may carry.
    """
    module = _read(path)
    if not module.startswith(WASM):
        raise MalformedModule(
            f"{path} is not a Wasm module",
            because=[f"it begins with {module[:8].hex(' ') or 'nothing'}"],
            try_=f"meshnode pack {path} --name NAME --version 1.0.0   makes one of an ONNX file",
        )
    manifest = verify_module(module).manifest
    parts = [module]
    for ref in manifest.models:
        if not ref.embedded:
            parts.append(find_weights(ref, path, weights))
    total = sum(len(part) for part in parts)
    if total > PUBLISH_BYTES_MAX:
        raise TooLarge(f"{path} with its weights is {total} bytes, limit {PUBLISH_BYTES_MAX}")
    return parts


def find_weights(ref: ModelRef, path: Path, weights: Sequence[Path] = ()) -> bytes:
    """Return weights by their SHA-256: among `weights` first, then beside the module at `path`.

    Raises UnreadableModel if no file has them.
    """
    for candidate in (*weights, *_beside(path, ref.size)):
        data = _read(candidate)
        if len(data) == ref.size and sha256(data).digest() == ref.sha256:
            return data
    raise UnreadableModel(
        f"the weights '{ref.name}' of {path.name} are not found",
        because=[f"no file beside it has {ref.size} bytes and sha256:{ref.sha256.hex()[:16]}…"],
        try_=f"meshnode publish {path} --weights FILE",
    )


def _beside(path: Path, size: int) -> Iterator[Path]:
    """Yield the files of the right size in the module's directory; others are never read."""
    for found in sorted(path.absolute().parent.iterdir()):
        if found.is_file() and found.stat().st_size == size:
            yield found


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > PUBLISH_BYTES_MAX:
            raise TooLarge(f"{path} is larger than {PUBLISH_BYTES_MAX} bytes")
        return path.read_bytes()
    except OSError as error:
        raise UnreadableModel(
            f"{path} cannot be read", because=[error.strerror or str(error)]
        ) from error
