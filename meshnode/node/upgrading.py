"""Upgrading: a direct connection in place of a relayed one, as soon as there can be one.

A relay costs a second way through the net and somebody else's bytes, and a connection that is used
never ends by itself. So while one is relayed, the peer's own addresses are tried now and then. New
calls go over the direct connection; the relayed one finishes its calls and is closed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import trio

from meshnode.errors import MeshnodeError
from meshnode.ids import Contact, NodeId
from meshnode.net.pool import ConnectionPool
from meshnode.reach.steps import Step, Way

LOOK_EVERY_S = 5.0
FIRST_AFTER_S = 15.0
"""A direct way was tried when the connection was made, so not at once."""
EVERY_S_MAX = 600.0
"""The pause doubles each time in vain: most nodes behind a NAT stay there."""


@dataclass(slots=True)
class _Wait:
    at: float
    pause_s: float


@dataclass(slots=True, kw_only=True)
class Upgrading:
    """Tries direct ways to the peers that are connected through a relay."""

    pool: ConnectionPool
    contact_of: Callable[[NodeId], Contact | None]
    steps: Callable[[Contact], Sequence[Step]]
    worked: Callable[[Contact, Step], None]
    upgraded: int = 0
    _waits: dict[NodeId, _Wait] = field(default_factory=dict)

    async def run(self) -> None:
        """Look at the relayed connections until cancelled, one after the other."""
        while True:
            await trio.sleep(LOOK_EVERY_S)
            for node_id in self._due(trio.current_time()):
                contact = self.contact_of(node_id)
                if contact is not None and await self._reach(contact):
                    self.upgraded += 1
                    self._waits.pop(node_id, None)

    def _due(self, now: float) -> list[NodeId]:
        """Return whom to try now, and put off their next turn."""
        relayed = {peer.node_id for peer in self.pool.peers() if peer.relayed}
        self._waits = {
            node_id: self._waits.get(node_id) or _Wait(now + FIRST_AFTER_S, FIRST_AFTER_S)
            for node_id in relayed
        }
        due = [node_id for node_id, wait in self._waits.items() if wait.at <= now]
        for node_id in due:
            pause_s = min(2 * self._waits[node_id].pause_s, EVERY_S_MAX)
            self._waits[node_id] = _Wait(now + pause_s, pause_s)
        return due

    async def _reach(self, contact: Contact) -> bool:
        """Connect to one of a contact's addresses, if it is there."""
        for step in self.steps(contact):
            if step.way is not Way.DIRECT or step.address is None:
                continue
            try:
                await self.pool.connect_anew(replace(contact, address=step.address))
            except MeshnodeError:
                continue
            self.worked(contact, step)
            return True
        return False
