"""What one decision costs a node: 32 others in view, own requests in flight, records that come.

The baseline is the arithmetic alone: an exponential, a root and a comparison for each of 32.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from math import exp, sqrt
from types import SimpleNamespace

import trio

from meshnode.bench.rows import Row, interleaved
from meshnode.caps import Caps
from meshnode.gossip.member import Member, MemberState
from meshnode.ids import Address, Contact, PublicKey, tag_of
from meshnode.labels import NO_TRAITS
from meshnode.modules.manifest import Manifest
from meshnode.node.constraints import Bounds
from meshnode.node.load import LoadReporter
from meshnode.node.unfit import Unfit
from meshnode.node.view import CANDIDATES_MAX, View
from meshnode.placement.board import Scoreboard
from meshnode.placement.field import Pick
from meshnode.placement.observe import LoadMeter
from meshnode.wire.messages import LoadRecord
from tests.unit.placement.nodes import MODULE, record, request

ROUNDS, BUDGET_S = 60, 20.0
EACH = 500
"""Decisions a sample; a figure is the mean of them."""
PAYLOAD_BYTES = 9216
MANIFEST = Manifest(name="m", version="1.0.0", abi="infer", inputs=(), outputs=())


class Decider:
    """A node's view of 32 members, warm and measured everywhere."""

    def __init__(self, *, in_flight: int, every: int = 0) -> None:
        """So many own requests are unanswered; a record comes with each `every`th decision."""
        own = Contact(PublicKey(b"own".ljust(32, b"\0")), Address("10.0.0.1", 6174))
        self.board = Scoreboard()
        self.count = 0
        self.meter = LoadMeter(own.node_id, speed=100)
        load = LoadReporter(
            self.meter, held=lambda: (MODULE,), warm=lambda: (MODULE,), draining=lambda: False
        )
        self._learn(trio.current_time())
        self.records: list[LoadRecord] = []
        members = tuple(self._member(str(i)) for i in range(CANDIDATES_MAX))
        self.view = View(
            own=own,
            name="own",
            membership=SimpleNamespace(candidates=lambda *_: members),  # type: ignore[arg-type]
            board=self.board,
            library=SimpleNamespace(holds=lambda _: True),  # type: ignore[arg-type]
            load=load,
            unfit=Unfit(),
            bounds=Bounds(Caps.CPU, NO_TRAITS, lambda _: ()),
        )
        self.every = every
        for number in range(in_flight):
            made = self.pick()
            self.board.on_sent(
                made.best.node_id, request(number), MODULE, made.best, trio.current_time()
            )

    def pick(self) -> Pick:
        """Decide once."""
        made = self.view.pick(MODULE, MANIFEST, payload=PAYLOAD_BYTES, source="camera")
        assert made is not None
        return made

    def decide(self) -> None:
        """Decide as often as a sample has it."""
        self.refresh()
        for _ in range(EACH):
            self.count += 1
            if self.every and self.count % self.every == 0:
                said = self.records[self.count // self.every % CANDIDATES_MAX]
                self.board.on_record(replace(said), 1.0, trio.current_time(), judged=True)
            self.pick()

    def refresh(self) -> None:
        """Hear everybody again: whom nobody hears of for 4 s is no candidate."""
        now = trio.current_time()
        for said in self.records:
            self.board.on_record(said, 1.0, now, judged=True)

    def explain(self) -> None:
        """Decide with every reason, a tenth as often."""
        self.refresh()
        for _ in range(EACH // 10):
            self.view.decide(MODULE, MANIFEST, payload=PAYLOAD_BYTES, source="camera")

    def _learn(self, now: float) -> None:
        self.meter.enqueued(MODULE, now)
        self.meter.started(MODULE, 1, now)
        self.meter.finished(MODULE, 1, now + 0.05)

    def _member(self, name: str) -> Member:
        said = self._hear(name)
        key = PublicKey(name.encode().ljust(32, b"\0"))
        assert said.node == tag_of(Contact(key, Address("10.0.0.1", 6174)).node_id)
        return Member(
            contact=Contact(key, Address("10.0.0.1", 6174)),
            name=name,
            caps=Caps.CPU,
            incarnation=1,
            state=MemberState.ALIVE,
            changed_at=0.0,
            rtt_ms=1.0,
        )

    def _hear(self, name: str) -> LoadRecord:
        wait = 20.0 + int(name) * 3.0
        said = record(name, wait=wait, mean=wait, sigma=10.0, run=50.0)
        self.board.on_record(said, 1.0, trio.current_time())
        self.records.append(said)
        return said


def rows() -> Iterator[Row]:
    """Yield microseconds a decision, by what there is to reckon."""
    found: dict[str, list[float]] = {}
    trio.run(partial(_measure, found))
    base = Row(what="bare arithmetic for 32", unit="us", samples=found.pop("bare"))
    yield base
    for what, samples in found.items():
        yield Row(what=what, unit="us", samples=samples, baseline=base)


async def _measure(found: dict[str, list[float]]) -> None:
    quiet, busy = Decider(in_flight=0), Decider(in_flight=12, every=5)
    works: dict[str, Callable[[], None]] = {
        "bare": _bare,
        "32 candidates, quiet": quiet.decide,
        "32 candidates, 12 in flight, a record each 5th": busy.decide,
    }
    for what, samples in interleaved(
        works, rounds=ROUNDS, budget_s=BUDGET_S, per_s=1e6 / EACH
    ).items():
        found[what] = samples
    explained = interleaved(
        {"with every reason (choose)": busy.explain},
        rounds=ROUNDS,
        budget_s=BUDGET_S,
        per_s=1e6 / (EACH // 10),
    )
    found.update(explained)


def _bare() -> None:
    ages = [0.1 * i for i in range(CANDIDATES_MAX)]
    for _ in range(EACH):
        least = 1e9
        for age in ages:
            e = exp(-age / 200.0)
            score = 50.0 + 20.0 * e + 10.0 * sqrt(1.0 - e * e)
            least = min(least, score)
