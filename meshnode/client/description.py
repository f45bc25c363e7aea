"""What a module takes and gives, as the node told it; enough to check inputs before sending."""

from dataclasses import dataclass

from meshnode.caps import parse_caps
from meshnode.errors import RemoteProtocolError
from meshnode.modules.manifest import Manifest, TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a reference means now: what the module takes and gives, and who signed it."""

    manifest: Manifest
    """Without limits, self-tests and models, which no client needs."""
    sha256: str
    publisher: str
    size: int


def read_description(result: object) -> Description:
    """Return the description in a control result, or raise RemoteProtocolError."""
    try:
        assert isinstance(result, dict)
        manifest = Manifest(
            name=result["name"],
            version=result["version"],
            abi=result["abi"],
            inputs=tuple(_spec(s) for s in result["inputs"]),
            outputs=tuple(_spec(s) for s in result["outputs"]),
            required=parse_caps(result["required"]),
            batch=result["batch"],
        )
        return Description(
            manifest=manifest,
            sha256=result["sha256"],
            publisher=result["publisher"],
            size=result["size"],
        )
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise RemoteProtocolError("the node's description is not understood") from error


def _spec(found: dict[str, str]) -> TensorSpec:
    return TensorSpec(
        name=found["name"],
        dtype=found["dtype"],
        shape=tuple(int(d) for d in found["shape"]),
        layout=found["layout"],
    )
