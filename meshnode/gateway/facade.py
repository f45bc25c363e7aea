"""What the doors need of a node, and nothing more.

The node is built elsewhere; a door is tested against anything with this shape. All dicts hold
only what JSON can, so a door adds nothing but `"v": 1`.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from meshnode.constraints import UNCONSTRAINED, Constraints
from meshnode.ids import ContentHash, PublicKey
from meshnode.modules.manifest import Manifest
from meshnode.wire.messages import Body, Prediction, TensorHeader
from meshnode.wire.urgency import NO_HASTE, Haste

Facts = dict[str, Any]
"""A JSON object."""


class ModuleInfo(Protocol):
    """What is known of a module before any of it runs."""

    @property
    def module(self) -> ContentHash:
        """SHA-256 of the exact file."""
        ...

    @property
    def manifest(self) -> Manifest:
        """Names, tensors, limits."""
        ...

    @property
    def publisher(self) -> PublicKey:
        """Who signed it."""
        ...

    @property
    def size(self) -> int:
        """Bytes of the file."""
        ...


class Outcome(Protocol):
    """An answer and the way to it."""

    @property
    def prediction(self) -> Prediction:
        """The tensors, who computed them, and the times there."""
        ...

    @property
    def name(self) -> str:
        """The module's name."""
        ...

    @property
    def version(self) -> str:
        """The module's version."""
        ...

    @property
    def attempts(self) -> Sequence[Facts]:
        """Each node that was asked, the one that answered last; at least its "name"."""
        ...

    @property
    def explain(self) -> Facts | None:
        """Every candidate with the parts of its score, if it was asked for."""
        ...

    @property
    def route_ms(self) -> float:
        """From the door until a node was chosen."""
        ...

    @property
    def total_ms(self) -> float:
        """From the door and back to it."""
        ...


class NodeFacade(Protocol):
    """A running node, as its doors see it."""

    @property
    def name(self) -> str:
        """The node's display name."""
        ...

    async def describe(self, ref: str) -> ModuleInfo:
        """Return what a reference means, or raise ModuleNotFound naming the nearest."""
        ...

    async def predict(
        self,
        ref: str,
        headers: tuple[TensorHeader, ...],
        body: Body,
        *,
        source: str = "",
        deadline_ms: int | None = None,
        explain: bool = False,
        haste: Haste = NO_HASTE,
        constraints: Constraints = UNCONSTRAINED,
    ) -> Outcome:
        """Run a module on tensors at the best node, or raise MeshnodeError."""
        ...

    async def explain(
        self,
        ref: str,
        headers: tuple[TensorHeader, ...],
        source: str,
        constraints: Constraints = UNCONSTRAINED,
    ) -> Facts:
        """Return where a request would go and why, without running it."""
        ...

    def status(self) -> Facts:
        """Return what this node knows of itself."""
        ...

    def peers(self) -> list[Facts]:
        """Return every other member of the mesh, nearest first."""
        ...

    async def modules(self) -> list[Facts]:
        """Return every module known in the mesh."""
        ...

    def waiting(self) -> list[str]:
        """Return why the node is not ready yet, a line for each reason; empty: it is."""
        ...

    def pins(self) -> list[Facts]:
        """Return the modules that are kept at hand, and how each stands."""
        ...

    async def pin(self, ref: str, /) -> list[Facts]:
        """Keep a module at hand from now on; return all that are."""
        ...

    async def unpin(self, ref: str, /) -> list[Facts]:
        """End that; return all that are left."""
        ...

    async def doctor(self, peer: str, /) -> Facts:
        """Return a diagnosis of the node, or of it and the peer of this name."""
        ...

    async def publish(self, data: bytes, weights: list[bytes], replicas: int) -> Facts:
        """Publish a signed module and the weights it names."""
        ...

    async def invite(self, uses: int, ttl_s: int, roles: str, /) -> Facts:
        """Open an invite; `roles` is "member" or "worker"."""
        ...

    def trust_list(self) -> list[Facts]:
        """Return the publishers trusted here."""
        ...

    def trust_add(self, key: str, name: str) -> Facts:
        """Trust a publisher from now on."""
        ...

    def trust_log(self) -> Facts:
        """Return who was admitted, trusted and revoked here, and whether that was changed."""
        ...

    def revocations(self) -> list[Facts]:
        """Return who is expelled from the mesh, why, when and by whom."""
        ...

    async def revoke(self, who: str, reason: str, rotate: bool, /) -> Facts:
        """Expel a device; with `rotate` also begin to replace the mesh's key."""
        ...

    def rotate(self, force: bool, wait_s: int, keep_s: int, /) -> Facts:
        """Begin to replace the mesh's key, or go on with it; return how far it is."""
        ...

    def rotation(self) -> Facts:
        """Return how far the mesh's newest key is."""
        ...
