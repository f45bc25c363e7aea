"""What comes back from a predict, before anything turns it into arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshnode.errors import RemoteProtocolError
from meshnode.wire import arrays
from meshnode.wire.tensor import TensorHeader


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Where the time of one request went, in ms."""

    total_ms: float = 0.0
    route_ms: float = 0.0
    """From the local node's door until a node was chosen."""
    net_ms: float = 0.0
    """On the way there and back: what no other stage accounts for."""
    queue_ms: float = 0.0
    cold_ms: float = 0.0
    """Fetching, compiling and starting the module, if this request caused that."""
    run_ms: float = 0.0
    model_ms: float = 0.0
    """The part of `run_ms` that the model runtime took."""


@dataclass(frozen=True, slots=True)
class ServedBy:
    """The node that computed an answer."""

    name: str
    id: str

    def __str__(self) -> str:
        """Return the name."""
        return self.name


@dataclass(frozen=True, slots=True)
class ModuleUsed:
    """The module that computed an answer; its hash is the identity, the name a convenience."""

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        """Return `name@version`."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The tensors of an answer as bytes, and everything known about how it came to be."""

    headers: tuple[TensorHeader, ...]
    tensors: tuple[memoryview, ...]
    node: ServedBy
    module: ModuleUsed
    timing: Timing
    batch: int
    """How many requests ran together."""
    attempts: tuple[Mapping[str, Any], ...]
    explain: Mapping[str, Any] | None
    """Every candidate with its predicted time, if it was asked for."""


def read_answer(result: object, body: memoryview) -> Answer:
    """Return the answer in a control result, or raise RemoteProtocolError."""
    try:
        assert isinstance(result, dict)
        headers = tuple(
            arrays.header(t["name"], t["dtype"], tuple(t["shape"])) for t in result["outputs"]
        )
        return Answer(
            headers=headers,
            tensors=tuple(arrays.split_body(headers, body)),
            node=ServedBy(**result["node"]),
            module=ModuleUsed(**result["module"]),
            timing=Timing(**result["timing"]),
            batch=result["batch"],
            attempts=tuple(result["attempts"]),
            explain=result["explain"],
        )
    except (AssertionError, KeyError, TypeError) as error:
        raise RemoteProtocolError("the node's answer is not understood") from error
