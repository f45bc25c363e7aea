"""Rotation: an admin's node replaces the mesh's key, step by step, without an outage.

1. `ACCEPT`: the new key goes to every member; nobody uses it yet.
2. `USE`, once all that are alive have it, or the wait is over, or the operator says so.
3. `RETIRE`, once all that are alive use it and the old one has been kept for as long as was asked.

Each step is an order on disk before anybody hears of it, and the plan is too: a node that is
killed anywhere goes on from there. Another admin may finish what one has left undone.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

import trio

from meshnode.errors import MeshnodeError
from meshnode.gossip.member import Member
from meshnode.identity.keyring import RingKey, Stage, at_stage, next_key
from meshnode.identity.keys import Identity, random_bytes
from meshnode.identity.mesh import Mesh
from meshnode.identity.orders import check_admin, sign_order
from meshnode.ids import NodeId
from meshnode.node.keyring_book import MeshBook
from meshnode.node.keyring_reconciling import Reconciling
from meshnode.node.membership import Membership
from meshnode.storage.state import read_state, write_state

_log = logging.getLogger(__name__)
_FORMAT = 1
ROUND_EVERY_S = 1.0
"""Pause before members that did not answer are told again."""
WAIT_S = 600
"""How long those that are alive and do not answer are waited for, if nothing else was asked."""
KEEP_S = 86_400
"""How long the old key is accepted after the new one is in use: a device that is off over night
is then back without asking anybody."""
MESH_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the operator asked for. Times in unix seconds."""

    key_id: bytes
    """Which key it is about; a plan for another key than the newest is void."""
    started_at: float
    wait_s: float
    """How long a step waits for members that are alive and do not answer; 0: not at all."""
    keep_s: float
    """How long the old key is kept after the new one is in use."""
    used_at: float = 0.0
    """When the new key was ordered to be used; 0 before."""


