"""Greeting strangers sparingly: whoever speaks to us and is not known is answered with our word."""

from meshnode.ids import NodeId

GREETINGS_IN_A_ROW = 3
"""One to be heard, one with the cookie that the first answer brought, one for a lost packet."""
GREET_EVERY_S = 1.0
REMEMBERED_MAX = 1024


class Greetings:
    """How often a stranger is greeted: thrice in a row, then once a second."""

    def __init__(self) -> None:
        self._last_at: dict[NodeId, float] = {}
        self._in_a_row: dict[NodeId, int] = {}

    def allowed(self, node_id: NodeId, now: float) -> bool:
        """Return whether to greet this node now, and count it."""
        last_at = self._last_at.get(node_id)
        again = last_at is not None and now - last_at < GREET_EVERY_S
        in_a_row = self._in_a_row.get(node_id, 0) + 1 if again else 1
        if in_a_row > GREETINGS_IN_A_ROW:
            return False
        _remember(self._last_at, node_id, now)
        self._in_a_row[node_id] = in_a_row
        if len(self._in_a_row) > REMEMBERED_MAX:
            self._in_a_row = {i: n for i, n in self._in_a_row.items() if i in self._last_at}
        return True


def _remember(times: dict[NodeId, float], node_id: NodeId, now: float) -> None:
    """Note a time, dropping the longest unchanged when there are too many."""
    times.pop(node_id, None)
    times[node_id] = now
    if len(times) > REMEMBERED_MAX:
        del times[next(iter(times))]
