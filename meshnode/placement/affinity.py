"""The order in which a module's requests try nodes, where its author asked for another than time.

`finish-time` keeps the order of `choose`. The others reorder the same scored candidates, so that
filters, explanations and failing over stay as they are:

- `source-hash`: a source's requests go to its home, found by rendezvous hashing (Thaler and
  Ravishankar 1998) weighted by capacity, as long as the home's queue is within a bound (Mirrokni,
  Thorup and Zadimoghaddam 2016). For modules that keep state for each source.
- `round-robin`: each in turn.
- `bandit`: Thompson sampling over the log of measured times; learns with no model at all.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from math import log, sqrt
from statistics import NormalDist
from typing import Protocol, TypeVar

from meshnode.ids import ContentHash, NodeId
from meshnode.machine import Random
from meshnode.placement.score import Score

BOUND = 1.25
"""c of bounded-load hashing: a home may be this much above the mean queue."""
LEAST_RUNS = 2
"""So many runs may wait at a home in any case: where little is to do the mean queue is less than a
request, and each that met another at home would go elsewhere."""
APART = 1.6
"""Times apart by more than this are another capacity: more than half a step of a power of two."""
MODULES_MAX = 256
ARMS_MAX = 4096
MEMORY = 0.98
"""Weight that older times keep with each new one: a bandit remembers about 50 answers."""
PRIOR_SIGMA = 1.0
"""Spread of the log of a time before any was measured: a factor of e either way."""

NORMAL = NormalDist()


class Affinity(Enum):
    """How a module's requests are spread."""

    FINISH_TIME = "finish-time"
    SOURCE_HASH = "source-hash"
    ROUND_ROBIN = "round-robin"
    BANDIT = "bandit"


class Ranked(Protocol):
    """A scored candidate."""

    @property
    def score(self) -> Score:
        """Its prediction."""
        ...

    @property
    def node_id(self) -> NodeId:
        """Whose it is."""
        ...


R = TypeVar("R", bound=Ranked)


class Capacities:
    """What each node is taken to be able to do, moved only by what is clearly no noise.

    A measured time near the edge between two powers of two would send a part of the node's sources
    to and fro: 5 % of frames were not at home for it.
    """

    def __init__(self) -> None:
        self._run_ms: OrderedDict[NodeId, float] = OrderedDict()

    def run_ms(self, node: NodeId, measured_ms: float) -> float:
        """Return the time to reckon with: the one before, unless it is off by half."""
        kept = self._run_ms.get(node)
        if kept is None or not kept / APART <= measured_ms <= kept * APART:
            kept = self._run_ms[node] = _stable_ms(measured_ms)
        self._run_ms.move_to_end(node)
        while len(self._run_ms) > ARMS_MAX:
            self._run_ms.popitem(last=False)
        return kept


def by_source(ranked: Sequence[R], source: str, capacities: Capacities | None = None) -> list[R]:
    """Return candidates with the source's home first, unless its queue is out of bounds.

    With `capacities`, which whoever places keeps, homes do not move by the noise of measuring.
    Those within bounds come in rendezvous order, so that a source whose home is full goes to the
    same second home each time; then the others, the soonest first.
    """
    if not ranked or not source:
        return list(ranked)
    mean_ms = sum(r.score.queue_ms for r in ranked) / len(ranked)
    within: list[R] = []
    beyond: list[R] = []
    for r in ranked:
        bound_ms = max(BOUND * mean_ms, LEAST_RUNS * r.score.run_ms)
        (within if r.score.queue_ms <= bound_ms else beyond).append(r)
    capacities = capacities or Capacities()

    def weight(r: R) -> float:
        return _weight(r, source, capacities.run_ms(r.node_id, r.score.run_ms))

    return sorted(within, key=lambda r: (-weight(r), r.node_id)) + beyond


def _weight(candidate: Ranked, source: str, run_ms: float) -> float:
    """Return a node's draw for a source: the highest wins, in proportion to its capacity.

    -capacity / ln(u) with u uniform in (0, 1): the logarithmic method of Schindelhauer and
    Schomaker 2005, by which a change of one node moves only the sources that it gains or loses.
    """
    return -1.0 / (max(0.1, run_ms) * log(_uniform(candidate.node_id + source.encode())))


def _uniform(drawn_from: bytes) -> float:
    """Return a number of (0, 1), never an end of it: 52 bits and a half are exact in a float."""
    digest = blake2b(drawn_from, digest_size=8).digest()
    return ((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52


def _stable_ms(run_ms: float) -> float:
    """Round a measured time to a power of two, so that its noise moves no source."""
    return float(2 ** round(log(max(run_ms, 0.1), 2)))


class Rotation:
    """Round robin: where each module's next request begins.

    Remembered is whose turn it was and not a count, so that who comes or goes moves nobody's turn.
    """

    def __init__(self) -> None:
        self._turns: OrderedDict[ContentHash, NodeId] = OrderedDict()

    def order(self, ranked: Sequence[R], module: ContentHash) -> list[R]:
        """Return candidates beginning with the next in turn, in the order of their ids."""
        if not ranked:
            return []
        ring = sorted(ranked, key=lambda r: r.node_id)
        before = self._turns.get(module, b"")
        first = next((i for i, r in enumerate(ring) if r.node_id > before), 0)
        self._turns[module] = ring[first].node_id
        self._turns.move_to_end(module)
        while len(self._turns) > MODULES_MAX:
            self._turns.popitem(last=False)
        return ring[first:] + ring[:first]


@dataclass(slots=True)
class _Arm:
    """What one node's answers for one module were like: moments of the log of their ms."""

    weight: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    def learn(self, took_ms: float) -> None:
        value = log(max(took_ms, 0.01))
        self.weight = self.weight * MEMORY + 1.0
        self.total = self.total * MEMORY + value
        self.squares = self.squares * MEMORY + value * value

    def draw(self, prior: float, uniform: float) -> float:
        """Return a plausible log of the node's mean time; `prior` counts as one answer.

        `uniform` of (0, 1) says how plausible: the quantile that is drawn.
        """
        weight = self.weight + 1.0
        mean = (self.total + prior) / weight
        spread = (self.squares + prior * prior + PRIOR_SIGMA**2) / weight - mean * mean
        return mean + NORMAL.inv_cdf(uniform) * sqrt(max(1e-6, spread) / weight)


class Bandit:
    """Thompson sampling: each request goes where a draw from what was learned is lowest."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._arms: OrderedDict[tuple[ContentHash, NodeId], _Arm] = OrderedDict()

    def order(self, ranked: Sequence[R], module: ContentHash) -> list[R]:
        """Return candidates by one draw for each; a node never tried is drawn from its prior.

        A node's draw depends on the request and the node alone, and not on who else is there.
        """
        request = self._rng.random().hex().encode()

        def drawn(r: R) -> tuple[float, NodeId]:
            arm = self._arms.get((module, r.node_id)) or _Arm()
            prior = log(max(r.score.run_ms + r.score.network_ms, 0.01))
            return arm.draw(prior, _uniform(r.node_id + request)), r.node_id

        return sorted(ranked, key=drawn)

    def learn(self, module: ContentHash, node: NodeId, took_ms: float) -> None:
        """An answer came after `took_ms`."""
        arm = self._arms.setdefault((module, node), _Arm())
        self._arms.move_to_end((module, node))
        arm.learn(took_ms)
        while len(self._arms) > ARMS_MAX:
            self._arms.popitem(last=False)