class Rotation:
    """Replaces the mesh's key. Only the node whose operator asked for it acts."""

    def __init__(
        self,
        path: Path,
        *,
        book: MeshBook,
        reconciling: Reconciling,
        membership: Membership,
        identity: Identity,
        mesh: Mesh,
        unix_now: Callable[[], float],
    ) -> None:
        self._path = path
        self._book = book
        self._reconciling = reconciling
        self._membership = membership
        self._identity = identity
        self._mesh = mesh
        self._unix_now = unix_now
        self._plan = _load(path)
        self._acked: dict[NodeId, bytes] = {}
        self._wake = trio.Event()

    # ------------------------------------------------------------------ asked by the operator

    def start(self, *, force: bool, wait_s: float, keep_s: float) -> None:
        """Begin to replace the key, or go on with a replacement that is not finished.

        `force` does not wait for members that have not got the key. Raises RoleMissing, or
        StoreError with nothing begun.
        """
        check_admin(self._mesh.chain)
        newest = self._book.ring.newest
        now = self._unix_now()
        if newest.stage is not Stage.ACCEPT:
            newest = next_key(self._book.ring, random_bytes(MESH_KEY_BYTES))
        ordered = sign_order(self._identity, self._mesh.chain, self._mesh.network, newest)
        self._set(
            Plan(
                key_id=newest.key_id,
                started_at=now,
                wait_s=0.0 if force else float(wait_s),
                keep_s=float(keep_s),
            )
        )
        self._book.take_key(ordered)
        self._wake.set()

    def progress(self) -> dict[str, Any]:
        """Return how far the newest key is, and who is waited for."""
        ring, plan = self._book.ring, self._mine()
        newest = ring.newest
        expelled = self._book.expelled
        members = [m for m in self._membership.members() if m.contact.public_key not in expelled]
        alive = [m for m in members if m.state.present]
        waiting = [m.name for m in alive if not self._has_all(m.contact.node_id)]
        finished = newest.epoch == 0 or plan is None
        return {
            "epoch": newest.epoch,
            "stage": newest.stage.name.lower(),
            "current_epoch": ring.current.epoch,
            "accepted_epochs": sorted(key.epoch for key in ring.accepted()),
            "members": len(alive),
            "reached": len(alive) - len(waiting),
            "waiting": [] if finished else waiting,
            "offline": [m.name for m in members if not m.state.present],
            "finished": finished,
            "use_by": 0 if plan is None else round(plan.started_at + plan.wait_s),
            "retire_at": round(plan.used_at + plan.keep_s) if plan and plan.used_at else 0,
        }

    # ------------------------------------------------------------------ the task

    async def run(self) -> None:
        """Take each step when it is due, until cancelled."""
        while True:
            self._wake = trio.Event()
            try:
                await self._round()
            except MeshnodeError as error:
                _log.warning("the mesh's key: %s", error)
            with trio.move_on_after(inf if self._mine() is None else ROUND_EVERY_S):
                await self._wake.wait()

    async def _round(self) -> None:
        """Tell those who have not got the newest order, then order the next step if it is due."""
        plan, newest = self._mine(), self._book.ring.newest
        if plan is None:
            return
        await self._tell_the_rest()
        if newest.key_id != self._book.ring.newest.key_id:
            if self._mine() is None:
                _log.warning("another admin's new key has overtaken this one")
            return
        everybody = all(self._has_all(m.contact.node_id) for m in self._alive())
        now = self._unix_now()
        kept_until = plan.used_at + plan.keep_s
        if newest.stage is Stage.ACCEPT and (everybody or now >= plan.started_at + plan.wait_s):
            self._order(newest, Stage.USE)
        elif newest.stage is Stage.USE and now >= kept_until:
            if everybody or now >= kept_until + plan.wait_s:
                self._order(newest, Stage.RETIRE)
        elif newest.stage is Stage.RETIRE and (everybody or now >= kept_until + 2 * plan.wait_s):
            self._set(None)

    async def _tell_the_rest(self) -> None:
        rest = [m.contact for m in self._alive() if not self._has_all(m.contact.node_id)]
        digest = self._book.ring.digest()
        for node_id, has_it in (await self._reconciling.tell_all(rest)).items():
            if has_it:
                self._acked[node_id] = digest
        alive = {m.contact.node_id for m in self._alive()}
        self._acked = {node: acked for node, acked in self._acked.items() if node in alive}

    def _order(self, key: RingKey, stage: Stage) -> None:
        plan = self._mine()
        assert plan is not None, "a step is taken for a plan"
        further = at_stage(key, stage)
        ordered = sign_order(self._identity, self._mesh.chain, self._mesh.network, further)
        if stage is Stage.USE:
            self._set(replace(plan, used_at=self._unix_now()))
        self._book.take_key(ordered)
        self._wake.set()

    def _alive(self) -> list[Member]:
        """Return the members whose word is waited for; an expelled one may look alive a while."""
        expelled = self._book.expelled
        return [m for m in self._membership.alive() if m.contact.public_key not in expelled]

    def _has_all(self, node_id: NodeId) -> bool:
        return self._acked.get(node_id) == self._book.ring.digest()

    def _mine(self) -> Plan | None:
        """Return the plan if it is about the newest key."""
        plan = self._plan
        return plan if plan is not None and plan.key_id == self._book.ring.newest.key_id else None

    def _set(self, plan: Plan | None) -> None:
        p = plan
        fields = p and [p.key_id, p.started_at, p.wait_s, p.keep_s, p.used_at]
        write_state(self._path, {"format": _FORMAT, "plan": fields})
        self._plan = plan


def _load(path: Path) -> Plan | None:
    """Return the plan of a rotation under way, or None; a damaged file is none."""
    saved = read_state(path)
    match saved.get("plan") if isinstance(saved, dict) else None:
        case [bytes() as key_id, *times] if len(times) == 4:
            if all(isinstance(time, float) for time in times):
                started_at, wait_s, keep_s, used_at = times
                return Plan(
                    key_id=key_id,
                    started_at=started_at,
                    wait_s=wait_s,
                    keep_s=keep_s,
                    used_at=used_at,
                )
        case _:
            pass
    return None
