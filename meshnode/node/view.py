"""View: the candidates of a request, from membership, load records and the library."""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from heapq import nsmallest

import trio

from meshnode.constraints import UNCONSTRAINED, Constraints
from meshnode.gossip.member import Member, MemberState
from meshnode.ids import Contact, ContentHash, NodeId, tag_of
from meshnode.modules.manifest import Manifest
from meshnode.node.constraints import Bounds, reason_of
from meshnode.node.library import Library
from meshnode.node.load import LoadReporter
from meshnode.node.measured import Measured
from meshnode.node.membership import Membership
from meshnode.node.unfit import Unfit
from meshnode.placement.board import Scoreboard
from meshnode.placement.candidate import Candidate
from meshnode.placement.choose import Decision, choose, unfitness
from meshnode.placement.field import Field, Pick
from meshnode.placement.told import Told
from meshnode.wire.messages import LoadRecord

SUSPECT = "suspect: it does not answer probes"
BEYOND = "beyond the nodes that this one looks at"
FIELD_S = 0.25
"""A module's field of candidates is kept so long: round trips and members change that slowly."""
FIELDS_MAX = 64
UNITS_PER_MS = 10
CANDIDATES_MAX = 32
"""placement.md section 9: a wider view gains nothing, and a decision costs by its width."""


