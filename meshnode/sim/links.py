"""How packets fare on their way: delay, loss alone and in bursts, duplicates, reordering, size.

A link is one direction. Delays are drawn in seconds and rounded to microseconds, so that the last
bit of a platform's logarithm changes nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import exp, log

from meshnode.ids import Address
from meshnode.machine import Random
from meshnode.wire.limits import DATAGRAM_BYTES_MAX


class Spread(Enum):
    """How the delay varies around its least."""

    CONSTANT = "constant"
    EXPONENTIAL = "exponential"
    """Short queues: most packets are quick, some are late."""
    LOGNORMAL = "lognormal"
    """Wireless and wide-area links: a heavy tail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bursts:
    """Loss that comes in bursts (Gilbert 1960, Elliott 1963): a link is in a good or a bad state.

    Chances are for each packet. The mean burst is `1 / leave` packets long.
    """

    enter: float
    leave: float
    loss: float = 1.0
    """Chance of loss in the bad state."""

    @classmethod
    def of(cls, loss: float, *, packets: float = 5.0) -> "Bursts":
        """Return bursts of so many packets on average, that lose `loss` of all."""
        leave = 1.0 / packets
        return cls(enter=leave * loss / (1.0 - loss), leave=leave)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One direction of a path. Delays in seconds, one way; chances from 0 to 1."""

    delay_s: float = 0.010
    jitter_s: float = 0.005
    """Added delay, with this mean (exponential) or median (lognormal): packets overtake others."""
    spread: Spread = Spread.EXPONENTIAL
    sigma: float = 0.8
    """Of the lognormal spread's logarithm."""
    loss: float = 0.0
    """Chance that a packet is lost, each for itself."""
    bursts: Bursts | None = None
    duplicates: float = 0.0
    reorders: float = 0.0
    """Chance that a packet is held back by `reorder_s`."""
    reorder_s: float = 0.05
    mtu: int = DATAGRAM_BYTES_MAX
    """Bytes above IP and UDP. A longer datagram goes in fragments, and is lost with one of them."""
    fragments: bool = True
    """Whether there are any: many paths drop them."""
    bytes_per_s: float = 125e6
    """For streams; datagrams are too small for it to matter."""


_EXPONENTIAL = Spread.EXPONENTIAL
"""Drawn for each packet; a member of an enum takes long to look up."""


def jitter_of(link: Link, rng: Random) -> float:
    """Return the added delay of one packet, seconds in whole microseconds."""
    if link.spread is _EXPONENTIAL:
        drawn = -log(1.0 - rng.random()) * link.jitter_s
    elif link.spread is Spread.LOGNORMAL:
        drawn = exp(rng.gauss(0.0, link.sigma)) * link.jitter_s
    else:
        drawn = 0.0
    if link.reorders and rng.random() < link.reorders:
        drawn += link.reorder_s
    return int(drawn * 1e6) / 1e6


@dataclass(slots=True)
class Routes:
    """Which link leads from one site to another. Sites are small numbers; 0 is everybody's."""

    default: Link = field(default_factory=Link)
    sites: dict[Address, int] = field(default_factory=dict)
    between: Mapping[tuple[int, int], Link] = field(default_factory=dict)
    """By (from, to), so that the two directions may differ."""
    of: Callable[[Address, Address], Link | None] | None = None
    """Asked first, where it is given: the link of one pair of addresses."""

    def link(self, source: Address, target: Address) -> Link:
        """Return the link of one direction."""
        if self.of is not None:
            own = self.of(source, target)
            if own is not None:
                return own
        if not self.between:
            return self.default
        sites = (self.sites.get(source, 0), self.sites.get(target, 0))
        return self.between.get(sites, self.default)


class Losses:
    """Which packets are lost; remembers which directions are in a burst."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._bad: set[tuple[Address, Address]] = set()

    def lost(self, link: Link, source: Address, target: Address, size: int) -> bool:
        """Return whether one packet is lost. Draws the same numbers whatever came of others."""
        if size <= link.mtu:
            if link.bursts is None:
                return self._rng.random() < link.loss
            return self._one(link, source, target)
        fragments = [self._one(link, source, target) for _ in range(-(-size // link.mtu))]
        return any(fragments) or not link.fragments

    def _one(self, link: Link, source: Address, target: Address) -> bool:
        lost = self._rng.random() < link.loss
        if link.bursts is None:
            return lost
        pair, bursts = (source, target), link.bursts
        moves, drops = self._rng.random(), self._rng.random()
        if pair in self._bad:
            if moves < bursts.leave:
                self._bad.discard(pair)
        elif moves < bursts.enter:
            self._bad.add(pair)
        return lost or (pair in self._bad and drops < bursts.loss)
