"""Spreading: asks fitting neighbours to hold a copy of a module."""

from dataclasses import dataclass

from meshnode.errors import MeshnodeError
from meshnode.ids import NodeId, short
from meshnode.net.pool import ConnectionPool
from meshnode.node.library import ModuleInfo
from meshnode.node.membership import Membership
from meshnode.wire.messages import Hold, Holding

HOLD_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Replica:
    """One node that was asked to hold a copy."""

    name: str
    ok: bool
    detail: str
    sources: tuple[tuple[str, int], ...] = ()
    """From whom it fetched how many bytes; empty if it held the module already."""


class Spreading:
    """Makes a module survive the device it was published on."""

    def __init__(
        self, own_id: NodeId, own_name: str, membership: Membership, pool: ConnectionPool
    ) -> None:
        self._own_id = own_id
        self._own_name = own_name
        self._membership = membership
        self._pool = pool

    async def replicate(self, info: ModuleInfo, count: int) -> tuple[Replica, ...]:
        """Ask neighbours until `count` more hold it: those that can run it and are near first."""
        able = [m for m in self._membership.alive() if m.caps.satisfies(info.manifest.required)]
        rest = [m for m in self._membership.alive() if m not in able]
        line = sorted(able, key=lambda m: m.rtt_ms or 1e9) + rest
        asked: list[Replica] = []
        for member in line:
            if sum(r.ok for r in asked) >= count:
                break
            try:
                reply = await self._pool.call(
                    member.contact, Hold(module=info.module), timeout_s=HOLD_TIMEOUT_S
                )
            except MeshnodeError as error:
                asked.append(Replica(member.name, False, f"{error.code} {error.message}"))
                continue
            if isinstance(reply, Holding):
                asked.append(Replica(member.name, True, "holds it", self._named(reply.sources)))
        return tuple(asked)

    def _named(self, sources: tuple[tuple[NodeId, int], ...]) -> tuple[tuple[str, int], ...]:
        names = {m.contact.node_id: m.name for m in self._membership.members()}
        names[self._own_id] = self._own_name
        return tuple((names.get(node, short(node)), count) for node, count in sources)
