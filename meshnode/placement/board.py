"""Scoreboard: what this node has heard and learnt of the others, as placement needs it.

Newest load records, own requests in flight, the learned bias, exclusions after failures, and the
last server of each source. Every change is one small call from the hall; nothing here decides.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from meshnode.ids import ContentHash, NodeId, NodeTag, RequestId, tag_of
from meshnode.placement.heard import HeardModules
from meshnode.placement.score import Score, queued_ms
from meshnode.placement.settings import PlacementSettings
from meshnode.wire.messages import LoadRecord, ModuleLoad


class Promise(Protocol):
    """What a request was sent with: `choose.Scored`, of which only the score matters here."""

    @property
    def score(self) -> Score:
        """The prediction at the moment of choice."""
        ...


@dataclass(slots=True)
class Sent:
    """One own request that is unanswered."""

    sent_at: float
    arrives_at: float
    module: NodeTag
    run_ms: float
    promised_ms: float
    rows: int


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A node that failed and is avoided: seconds since, seconds left."""

    failed_s: float
    left_s: float


class InFlight(NamedTuple):
    """The work of own requests at one node, in ms of c each (placement.md: u*c and o*c)."""

    unseen_ms: float
    open_ms: float


@dataclass(slots=True)
class Standing:
    """What is known of one node; the board alone changes it."""

    record: LoadRecord | None = None
    """The newest, with all modules that are known: never an excerpt."""
    written_at: float = 0.0
    heard: HeardModules = field(default_factory=HeardModules)
    by_module: dict[NodeTag, ModuleLoad] = field(default_factory=dict)
    sent: dict[RequestId, Sent] = field(default_factory=dict)
    bias_ms: float = 0.0
    """As of `bias_at`; see `bias`."""
    bias_at: float = 0.0
    failures: int = 0
    failed_at: float = 0.0
    excluded_until: float = 0.0

    def bias(self, now: float, settings: PlacementSettings) -> float:
        """Return how much longer than promised the node takes, as learned; may be negative."""
        if self.bias_ms == 0.0:
            return 0.0
        age_s = max(0.0, now - self.bias_at)
        return float(self.bias_ms * 0.5 ** (age_s / settings.bias_half_life_s))

    def in_flight(self, written_at: float, now: float, settings: PlacementSettings) -> InFlight:
        """Return the work of own requests there, and what of it a record cannot know.

        `written_at` is when the record in use was written. A request that arrives after that
        moment is unseen; one sent more than the horizon ago is taken as seen.
        """
        unseen_ms = open_ms = 0.0
        horizon = now - settings.horizon_s
        for sent in self.sent.values():
            known = self.by_module.get(sent.module)
            known_ms = queued_ms(known, sent.rows) if known is not None and known.unit else 0.0
            each_ms = known_ms or sent.run_ms
            open_ms += each_ms
            if sent.arrives_at >= written_at and sent.sent_at > horizon:
                unseen_ms += each_ms
        return InFlight(unseen_ms, open_ms)