class View:
    """What placement sees of the mesh at one moment."""

    def __init__(
        self,
        *,
        own: Contact,
        name: str,
        membership: Membership,
        board: Scoreboard,
        library: Library,
        load: LoadReporter,
        unfit: Unfit,
        bounds: Bounds,
    ) -> None:
        self._own = own
        self._name = name
        self._membership = membership
        self._board = board
        self._library = library
        self._load = load
        self._unfit = unfit
        self._bounds = bounds
        self._told = Told()
        self.measured = Measured()
        """What own requests taught; whoever sends them tells."""
        self._fields: OrderedDict[tuple[ContentHash, Constraints], tuple[float, Field]] = (
            OrderedDict()
        )

    def own_word(self, about: ContentHash | None) -> LoadRecord:
        """Return what this node says of its load in a call, with one module told; None: none."""
        return self._load.word(about)

    def word_to(self, node_id: NodeId) -> LoadRecord | None:
        """Return what a request to a node says of this node's load; None: it was told just now."""
        return self._load.word(None) if self._told.is_due(node_id, trio.current_time()) else None

    def forget_fields(self) -> None:
        """Look at all candidates anew: a member came, went, or is in doubt."""
        self._fields.clear()

    def pick(
        self,
        module: ContentHash,
        manifest: Manifest,
        *,
        payload: int,
        source: str,
        asked: Constraints = UNCONSTRAINED,
        rows: int = 1,
    ) -> Pick | None:
        """Return what `decide` would put first, in one quick pass; None: only `decide` can say."""
        now = trio.current_time()
        kept = self._fields.get((module, asked))
        if kept is None or kept[0] <= now:
            kept = now + FIELD_S, self._field(module, manifest, asked, now)
            self._fields[module, asked] = kept
            self._fields.move_to_end((module, asked))
            while len(self._fields) > FIELDS_MAX:
                self._fields.popitem(last=False)
        return kept[1].pick(
            payload_bytes=self.measured.carried_bytes(module, payload),
            source=source,
            now=now,
            own=self._load.recent(),
            run_factor=self.measured.factor(module, payload),
            rows=rows,
        )

    def decide(
        self,
        module: ContentHash,
        manifest: Manifest,
        *,
        payload: int,
        source: str,
        without: Collection[NodeId] = (),
        suspects: bool = True,
        asked: Constraints = UNCONSTRAINED,
        rows: int = 1,
    ) -> Decision:
        """Rank the live candidates; those in `without` were tried for this request already.

        A suspect may only be busy, so it is asked when nobody else can do the work (`suspects`).
        """
        now = trio.current_time()
        candidates = self._candidates(module, manifest, asked, now)
        if without:
            candidates = [c for c in candidates if c.contact.node_id not in without]
        factor = self.measured.factor(module, payload)
        if factor != 1.0 or rows != 1:
            candidates = [replace(c, run_factor=factor, rows=rows) for c in candidates]
        decide = partial(
            choose,
            board=self._board,
            module=module,
            required=manifest.required,
            payload_bytes=self.measured.carried_bytes(module, payload),
            source=source,
            now=now,
            module_bytes=sum(m.size for m in manifest.models),
        )
        decision = decide(candidates)
        if suspects and not decision.ranked and any(c.unfit == SUSPECT for c in candidates):
            doubted = [replace(c, unfit="") if c.unfit == SUSPECT else c for c in candidates]
            decision = decide(doubted)
        return decision

    def reasons(
        self,
        decision: Decision,
        manifest: Manifest,
        asked: Constraints,
        *,
        without: Collection[NodeId] = (),
    ) -> list[tuple[str, str]]:
        """Return why each node of the mesh but those in `without` was passed over, by name."""
        wanted = asked.joined(manifest.constraints)
        told = {c.contact.node_id: (c.name, reason) for c, reason in decision.excluded}
        passed = {*without, *(s.node_id for s in decision.ranked)}
        for m in self._membership.members():
            if m.contact.node_id in passed:
                continue
            reason = _unfit(m) or reason_of(self._bounds, m, manifest, wanted)
            told.setdefault(m.contact.node_id, (m.name, reason or BEYOND))
        return list(told.values())

    def _candidates(
        self, module: ContentHash, manifest: Manifest, asked: Constraints, now: float
    ) -> list[Candidate]:
        wanted = asked.joined(manifest.constraints)
        labels = self._bounds.labels_elsewhere(wanted)
        judged = [
            (self._bounds.reason(m, manifest, wanted), m)
            for m in self._membership.candidates(module, manifest.required, labels)
        ]
        near = nsmallest(CANDIDATES_MAX, judged, key=lambda j: (bool(j[0]), *_nearness(j[1])))
        others = [self._candidate(m, module, now, reason) for reason, m in near]
        own_reason = self._bounds.own_reason(manifest, wanted)
        return [self._own_candidate(module, now, own_reason), *others]

    def _field(
        self, module: ContentHash, manifest: Manifest, asked: Constraints, now: float
    ) -> Field:
        needed, age_s_max = int(manifest.required), self._board.settings.record_age_s_max
        candidates = self._candidates(module, manifest, asked, now)
        return Field(
            [c for c in candidates if not c.policy and not unfitness(c, needed, age_s_max)],
            board=self._board,
            module=module,
            module_bytes=sum(m.size for m in manifest.models),
        )

    def _own_candidate(self, module: ContentHash, now: float, unfit: str) -> Candidate:
        return Candidate(
            contact=self._own,
            name=self._name,
            caps=self._bounds.caps,
            rtt_ms=self.measured.paths.rtt_of(self._own.node_id),
            bytes_per_ms=self.measured.rate_of(self._own.node_id),
            load=self._load.record(),
            load_age_s=0.0,
            holds=self._library.holds(module),
            is_self=True,
            unfit=unfit,
            policy=self._unfit.reason(module, now),
        )

    def _candidate(self, member: Member, module: ContentHash, now: float, unfit: str) -> Candidate:
        record, age_s = self._board.record_of(member.contact.node_id, now)
        if record is None:
            record = self._glimpsed(member)
        tag, paths = tag_of(module), self.measured.paths
        called_ms = paths.rtt_of(member.contact.node_id)
        return Candidate(
            contact=member.contact,
            name=member.name,
            caps=member.caps,
            rtt_ms=member.rtt_ms if called_ms is None else called_ms,
            load=record,
            load_age_s=age_s,
            holds=record is not None and any(m.module == tag for m in record.modules),
            is_self=False,
            bytes_per_ms=paths.rate_of(member.contact.node_id),
            unfit=unfit or _unfit(member) if member.state.present else _unfit(member),
        )

    def _glimpsed(self, member: Member) -> LoadRecord | None:
        """Return the record that a glimpse amounts to: enough to ask a member the first time."""
        glimpse = self._membership.glimpse(member.contact.node_id)
        if glimpse is None:
            return None
        wait = glimpse.wait_ms * UNITS_PER_MS
        return LoadRecord(
            node=member.tag,
            sequence=0,
            age_ms=0,
            wait=wait,
            wait_mean=wait,
            wait_sigma=0,
            in_flight=0,
            draining=glimpse.draining,
            speed=glimpse.speed,
        )


def _nearness(member: Member) -> tuple[bool, float]:
    """Order members for the view: the live and near first."""
    return member.state is not MemberState.ALIVE, member.rtt_ms if member.rtt_ms else 1e9


def _unfit(member: Member) -> str:
    """Return why a member cannot be given work because of its state, or an empty string."""
    match member.state:
        case MemberState.ALIVE:
            return ""
        case MemberState.SUSPECT:
            return SUSPECT
        case MemberState.DEAD:
            return "dead"
        case MemberState.LEFT:
            return "left the mesh"
