"""Fetching a blob in verified pieces from several providers: what to ask whom next.

The rules (network.md (e), BEP 3's endgame with a bound):

- One provider answers for one piece, so blame is exact: one bad piece and that provider is out.
- Each provider has 2 to 4 pieces in flight, more the faster it answered so far; the providers are
  served in turns, so that none is left idle and none carries all.
- The rarest piece first, among equally rare ones the earliest.
- An ask that is overdue is given to another provider; three in a row and the provider is out.
- Endgame: when every missing piece is asked, an idle provider asks once more for a piece that is
  late by its own measure; never more than two requesters for one piece. The last piece on the
  slowest provider is the pain of every swarm.

No clock and no I/O: every verb takes `now` in seconds. `node/fetching.py` is its hands.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import inf

from meshnode.ids import NodeId, short
from meshnode.modules.tree import (
    PieceLayer,
    check_layer,
    layer_of,
    piece_bytes,
    piece_hashes,
    root_of,
)
from meshnode.wire.tensor import Buffer

__all__ = ["Ask", "PieceLayer", "PiecePlan", "check_layer", "layer_of", "piece_hashes", "root_of"]

IN_FLIGHT_MIN = 2
"""One being sent while the next is asked for."""
IN_FLIGHT_MAX = 4
"""1 MiB a provider: enough for 100 MB/s at 10 ms of round trip."""
QUICK_S = 0.02
"""A provider that takes less than this for a piece is given the most in flight."""
STEADY_S = 0.1
TIMEOUT_UNKNOWN_S = 5.0
TIMEOUT_S_MIN = 1.0
TIMEOUT_S_MAX = 15.0
TIMEOUT_FACTOR = 8.0
"""Overdue is what takes this many times as long as the provider took on average."""
STRIKES_MAX = 3
LATE_FACTOR = 2.0
"""In the endgame a piece is late after this many times the idle provider's own piece time."""
LATE_UNKNOWN_S = 0.5
REQUESTERS_MAX = 2
RARITY_WINDOW = 64
"""Rarity is compared among so many free pieces, so that a plan of 8,192 stays quick."""
_SMOOTHING = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Ask this provider for this piece."""

    provider: NodeId
    index: int
    timeout_s: float
    """After so long the plan gives the piece to somebody else."""


@dataclass(slots=True)
class _Provider:
    """What is known of one provider."""

    has: frozenset[int] | None
    """Its pieces; None means all."""
    asked: dict[int, float] = field(default_factory=dict)
    """When each piece in flight was asked for."""
    piece_s: float | None = None
    """Smoothed seconds from ask to piece; None before the first."""
    strikes: int = 0
    bytes: int = 0
    refused: set[int] = field(default_factory=set)
    """Pieces it could not give; not asked there again."""
    out: str = ""
    """Why it is not asked any more; empty while it is."""

    @property
    def in_flight_max(self) -> int:
        if self.piece_s is None or self.strikes:
            return IN_FLIGHT_MIN
        if self.piece_s <= QUICK_S:
            return IN_FLIGHT_MAX
        return IN_FLIGHT_MIN + (self.piece_s <= STEADY_S)

    @property
    def timeout_s(self) -> float:
        if self.piece_s is None:
            return TIMEOUT_UNKNOWN_S
        return min(max(self.piece_s * TIMEOUT_FACTOR, TIMEOUT_S_MIN), TIMEOUT_S_MAX)

    @property
    def late_s(self) -> float:
        return LATE_UNKNOWN_S if self.piece_s is None else self.piece_s * LATE_FACTOR

    def may_give(self, index: int) -> bool:
        return (
            not self.out
            and index not in self.refused
            and index not in self.asked
            and (self.has is None or index in self.has)
        )


class PiecePlan:
    """Which pieces are missing, asked of whom, and held."""

    def __init__(self, layer: PieceLayer, *, have: Iterable[int] = (), now: float = 0.0) -> None:
        """Plan for the pieces that are not in `have`."""
        del now  # every machine is told the time; this one starts counting at its first ask
        self._layer = layer
        self._missing = set(range(len(layer.hashes))) - set(have)
        self._free = set(self._missing)
        self._cursor = 0
        self._unwritten: set[int] = set()
        self._providers: dict[NodeId, _Provider] = {}
        self._turn = 0

    # ------------------------------------------------------------------ providers

    def add_provider(self, provider: NodeId, has: Iterable[int] | None = None) -> None:
        """Ask this provider too, for all pieces or those it `has`. One that is out stays out."""
        known = self._providers.get(provider)
        if known is None:
            self._providers[provider] = _Provider(None if has is None else frozenset(has))
        elif has is not None and known.has is not None:
            known.has |= frozenset(has)

    def drop_provider(self, provider: NodeId, reason: str) -> None:
        """Stop asking a provider: its connection broke, or it left. What it was asked is free."""
        known = self._providers.get(provider)
        if known is not None:
            known.out = known.out or reason
            self._release(known, list(known.asked))

    # ------------------------------------------------------------------ what to do

    def next_asks(self, now: float) -> list[Ask]:
        """Return what to ask now; each is in flight until its answer, failure or timeout."""
        self.tick(now)
        asks: list[Ask] = []
        while (ask := self._next_ask(now)) is not None:
            asks.append(ask)
        return asks

    def tick(self, now: float) -> None:
        """Give overdue pieces free. Calling it early or twice is harmless."""
        for provider in list(self._providers.values()):
            overdue = [
                i for i, at in list(provider.asked.items()) if now >= at + provider.timeout_s
            ]
            if overdue:
                self._release(provider, overdue)
                self._strike(provider, "did not answer in time")

    def next_timer(self) -> float | None:
        """Return when `next_asks` may have something new without an event, or None."""
        due = [at + p.timeout_s for p in self._live() for at in list(p.asked.values())]
        late = [self._late_at(p, i) for p in self._idle() for i in self._doublable(p)]
        return min(due + late, default=None)

    # ------------------------------------------------------------------ what happened

    def fits(self, index: int, data: Buffer) -> bool:
        """Return whether `data` is this piece. Pure, so it can be asked in a worker thread."""
        return self._layer.fits(index, data)

    def on_piece(self, provider: NodeId, index: int, data: Buffer, now: float) -> bool:
        """Take an answer; True if it is to be written, which `on_written` then reports.

        False for a piece that came already, and for a bad one, whose provider is out. A good
        piece that comes after its timeout is welcome.
        """
        known = self._providers.get(provider)
        if known is None:
            return False
        good = self._layer.fits(index, data)
        asked_at = known.asked.get(index)
        self._release(known, [index])
        if not good:
            self.drop_provider(provider, f"sent a bad piece ({index})")
            return False
        known.strikes = 0
        if asked_at is not None:
            took = max(now - asked_at, 0.0)
            before = took if known.piece_s is None else known.piece_s
            known.piece_s = before + _SMOOTHING * (took - before)
        if index not in self._missing:
            return False
        self._unwritten.add(index)
        self._missing.discard(index)
        self._free.discard(index)
        known.bytes += len(data)
        return True

    def on_written(self, index: int) -> None:
        """The piece is on disk."""
        self._unwritten.discard(index)

    def on_failure(self, provider: NodeId, index: int, reason: str, now: float) -> None:
        """A provider refused or its connection broke: that piece is asked elsewhere."""
        known = self._providers.get(provider)
        if known is not None and not known.out:
            known.refused.add(index)
            self._release(known, [index])
            self._strike(known, reason)

    # ------------------------------------------------------------------ where it stands

    @property
    def finished(self) -> bool:
        """Whether every piece is here and written."""
        return not self._missing and not self._unwritten

    @property
    def missing(self) -> int:
        """How many pieces are still to come."""
        return len(self._missing)

    @property
    def stalled(self) -> bool:
        """Whether pieces are missing, none is in flight, and nobody is left to ask for them."""
        if not self._missing or any(p.asked for p in self._live()):
            return False
        return not any(p.may_give(i) for p in self._live() for i in self._missing)

    def bytes_from(self) -> dict[NodeId, int]:
        """Return how many bytes of the blob each provider gave; each byte counts once."""
        return {node: p.bytes for node, p in self._providers.items() if p.bytes}

    def blames(self) -> list[str]:
        """Return why each provider that is out is out, for people."""
        return [f"{short(node)}: {p.out}" for node, p in self._providers.items() if p.out]

    @property
    def bytes_per_s(self) -> float:
        """Smoothed rate of all providers together; 0 before the first piece."""
        size = piece_bytes(self._layer.size, 0) if self._layer.hashes else 0
        return sum(size * max(len(p.asked), 1) / p.piece_s for p in self._live() if p.piece_s)

    # ------------------------------------------------------------------ parts

    def _next_ask(self, now: float) -> Ask | None:
        """Return one more ask, the providers taking turns, or None."""
        nodes = [n for n, p in list(self._providers.items()) if not p.out]
        for step in range(len(nodes)):
            node = nodes[(self._turn + step) % len(nodes)]
            provider = self._providers[node]
            if len(provider.asked) >= provider.in_flight_max:
                continue
            index = self._pick(provider, now)
            if index is not None:
                self._turn = (self._turn + step + 1) % len(nodes)
                provider.asked[index] = now
                self._free.discard(index)
                return Ask(provider=node, index=index, timeout_s=provider.timeout_s)
        return None

    def _pick(self, provider: _Provider, now: float) -> int | None:
        """Return the piece to ask of this provider next, or None."""
        free = self._free_for(provider)
        if free:
            return min(free, key=lambda i: (self._holders(i), i)) if len(free) > 1 else free[0]
        if provider.asked:
            return None
        late = [i for i in self._doublable(provider) if now >= self._late_at(provider, i)]
        return min(late, default=None)

    def _free_for(self, provider: _Provider) -> list[int]:
        """Return the first free pieces that this provider may be asked for.

        One is enough while every provider has everything; else rarity is judged over a window.
        """
        count = len(self._layer.hashes)
        while self._cursor < count and self._cursor not in self._free:
            self._cursor += 1
        window = RARITY_WINDOW if any(p.has is not None for p in self._live()) else 1
        fitting = (
            i for i in range(self._cursor, count) if i in self._free and provider.may_give(i)
        )
        return list(islice(fitting, window))

    def _requesters(self) -> dict[int, int]:
        """Return how many providers each piece in flight is asked of."""
        counts: dict[int, int] = {}
        for provider in self._live():
            for index in list(provider.asked):
                counts[index] = counts.get(index, 0) + 1
        return counts

    def _holders(self, index: int) -> int:
        return sum(p.has is None or index in p.has for p in self._live())

    def _doublable(self, provider: _Provider) -> list[int]:
        """Return the missing pieces that one other provider was asked for and this one has."""
        asked = self._requesters()
        return [
            i
            for i in list(self._missing)
            if 0 < asked.get(i, 0) < REQUESTERS_MAX and provider.may_give(i)
        ]

    def _late_at(self, provider: _Provider, index: int) -> float:
        """Return when a piece in flight elsewhere counts as late for this idle provider."""
        asked_at = min((p.asked[index] for p in self._live() if index in p.asked), default=inf)
        return asked_at + provider.late_s

    def _live(self) -> Sequence[_Provider]:
        return [p for p in list(self._providers.values()) if not p.out]

    def _idle(self) -> Sequence[_Provider]:
        return [p for p in self._live() if not p.asked]

    def _strike(self, provider: _Provider, reason: str) -> None:
        provider.strikes += 1
        if provider.strikes >= STRIKES_MAX:
            provider.out = f"{reason} ({STRIKES_MAX} times in a row)"
            self._release(provider, list(provider.asked))

    def _release(self, provider: _Provider, indices: Iterable[int]) -> None:
        """Take pieces off a provider's account; those that nobody else is asked for are free."""
        for index in indices:
            provider.asked.pop(index, None)
            if index in self._missing and not any(index in p.asked for p in self._live()):
                self._free.add(index)
                self._cursor = min(self._cursor, index)
