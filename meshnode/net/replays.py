"""Which datagrams are copies of one that came before.

A sender numbers what it seals for a peer, under 16 random bytes that it makes anew whenever it
begins to count: nonce = start (16) || number u64 (docs/protocol-security.md, section 2). The
receiver keeps a window over the numbers of each start, as IPsec does (RFC 4303, section 3.4.3).
Only what opened may be entered, so a stranger cannot move a window.
"""

from collections import OrderedDict

from meshnode.ids import PublicKey

START_BYTES = 16
WINDOW = 1024
"""Numbers; the network reorders far less of one peer's datagrams."""
STARTS_MAX = 4
"""Of one sender: it begins anew when it is restarted, or when it had forgotten us meanwhile."""
SENDERS_MAX = 4096
"""As many as `routability` knows addresses of; the least recently heard goes first."""
_MASK = (1 << WINDOW) - 1


class Replays:
    """The windows of all senders."""

    def __init__(self) -> None:
        self._senders: OrderedDict[PublicKey, dict[bytes, tuple[int, int]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._senders)

    def is_new(self, sender: PublicKey, nonce: bytes) -> bool:
        """Enter an authentic datagram; return False if it is a copy, or too old to tell."""
        start, number = nonce[:START_BYTES], int.from_bytes(nonce[START_BYTES:], "big")
        windows = self._senders.get(sender)
        if windows is None:
            windows = self._senders[sender] = {}
            if len(self._senders) > SENDERS_MAX:
                self._senders.popitem(last=False)
        else:
            self._senders.move_to_end(sender)
        known = windows.get(start)
        if known is None:
            if len(windows) >= STARTS_MAX:
                del windows[next(iter(windows))]
            windows[start] = (number, 1)
            return True
        highest, seen = known
        ahead = number - highest
        if ahead > 0:
            windows[start] = (number, (seen << ahead | 1) & _MASK if ahead < WINDOW else 1)
            return True
        if -ahead >= WINDOW or seen >> -ahead & 1:
            return False
        windows[start] = (highest, seen | 1 << -ahead)
        return True
