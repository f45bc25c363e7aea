"""A node for the doors: it has one module, `double`, which doubles; or fails as it is told to."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import trio

from meshnode.constraints import UNCONSTRAINED, Constraints
from meshnode.errors import MeshnodeError, ModuleNotFound
from meshnode.ids import ContentHash, NodeId, PublicKey, RequestId
from meshnode.modules.manifest import Manifest, TensorSpec
from meshnode.modules.schema import check_inputs
from meshnode.wire import arrays
from meshnode.wire.messages import Body, Prediction, TensorHeader, Timing
from meshnode.wire.urgency import NO_HASTE, Haste

MANIFEST = Manifest(
    name="double",
    version="1.0.0",
    abi="infer",
    inputs=(TensorSpec(name="x", dtype="float32", shape=(-1, 3)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=(-1, 3)),),
    batch=True,
)


MODULE = ContentHash(b"\x11" * 32)
PUBLISHER = PublicKey(b"\x22" * 32)


@dataclass(frozen=True)
class Info:
    module: ContentHash = MODULE
    manifest: Manifest = MANIFEST
    publisher: PublicKey = PUBLISHER
    size: int = 1234


@dataclass(frozen=True)
class Answered:
    prediction: Prediction
    name: str
    version: str
    attempts: tuple[dict[str, Any], ...]
    explain: dict[str, Any] | None
    route_ms: float
    total_ms: float


@dataclass
class FakeNode:
    failure: BaseException | None = None
    delay_s: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    pinned: list[str] = field(default_factory=list)
    name: str = "fake"
    diagnosis: dict[str, Any] = field(
        default_factory=lambda: {"findings": [], "failures": 0, "warnings": 0}
    )

    async def describe(self, ref: str) -> Info:
        if ref.partition("@")[0] != "double":
            raise ModuleNotFound(f"no module named '{ref}'", try_="did you mean 'double'?")
        return Info()

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
    ) -> Answered:
        info = await self.describe(ref)
        check_inputs(info.manifest, headers)
        asked: dict[str, Any] = {"source": source, "deadline_ms": deadline_ms, "explain": explain}
        asked |= {"haste": haste} if haste != NO_HASTE else {}
        self.asked.append(asked | ({"constraints": constraints} if constraints else {}))
        await trio.sleep(self.delay_s)
        if self.failure is not None:
            raise self.failure
        (view,) = arrays.split_body(headers, arrays.flat(body))
        doubled = (np.frombuffer(view, np.float32) * 2).tobytes()
        out = arrays.header("y", "float32", headers[0].shape)
        prediction = Prediction(
            request_id=RequestId(b"\0" * 16),
            served_by=NodeId(b"\x33" * 32),
            module=info.module,
            tensors=(out,),
            timing=Timing(queue_us=100, run_us=2000, model_us=1500),
            batch=1,
            body=arrays.join_body([out], [doubled]),
        )
        return Answered(
            prediction=prediction,
            name="double",
            version="1.0.0",
            attempts=({"name": "nas", "outcome": "ok"},),
            explain=await self.explain(ref, headers, source) if explain else None,
            route_ms=0.5,
            total_ms=4.0,
        )

    async def explain(
        self,
        ref: str,
        headers: tuple[TensorHeader, ...],
        source: str,
        constraints: Constraints = UNCONSTRAINED,
    ) -> dict[str, Any]:
        if constraints:
            self.asked.append({"constraints": constraints})
        return {
            "module": "double@1.0.0",
            "candidates": [
                {"name": "nas", "chosen": True, "score_ms": 4.0, "parts": {"run_ms": 3.0}},
                {"name": "pi", "local": True, "score_ms": 9.0, "parts": {"run_ms": 9.0}},
            ],
            "excluded": [{"name": "mac", "reason": "draining"}],
        }

    def status(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "caps": ["cpu", "nn"],
            "uptime_s": 90.0,
            "memory_bytes": 1 << 20,
            "ready": not self.waiting(),
            "pinned": self.pins(),
        }

    def waiting(self) -> list[str]:
        return [f"{ref}: looking" for ref in self.pinned if ref != "double"]

    def pins(self) -> list[dict[str, Any]]:
        return [
            {"ref": ref, "configured": False, "reason": ""}
            | (
                {"state": "warm", "module": "double@1.0.0"}
                if ref == "double"
                else {"state": "looking", "module": ""}
            )
            for ref in self.pinned
        ]

    async def pin(self, ref: str) -> list[dict[str, Any]]:
        self.pinned.append(ref)
        return self.pins()

    async def unpin(self, ref: str) -> list[dict[str, Any]]:
        self.pinned.remove(ref)
        return self.pins()

    def peers(self) -> list[dict[str, Any]]:
        load = {"wait_ms": 1.5, "in_flight": 2, "draining": False, "held": 3, "warm": 1}
        return [
            {"name": "nas", "short": "D5TQ7RA", "rtt_ms": 0.4, "caps": ["cpu"], "load": load}
            | {"state": "alive", "state_for_s": 5.0, "address": "10.0.0.2:6174"},
            {"name": "mac", "short": "V2HQ6MZ", "rtt_ms": None, "caps": [], "load": None}
            | {"state": "suspect", "state_for_s": 4.0, "address": "10.0.0.3:6174"},
        ]

    async def modules(self) -> list[dict[str, Any]]:
        return [
            {"name": "double", "version": "1.0.0", "module": "11" * 32, "publisher": "lab"}
            | {"size": 1234, "held_by": ["fake", "nas"], "warm_at": ["nas"]}
        ]

    async def publish(self, data: bytes, weights: list[bytes], replicas: int) -> dict[str, Any]:
        return {
            "name": "double",
            "version": "1.0.0",
            "module": "11" * 32,
            "size": len(data),
            "publisher": "lab",
            "name_record_kept_by": 2,
            "tried_here": "ready",
            "replicas": [{"name": "nas", "ok": True, "detail": f"{len(weights)} weights"}],
        }

    async def invite(self, uses: int, ttl_s: int, roles: str) -> dict[str, Any]:
        return {"invite": "mesh1-abc", "expires_at": 1_900_000_000, "uses": uses, "role": roles}

    async def doctor(self, peer: str, /) -> dict[str, Any]:
        self.asked.append({"doctor": peer})
        return self.diagnosis

    def trust_list(self) -> list[dict[str, Any]]:
        return [{"name": "lab", "key": "K", "short": "P7K2M4Q", "by": "mesh"}]

    def trust_add(self, key: str, name: str) -> dict[str, Any]:
        if key == "bad":
            raise MeshnodeError("not a key")
        return {"name": name, "key": key, "short": key[:7]}

    def trust_log(self) -> dict[str, Any]:
        entry = {"at": 1_777_777_777, "what": "admitted", "name": "nas", "id": "D5TQ7RA"}
        return {"entries": [entry], "head": "ab" * 32, "broken_at": None}

    def revocations(self) -> list[dict[str, Any]]:
        return [
            {"name": "line2-gw", "short": "LA6N4MN", "node_id": "LA6N4MN", "public_key": "K"}
            | {"reason": "stolen", "at": 1_777_777_777, "by": "lab"}
        ]

    async def revoke(self, who: str, reason: str, rotate: bool) -> dict[str, Any]:
        if who == "nobody":
            raise MeshnodeError("no member is called 'nobody'")
        self.asked.append({"who": who, "reason": reason, "rotate": rotate})
        return {
            "name": who,
            "node_id": "LA6N4MN",
            "already": False,
            "number": 12,
            "reached": 17,
            "members": 18,
            "not_reached": ["line6"],
            "seeds": 2,
            "seeds_told": 2 if who != "line3" else 1,
            "fallen": ["line2-cam"] if who == "line2" else [],
            "rotating": rotate,
        }

    def rotate(self, force: bool, wait_s: int, keep_s: int) -> dict[str, Any]:
        self.asked.append({"force": force, "wait_s": wait_s, "keep_s": keep_s})
        return self.rotation() | {"stage": "accept"}

    def rotation(self) -> dict[str, Any]:
        return {
            "epoch": 3,
            "stage": "use",
            "current_epoch": 3,
            "accepted_epochs": [2, 3],
            "members": 5,
            "reached": 4,
            "waiting": ["nas"],
            "offline": ["line6"],
            "finished": False,
            "use_by": 1_777_777_777,
            "retire_at": 1_777_777_777,
        }
