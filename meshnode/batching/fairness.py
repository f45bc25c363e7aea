"""Shares: whose request is next when not everything that waits can be held.

Start-time fair queueing (Goyal, Vin, Cheng 1996) over measured run time, in two levels: peers
share the machine, and the sources of a peer share what the peer gets. So a peer that invents
sources takes nothing from another peer, and a source that floods only its own share. An account's
tag is the run time it has had; the lowest goes first. Who begins to wait again starts at the tag of
those who waited meanwhile, at least: idling earns no credit.

While two accounts both have work waiting, what they were given differs by no more than one request
of each. Nothing is kept back: as long as anything waits, something is next.
"""

from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Flow: TypeAlias = tuple[Hashable, Hashable]
"""Who asks: the peer, whose name is authenticated, and the source that it declares."""
NO_FLOW: Flow = (None, "")
ACCOUNTS_MAX = 256
"""Accounts of a level that are remembered while nothing of theirs waits: those used last."""


@dataclass(slots=True)
class _Account:
    """What somebody has had."""

    tag: float = 0.0
    """Seconds of run time, counted from when this level began."""
    waiting: int = 0
    level: "_Level | None" = None
    """Those who share what this one gets."""


class _Level:
    """Accounts that share something evenly."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[Hashable, _Account] = OrderedDict()
        self._active: dict[Hashable, _Account] = {}
        """With something waiting."""
        self._floor = 0.0
        """No account begins to wait below it; it never falls."""

    def account(self, key: Hashable) -> _Account:
        """Return an account, new if need be; the least recently used idle one makes room."""
        found = self._accounts.get(key)
        if found is not None:
            self._accounts.move_to_end(key)
            return found
        made = self._accounts[key] = _Account(self._floor)
        if len(self._accounts) > ACCOUNTS_MAX + len(self._active) + 1:
            idle = next(k for k, a in self._accounts.items() if not a.waiting and a is not made)
            del self._accounts[idle]
        return made

    def joined(self, key: Hashable) -> _Account:
        account = self.account(key)
        if not account.waiting:
            account.tag = max(account.tag, self._floor)
            self._active[key] = account
        account.waiting += 1
        return account

    def left(self, key: Hashable) -> _Account:
        account = self._accounts[key]
        assert account.waiting > 0, "it left without having joined"
        account.waiting -= 1
        if not account.waiting:
            del self._active[key]
        return account

    def charge(self, key: Hashable, seconds: float) -> _Account:
        account = self.account(key)
        lowest = account.tag = max(account.tag, self._floor) if not account.waiting else account.tag
        if self._active:
            lowest = min(lowest, min([a.tag for a in self._active.values()]))
        self._floor = max(self._floor, lowest)
        account.tag += seconds
        return account

    def tag(self, key: Hashable) -> float:
        """Return the tag of an account, as it would be if it began to wait now."""
        found = self._accounts.get(key)
        if found is None:
            return self._floor
        return found.tag if found.waiting else max(found.tag, self._floor)

    def below(self, key: Hashable) -> "_Level | None":
        found = self._accounts.get(key)
        return None if found is None else found.level

    def __len__(self) -> int:
        return len(self._accounts)


class Shares:
    """The accounts of one machine, whatever module it runs."""

    def __init__(self) -> None:
        self._peers = _Level()

    def __len__(self) -> int:
        """Return how many accounts of peers are remembered."""
        return len(self._peers)

    def joined(self, flow: Flow) -> None:
        """They have something waiting at a lane, and had nothing there before."""
        peer = self._peers.joined(flow[0])
        peer.level = peer.level or _Level()
        peer.level.joined(flow[1])

    def left(self, flow: Flow) -> None:
        """Nothing of theirs waits at that lane any more."""
        peer = self._peers.left(flow[0])
        assert peer.level is not None, "who joined has sources"
        peer.level.left(flow[1])

    def charge(self, flow: Flow, seconds: float) -> None:
        """They were given run time."""
        peer = self._peers.charge(flow[0], seconds)
        peer.level = peer.level or _Level()
        peer.level.charge(flow[1], seconds)

    def first(self, flows: Collection[Flow]) -> Flow:
        """Return who of some has had least; of equals, the first. There is one at least."""
        peer = min((p for p, _ in flows), key=self._peers.tag)
        return min((f for f in flows if f[0] == peer), key=self._tag_within)

    def order(self, backlog: Mapping[Flow, int], each_s: float) -> Iterator[Flow]:
        """Yield whose request is next, until the backlog is used up: so many of each flow.

        Each is reckoned to take `each_s`. Equals go in the backlog's order.
        """
        left = dict(backlog)
        peers = {peer: self._peers.tag(peer) for peer, _ in left}
        tags = {flow: self._tag_within(flow) for flow in left}
        step = each_s or 1.0
        while left:
            peer = min((p for p, _ in left), key=lambda p: peers[p])
            flow = min((f for f in left if f[0] == peer), key=lambda f: tags[f])
            yield flow
            peers[peer] += step
            tags[flow] += step
            left[flow] -= 1
            if left[flow] <= 0:
                del left[flow]

    def ahead_s(self, flow: Flow, backlog: Mapping[Flow, int], each_s: float) -> float:
        """Return how much of what waits would run before one more request of a flow.

        So many requests of each flow wait, of `each_s`. Of equals, those that came before.
        """
        own_s = backlog.get(flow, 0) * each_s
        starts = self._tag_within(flow) + own_s
        within_s = own_s
        others: dict[Hashable, int] = {}
        for other, count in backlog.items():
            if other[0] != flow[0]:
                others[other[0]] = others.get(other[0], 0) + count
            elif other != flow:
                within_s += _before_s(count, each_s, starts - self._tag_within(other))
        starts = self._peers.tag(flow[0]) + within_s
        return within_s + sum(
            _before_s(count, each_s, starts - self._peers.tag(peer))
            for peer, count in others.items()
        )

    def _tag_within(self, flow: Flow) -> float:
        level = self._peers.below(flow[0])
        return 0.0 if level is None else level.tag(flow[1])


def _before_s(count: int, each_s: float, behind_s: float) -> float:
    """Return what goes first of an account with `count` waiting, whose tag is behind by so much."""
    return min(count * each_s, behind_s + each_s) if behind_s >= 0 else 0.0
