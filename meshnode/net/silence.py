"""Telling a network that drops UDP from peers that are merely dead: much is sent, all is quiet."""

import logging
from math import inf

_log = logging.getLogger(__name__)
SENT_MIN = 20
LASTS_S = 10.0
"""A node that knows dead peers only asks them less often than 20 times in 10 s."""


class Silence:
    """Watches a socket until it hears something for the first time."""

    def __init__(self) -> None:
        self._began_at = inf
        self._sent = 0
        self.blocked = False
        """Much was sent and nothing was ever heard: UDP seems to be blocked."""

    def sent(self, now: float) -> None:
        """A datagram left; say once in the log that none comes back."""
        self._began_at = min(self._began_at, now)
        self._sent += 1
        lasted_s = now - self._began_at
        if not self.blocked and self._sent >= SENT_MIN and lasted_s >= LASTS_S:
            self.blocked = True
            _log.warning(
                "%d datagrams sent in %.0f s and none came back: a firewall may drop UDP here. "
                "Joining works over TCP, but without UDP this node finds no members",
                self._sent,
                lasted_s,
            )

    def heard(self) -> None:
        """A datagram of a member came: the way is open."""
        self.blocked = False
        self._began_at, self._sent = inf, 0
