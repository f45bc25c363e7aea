"""Meetings: a rendezvous shows two nodes that want to meet half-way where it sees each other.

Each comes on a connection of its own, with a token, so that the port it is seen at is the one from
which it will connect to the other. Nothing is carried.
"""

from dataclasses import dataclass, field
from functools import partial

import trio

from meshnode.errors import Overloaded, PeerUnreachable
from meshnode.ids import Address, Contact, PublicKey
from meshnode.net.tokens import Tokens
from meshnode.net.transport import Transport

MEETINGS_MAX = 64
COME_S = 4.0
"""So long the one who came first waits for the other."""
LASTS_S = 10.0
"""The connections stay as long, so that no NAT forgets the port meanwhile."""


@dataclass(slots=True, eq=False)
class _Meeting:
    keys: tuple[PublicKey, PublicKey]
    until: float
    seen: dict[PublicKey, Address] = field(default_factory=dict)
    both: trio.Event = field(default_factory=trio.Event)

    async def come(self, key: PublicKey, transport: Transport) -> None:
        """One of the two is here; returns when it goes, or when the meeting is over."""
        self.seen[key] = transport.address
        if len(self.seen) == len(set(self.keys)):
            self.both.set()
        try:
            with trio.move_on_at(self.until):
                await transport.wait()
        finally:
            transport.close()


@dataclass(slots=True)
class Meetings:
    """The meetings of one rendezvous."""

    tokens: Tokens
    _open: dict[bytes, tuple[PublicKey, _Meeting]] = field(default_factory=dict)
    """By token: whose it is, and of which meeting."""

    def __len__(self) -> int:
        return len(self._open) // 2

    def arrange(self, caller: PublicKey, target: PublicKey, now: float) -> tuple[bytes, bytes]:
        """Return a token for each of two nodes; raises Overloaded if too many are meeting."""
        self._expire(now)
        if len(self) >= MEETINGS_MAX:
            raise Overloaded("too many nodes are meeting here")
        meeting = _Meeting((caller, target), now + LASTS_S)
        made = [self.tokens.make(key, partial(meeting.come, key)) for key in (caller, target)]
        for key, token in zip((caller, target), made, strict=True):
            self._open[token] = (key, meeting)
        return made[0], made[1]

    def call_off(self, tokens: tuple[bytes, bytes]) -> None:
        """The two will not meet."""
        for token in tokens:
            self.tokens.drop(token)
            self._open.pop(token, None)

    async def other(self, asker: PublicKey, token: bytes) -> Contact:
        """Return where the other one is seen, when both are here; raises PeerUnreachable."""
        key, meeting = self._open.get(token, (None, None))
        if meeting is None or key != asker:
            raise PeerUnreachable("no such meeting is arranged for this node")
        with trio.move_on_after(COME_S):
            await meeting.both.wait()
        if not meeting.both.is_set():
            raise PeerUnreachable("the other one did not come")
        (there,) = (k for k in meeting.keys if k != asker)
        return Contact(there, meeting.seen[there])

    def _expire(self, now: float) -> None:
        for token in [t for t, (_, meeting) in self._open.items() if now >= meeting.until]:
            del self._open[token]
