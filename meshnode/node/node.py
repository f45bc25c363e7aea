"""Node: what the doors see of a running node. Built by `node/opening.py`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import trio

from meshnode import __version__
from meshnode.caps import Caps
from meshnode.config.settings import Config
from meshnode.constraints import UNCONSTRAINED, Constraints, scope_of
from meshnode.errors import DeadlineExceeded, UsageError
from meshnode.gossip.member import MemberState
from meshnode.identity.certificates import Role, read
from meshnode.identity.keys import Identity, random_bytes
from meshnode.identity.mesh import Mesh
from meshnode.ids import Contact, PublicKey, from_text, short, to_text
from meshnode.modules.schema import check_inputs, rows_of
from meshnode.node import report
from meshnode.node.admission import Admissions
from meshnode.node.catalog import Catalog, publisher_name
from meshnode.node.directory import Directory
from meshnode.node.discovery import Discovery
from meshnode.node.doctor import Doctor
from meshnode.node.keyring_parts import Upkeep
from meshnode.node.lanes import Lanes
from meshnode.node.library import Library, ModuleInfo
from meshnode.node.load import LoadReporter
from meshnode.node.membership import Membership
from meshnode.node.pinning import Pins
from meshnode.node.publishing import Publishing
from meshnode.node.reach import Reach
from meshnode.node.requests import Requests, new_request_id
from meshnode.node.trust import Trust
from meshnode.node.trust_log import TrustLog
from meshnode.placement.board import Scoreboard
from meshnode.wire.messages import Body, Predict, Prediction, TensorHeader
from meshnode.wire.urgency import NO_HASTE, PRIORITIES, USUAL, Haste, Urgency

DEADLINE_MS_DEFAULT = 30_000
ROLES = {"member": Role.WORKER | Role.ADMIT | Role.PUBLISH, "worker": Role.WORKER}
SOURCE_CHARS_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The answer to one request, and how it came about."""

    prediction: Prediction
    name: str
    version: str
    attempts: tuple[dict[str, Any], ...]
    explain: dict[str, Any] | None
    route_ms: float
    """Resolving the name, checking the inputs and choosing the node."""
    total_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a node, as `opening.py` put them together."""

    config: Config
    identity: Identity
    mesh: Mesh
    contact: Contact
    caps: Caps
    membership: Membership
    directory: Directory
    board: Scoreboard
    trust: Trust
    library: Library
    catalog: Catalog
    lanes: Lanes
    pins: Pins
    load: LoadReporter
    requests: Requests
    publishing: Publishing
    admissions: Admissions
    upkeep: Upkeep
    log: TrustLog
    reach: Reach
    discovery: Discovery | None
    """None if the beacon is switched off, or of no use on loopback."""
    started_at: float
    stopping: trio.Event
    accelerators: Callable[[], list[str]]
    """A line for each accelerator of the installed onnxruntime: used, or why not."""


class Node:
    """A running node. Get one from `open_node`."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.name = parts.config.node.name
        self.identity = parts.identity
        self.mesh = parts.mesh
        self.contact = parts.contact
        self.caps = parts.caps
        self.version = __version__
        self._hedge_ms = parts.config.placement.hedge_ms
        self._data_policy = Constraints(data=scope_of(parts.config.policy.data))
        self._doctor = Doctor(
            reach=parts.reach,
            membership=parts.membership,
            caps=parts.caps,
            mesh_name=parts.mesh.name,
            certificate=lambda: read(parts.mesh.chain[-1]),
            held=lambda: len(parts.library.modules),
            discovery=parts.discovery,
            pins=parts.pins,
        )

    # ------------------------------------------------------------------ the main job

    async def describe(self, ref: str) -> ModuleInfo:
        """Return what is known of a module by name, or raise ModuleNotFound."""
        return await self.parts.library.info(await self.parts.catalog.resolve(ref))

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
        """Answer a request at the best node. See `Requests.place` for what it raises."""
        started = trio.current_time()
        budget_ms = DEADLINE_MS_DEFAULT if deadline_ms is None else deadline_ms
        if budget_ms < 1:
            raise UsageError("a deadline has at least 1 ms")
        if len(source) > SOURCE_CHARS_MAX:
            raise UsageError(f"a source has at most {SOURCE_CHARS_MAX} characters")
        urgency = USUAL if not haste.priority else Urgency(priority=_priority(haste.priority))
        try:
            with trio.fail_after(budget_ms / 1000):
                info = await self.describe(ref)
        except trio.TooSlowError as error:
            raise DeadlineExceeded(
                f"no answer within {budget_ms} ms", because=[f"'{ref}' was still being looked up"]
            ) from error
        check_inputs(info.manifest, headers)
        routed = trio.current_time()
        request = Predict(
            request_id=new_request_id(random_bytes),
            module=info.module,
            source=source,
            budget_ms=max(1, budget_ms - round((routed - started) * 1000)),
            hops_left=1,
            urgency=urgency,
            constraints=constraints.joined(self._data_policy),
            tensors=headers,
            body=body,
        )
        placed = await self.parts.requests.place(
            request,
            info.manifest,
            explain=explain,
            hedge_ms=self._hedge_ms if haste.hedge_ms is None else haste.hedge_ms,
        )
        return Outcome(
            prediction=placed.prediction,
            name=info.manifest.name,
            version=info.manifest.version,
            attempts=tuple(report.attempt(a) for a in placed.attempts),
            explain=report.decision(placed.decision, info) if explain and placed.decision else None,
            route_ms=(routed - started) * 1000,
            total_ms=(trio.current_time() - started) * 1000,
        )

    async def explain(
        self,
        ref: str,
        headers: tuple[TensorHeader, ...],
        source: str = "",
        constraints: Constraints = UNCONSTRAINED,
    ) -> dict[str, Any]:
        """Return the candidates of a request without running it."""
        info = await self.describe(ref)
        payload = sum(h.size for h in headers)
        decision = self.parts.requests.decide(
            info.module,
            info.manifest,
            payload=payload,
            source=source,
            asked=constraints.joined(self._data_policy),
            rows=rows_of(info.manifest, headers),
        )
        return report.decision(decision, info)

    # ------------------------------------------------------------------ what is there

    def status(self) -> dict[str, Any]:
        """Return the facts about this node."""
        parts = self.parts
        members = parts.membership.members()
        return {
            "name": self.name,
            "node_id": to_text(parts.contact.node_id),
            "short": short(parts.contact.node_id),
            "public_key": to_text(parts.identity.public_key),
            "version": __version__,
            "address": str(parts.contact.address),
            "mesh": {"name": self.mesh.name, "id": short(self.mesh.root_key)},
            "roles": [
                r for r, role in ROLES.items() if parts.admissions.own_roles() & role == role
            ][:1]
            or ["worker"],
            "caps": self.caps.names(),
            "labels": dict(parts.config.node.labels),
            "accelerators": parts.accelerators(),
            "uptime_s": round(trio.current_time() - parts.started_at, 1),
            "neighbours": {
                state.name.lower(): sum(m.state is state for m in members) for state in MemberState
            },
            "udp": {
                "blocked": parts.reach.udp_blocked,
                "carried_over_connections": parts.reach.tunnel.carried,
            },
            "dht_contacts": parts.directory.size,
            "contradictions": [
                report.contradiction(proof) for proof in parts.directory.contradictions
            ],
            "modules": {"held": len(parts.library.modules), "warm": len(parts.lanes.warm)},
            "ready": parts.pins.ready,
            "pinned": parts.pins.listed(),
            "memory_bytes": parts.lanes.memory_bytes,
            "simulated_slowdown": parts.config.simulate.slowdown,
            "simulated_run_ms": parts.config.simulate.run_ms,
            "load": report.load(parts.load.record()),
            "predictions": report.accuracy(parts.requests.accuracy),
            "stopping": parts.stopping.is_set(),
        }

    def peers(self) -> list[dict[str, Any]]:
        """Return every other member that is remembered, nearest first."""
        now = trio.current_time()
        rows = []
        for member in self.parts.membership.members():
            record, age_s = self.parts.board.record_of(member.contact.node_id, now)
            rows.append(report.peer(member, record, age_s, now))
        return sorted(rows, key=lambda row: (row["rtt_ms"] is None, row["rtt_ms"], row["name"]))

    async def modules(self) -> list[dict[str, Any]]:
        """Return every module known here or at a neighbour."""
        found = await self.parts.catalog.everything()
        return [
            report.module(named, publisher_name(self.parts.trust, named.publisher))
            for named in found
        ]

    async def doctor(self, peer: str) -> dict[str, Any]:
        """Return a diagnosis of this node, or of it and one peer in both directions."""
        examined = self._doctor.examine_peer(peer) if peer else self._doctor.examine()
        return report.diagnosis(await examined)

    def waiting(self) -> list[str]:
        """Return why this node is not ready: a line for each pinned module that is not warm."""
        return self.parts.pins.waiting()

    def pins(self) -> list[dict[str, Any]]:
        """Return the pinned modules and how each stands."""
        return self.parts.pins.listed()

    # ------------------------------------------------------------------ changing things

    async def pin(self, ref: str) -> list[dict[str, Any]]:
        """Keep a module at hand from now on; see `Pins.add` for what it raises."""
        await self.parts.pins.add(ref)
        return self.pins()

    async def unpin(self, ref: str) -> list[dict[str, Any]]:
        """End a pin; see `Pins.remove` for what it raises."""
        await self.parts.pins.remove(ref)
        return self.pins()

    async def publish(self, data: bytes, weights: list[bytes], replicas: int) -> dict[str, Any]:
        """Publish a signed module from this device."""
        published = await self.parts.publishing.publish(data, weights, replicas=replicas)
        return report.published(published)

    async def invite(self, uses: int, ttl_s: int, roles: str) -> dict[str, Any]:
        """Open an invite; the string in it admits `uses` devices until it expires."""
        if roles not in ROLES:
            raise UsageError(f"unknown role '{roles}'", because=[f"roles: {', '.join(ROLES)}"])
        text, expires_at = self.parts.admissions.invite(
            addresses=(self.contact.address,), uses=uses, ttl_s=ttl_s, roles=ROLES[roles]
        )
        return {"invite": text, "expires_at": expires_at, "uses": uses, "role": roles}

    def trust_list(self) -> list[dict[str, Any]]:
        """Return the publishers trusted here."""
        return [
            {"name": p.name, "key": to_text(p.key), "short": short(p.key), "by": p.by}
            for p in self.parts.trust.publishers()
        ]

    def trust_add(self, key: str, name: str) -> dict[str, Any]:
        """Trust a publisher by its key's text form."""
        try:
            publisher = PublicKey(from_text(key))
        except ValueError as error:
            raise UsageError(f"not a publisher key: {error}") from error
        self.parts.trust.add(publisher, name)
        return {"name": name, "key": to_text(publisher), "short": short(publisher)}

    def trust_log(self) -> dict[str, Any]:
        """Return who was admitted, trusted and revoked here, and whether that was changed since."""
        return self.parts.log.facts()

    def revocations(self) -> list[dict[str, Any]]:
        """Return who is expelled from the mesh, why, when and by whom."""
        return self.parts.upkeep.revoking.listed()

    async def revoke(self, who: str, reason: str, rotate: bool) -> dict[str, Any]:
        """Expel a device, tell everybody, and begin to replace the mesh's key."""
        return await self.parts.upkeep.revoking.revoke(who, reason, rotate=rotate)

    def rotate(self, force: bool, wait_s: int, keep_s: int) -> dict[str, Any]:
        """Begin to replace the mesh's key, or go on with it; see `Rotation.start`."""
        self.parts.upkeep.rotation.start(force=force, wait_s=wait_s, keep_s=keep_s)
        return self.rotation()

    def rotation(self) -> dict[str, Any]:
        """Return how far the mesh's newest key is."""
        return self.parts.upkeep.rotation.progress()

    async def drain(self, grace_s: float) -> None:
        """Take no new work, say so, and wait until what is queued is done, at most `grace_s`."""
        self.parts.stopping.set()
        self.parts.lanes.stop_taking()
        self.parts.membership.set_load(self.parts.load.record())
        with trio.move_on_after(grace_s):
            await self.parts.lanes.wait_idle()


def _priority(name: str) -> int:
    """Return the number of a priority's name, or raise UsageError."""
    if name not in PRIORITIES:
        raise UsageError(f"unknown priority '{name}'", because=[f"one of {', '.join(PRIORITIES)}"])
    return PRIORITIES.index(name)