class Scoreboard:
    """One node's memory of the others. Nodes are known by their tag, as load records name them."""

    def __init__(self, settings: PlacementSettings | None = None) -> None:
        self.settings = settings or PlacementSettings()
        self._standings: dict[NodeTag, Standing] = {}
        self._last_servers: OrderedDict[str, NodeTag] = OrderedDict()

    # ------------------------------------------------------------------ what the hall tells

    def on_record(
        self, record: LoadRecord, rtt_ms: float | None, now: float, *, judged: bool = False
    ) -> bool:
        """Keep a record if it is newer than the one held; return whether it was.

        `rtt_ms` is the round trip over which it came (None or 0: already in its age). With `judged`
        it replaces the one held: gossip has found that to be invented by somebody else. Of an
        excerpt that is not newer, what it says of single modules may still be.
        """
        standing = self._standing(record.node)
        held = standing.record
        written_at = now - record.age_ms / 1000 - (rtt_ms or 0.0) / 2000
        if held is not None and record.sequence < held.sequence and judged:
            standing.heard.disbelieve(record.sequence)
        newer = held is None or record.sequence > held.sequence or judged
        changed = standing.heard.hear(record, written_at)
        if not newer and not changed:
            return False
        if newer:
            held, standing.written_at = record, written_at
        assert held is not None, "a record is newer than none"
        modules = standing.heard.loads()
        if held.rest is not None or held.modules is not modules:
            held = replace(held, modules=modules, rest=None)
        standing.record = held
        standing.by_module = {m.module: m for m in modules}
        return newer

    def on_word(self, speaker: NodeId, said: LoadRecord, now: float) -> LoadRecord | None:
        """Keep what a node says in a call, by its name; return that if it was new.

        Of another it says nothing there: whoever is asked could paint a rival busy, or idle.
        """
        record = replace(said, node=tag_of(speaker))
        return record if self.on_record(record, None, now) else None

    def on_sent(
        self,
        node: NodeId,
        request: RequestId,
        module: ContentHash,
        made: Promise,
        now: float,
        *,
        rows: int = 1,
    ) -> None:
        """Count a request as in flight at `node` until `on_answer` or `on_gone`."""
        score = made.score
        self._standing(tag_of(node)).sent[request] = Sent(
            sent_at=now,
            arrives_at=now + (score.network_ms / 2 + score.transfer_ms) / 1000,
            module=tag_of(module),
            run_ms=score.run_ms,
            promised_ms=score.promised_ms,
            rows=rows,
        )

    def on_answer(
        self, node: NodeId, request: RequestId, source: str, observed_ms: float, now: float
    ) -> None:
        """An own request was answered (not refused) after `observed_ms`, cold start excluded."""
        tag = tag_of(node)
        standing = self._standing(tag)
        sent = standing.sent.pop(request, None)
        surprise_ms = 0.0
        if sent is not None:
            surprise_ms = observed_ms - sent.promised_ms
            bias_ms = standing.bias(now, self.settings)
            standing.bias_ms = bias_ms + self.settings.bias_gain * (surprise_ms - bias_ms)
            standing.bias_at = now
        if sent is None or surprise_ms <= self.settings.overdue_ms:
            # One that comes late does not restore a node that was avoided for being late.
            standing.failures = 0
            standing.excluded_until = 0.0
        if source:
            self._last_servers[source] = tag
            self._last_servers.move_to_end(source)
            while len(self._last_servers) > self.settings.sources_max:
                self._last_servers.popitem(last=False)

    def on_gone(self, node: NodeId, request: RequestId) -> None:
        """An own request ended without an answer (failed, refused or cancelled)."""
        self._standing(tag_of(node)).sent.pop(request, None)

    def on_failure(self, node: NodeId, now: float) -> None:
        """Avoid `node` for 3 s, twice as long with each failure in a row, at most 3 minutes.

        Failures while it is avoided already do not count again: they are requests that were on
        their way together.
        """
        standing = self._standing(tag_of(node))
        if now < standing.excluded_until:
            return
        doubled_s = self.settings.exclude_s_min * 2 ** min(standing.failures, 16)
        standing.failures += 1
        standing.failed_at = now
        standing.excluded_until = now + min(doubled_s, self.settings.exclude_s_max)

    def on_alive(self, node: NodeId) -> None:
        """A node that was avoided for its silence has spoken after all: it was only slow to."""
        standing = self._standing(tag_of(node))
        standing.failures = max(0, standing.failures - 1)
        standing.excluded_until = 0.0

    def on_broken(self, node: NodeId, request: RequestId, waited_ms: float, now: float) -> None:
        """A node lives but broke its promises for a request, which is taken back after `waited_ms`.

        Avoid it as after a failure, and hold against it that it takes at least so long: from then
        on it is ranked by what was measured and not by what it says.
        """
        standing = self._standing(tag_of(node))
        sent = standing.sent.pop(request, None)
        bias_ms = standing.bias(now, self.settings)
        surprise_ms = 0.0 if sent is None else waited_ms - sent.promised_ms
        if surprise_ms > bias_ms:
            standing.bias_ms = bias_ms + self.settings.broken_gain * (surprise_ms - bias_ms)
            standing.bias_at = now
        self.on_failure(node, now)

    def forget(self, node: NodeId) -> None:
        """Forget everything about a node (it is dead or left; if it returns it starts anew)."""
        self._standings.pop(tag_of(node), None)

    # ------------------------------------------------------------------ what a decision asks

    def record_of(self, node: NodeId, now: float) -> tuple[LoadRecord | None, float]:
        """Return the newest record of a node and its age in seconds; (None, 0.0) if none."""
        standing = self._standings.get(tag_of(node))
        if standing is None or standing.record is None:
            return None, 0.0
        age_s = max(0.0, now - standing.written_at)
        if age_s > self.settings.record_keep_s:
            return None, 0.0
        return standing.record, age_s

    def standing(self, tag: NodeTag) -> Standing | None:
        """Return what is known of a node, or None; to be read only."""
        return self._standings.get(tag)

    def records(self) -> Iterator[LoadRecord]:
        """Yield the newest record of each node."""
        return (s.record for s in self._standings.values() if s.record is not None)

    def known(self, tag: NodeTag) -> Standing:
        """Return what is known of a node, from now on too; to be read only."""
        return self._standing(tag)

    def bias_ms(self, node: NodeId, now: float) -> float:
        """Return how much longer than promised a node takes, as learned; may be negative."""
        standing = self._standings.get(tag_of(node))
        return 0.0 if standing is None else standing.bias(now, self.settings)

    def exclusion(self, node: NodeId, now: float) -> Exclusion | None:
        """Return why a node is avoided after a failure, or None if it is not."""
        standing = self._standings.get(tag_of(node))
        if standing is None or standing.excluded_until <= now:
            return None
        return Exclusion(now - standing.failed_at, standing.excluded_until - now)

    def last_server(self, source: str) -> NodeTag | None:
        """Return who served a source last, or None."""
        return self._last_servers.get(source) if source else None

    # ------------------------------------------------------------------ parts

    def _standing(self, tag: NodeTag) -> Standing:
        standing = self._standings.get(tag)
        if standing is None:
            if len(self._standings) >= self.settings.nodes_max:
                self._make_room()
            standing = self._standings[tag] = Standing()
        return standing

    def _make_room(self) -> None:
        """Forget the node whose record is oldest; those we wait for are kept."""
        idle = [tag for tag, standing in self._standings.items() if not standing.sent]
        if idle:
            del self._standings[min(idle, key=lambda tag: self._standings[tag].written_at)]
