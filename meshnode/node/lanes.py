"""Lanes: the warm modules of this node. Opening one is the cold start: fetch, compile, init, test.

Makes room when it must: idle lanes go, least recently used first; pinned ones stay. Lanes that
nobody used for long are closed too, so that an idle node gives its memory back.
"""

import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import trio

from meshnode.batching.crowd import Crowd
from meshnode.batching.fairness import Shares
from meshnode.batching.returning import Promises
from meshnode.batching.settings import BatchingSettings
from meshnode.errors import CannotRunHere, ColdHere, NodeStopping, Overloaded, SelfTestFailed
from meshnode.ids import ContentHash, NodeTag, short
from meshnode.modules.manifest import Manifest
from meshnode.node.lane import Lane, LaneParts
from meshnode.node.library import Library
from meshnode.node.pretence import REAL, Pretence
from meshnode.node.queued import in_ms
from meshnode.node.turns import Turns
from meshnode.node.unfit import Unfit
from meshnode.node.worker import LANE, Worker
from meshnode.placement.gate import ColdGate
from meshnode.placement.idle import Offer, given_up
from meshnode.placement.observe import LoadMeter
from meshnode.placement.settings import PlacementSettings
from meshnode.runtime.runtime import LoadedModule, Runtime

_log = logging.getLogger(__name__)
LOAD_GAIN = 0.3
"""How fast what a load is expected to take follows what loads took."""
IDLE_CHECK_S_MAX = 10.0
"""How often lanes are looked at, at most; a tenth of the idle time if that is less."""


LINEAR_BYTES_MAX = 4096 << 20
"""What 32-bit addresses reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanesBudget:
    """What warm modules may take of this device."""

    instances_max: int
    memory_bytes_max: int
    linear_bytes_max: int = LINEAR_BYTES_MAX
    """Linear memory of one instance."""
    idle_s_max: float = 0.0
    """Lanes unused for longer are closed; 0 keeps them."""
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)


class Lanes:
    """The lanes of this node."""

    def __init__(
        self,
        library: Library,
        runtime: Runtime,
        meter: LoadMeter,
        *,
        nursery: trio.Nursery,
        settings: BatchingSettings,
        budget: LanesBudget,
        unfit: Unfit,
        pretence: Pretence = REAL,
    ) -> None:
        self._meter = meter
        self._nursery = nursery
        self._budget = budget
        self._unfit = unfit
        shares, crowd = Shares(), Crowd()
        self._parts = LaneParts(
            meter=meter,
            turns=Turns(budget.cores, shares, lambda: crowd.is_too_much(trio.current_time())),
            nursery=nursery,
            pretence=pretence,
            shares=shares,
            crowd=crowd,
            promises=Promises(),
            note_came=self._note_came,
            note_finished=self._note_finished,
        )
        self._library = library
        self._runtime = runtime
        self._settings = settings
        self._open: OrderedDict[ContentHash, Lane] = OrderedDict()
        self._scopes: dict[ContentHash, trio.CancelScope] = {}
        self._opening: dict[ContentHash, trio.Event] = {}
        self._closing: list[trio.Event] = []
        """Set when a lane that was closed is gone."""
        self._pinned: set[ContentHash] = set()
        self._finished = trio.Event()
        self._stopping = False
        self._gate = ColdGate()
        self._loading: set[ContentHash] = set()
        self._load_ms = PlacementSettings().load_ms
        """What a load takes here, as far as it was seen."""
        self.on_work: Callable[[bool], None] = lambda busy: None
        """Called with True when a request comes, with False when nothing waits or runs."""

    @property
    def warm(self) -> tuple[ContentHash, ...]:
        """The modules that are ready to run, least recently used first."""
        return tuple(self._open)

    @property
    def ready(self) -> tuple[ContentHash, ...]:
        """The warm ones, and those that are being loaded: that wait is in the load record."""
        return (*self._open, *self._loading) if self._loading else tuple(self._open)

    @property
    def memory_bytes(self) -> int:
        """What all instances together hold."""
        return sum(lane.memory_bytes for lane in self._open.values())

    @property
    def busy(self) -> bool:
        """Whether any lane has work."""
        return any(not lane.idle for lane in self._open.values())

    def give_up(self, offers: dict[NodeTag, Offer], way_ms: float, caller: NodeTag) -> int:
        """Refuse, in an idle caller's name, what gains by it; return how many. See `given_up`."""
        now = trio.current_time()
        given = 0
        for lane in self._open.values():
            for ticket in given_up(lane.queue(now), offers, way_ms, PlacementSettings()):
                lane.give_up(ticket, caller)
                given += 1
        return given

    async def wait_idle(self) -> None:
        """Wait until no lane has work; with `stop_taking` before it, the end of a drain."""
        while self.busy:
            self._finished = trio.Event()
            await self._finished.wait()

    def stop_taking(self) -> None:
        """Refuse new requests from now on; what is queued is finished."""
        self._stopping = True

    async def get(
        self, module: ContentHash, *, cold_refusals: int | None = None, pinned: bool = False
    ) -> tuple[Lane, int]:
        """Return the module's lane and how long opening it took (us, 0 if it was warm).

        Several callers share one cold start; if it fails, each gets the reason. A request that
        would begin one says how often it was refused that (`cold_refusals`): raises ColdHere if
        another module was loaded just now, or this node has work and the module is not `pinned`
        to it. None: it is not a request, and has its way.
        """
        if self._stopping:
            raise NodeStopping("this node is stopping")
        cold_from: float | None = None
        while (lane := self._open.get(module)) is None:
            cold_from = trio.current_time() if cold_from is None else cold_from
            opening = self._opening.get(module)
            if opening is not None:
                await opening.wait()
                continue
            self._unfit.check(module, cold_from)
            if cold_refusals is not None:
                self._check_gate(cold_refusals, cold_from, busy=self.busy and not pinned)
            self._opening[module] = trio.Event()
            self._gate.began(cold_from)
            try:
                lane = await self._cold_start(module)
            finally:
                self._gate.ended()
                self._opening.pop(module).set()
        self._open.move_to_end(module)
        return lane, 0 if cold_from is None else round((trio.current_time() - cold_from) * 1e6)

    def consider(self, module: ContentHash, cold_refusals: int) -> Lane | None:
        """Return the module's lane if it is warm; raise what `get` would if a load had to begin."""
        if self._stopping:
            raise NodeStopping("this node is stopping")
        lane = self._open.get(module)
        if lane is None and module not in self._opening:
            now = trio.current_time()
            self._unfit.check(module, now)
            self._check_gate(cold_refusals, now, busy=self.busy)
        return lane

    def _check_gate(self, cold_refusals: int, now: float, *, busy: bool) -> None:
        wait_s = self._gate.refusal_s(cold_refusals, now, busy=busy)
        if wait_s is not None:
            error = ColdHere(
                "the module is not loaded here, and others run or were loaded just now"
            )
            error.retry_after_ms = in_ms(wait_s)
            raise error

    def pin(self, module: ContentHash) -> None:
        """Never close this module's lane to make room."""
        self._pinned.add(module)

    def unpin(self, module: ContentHash) -> None:
        """Let the lane be closed again like any other."""
        self._pinned.discard(module)

    def close(self, module: ContentHash) -> None:
        """Let go of a module that may not run here any more; what is queued for it fails."""
        if module in self._open:
            self._close(module)

    async def close_all(self) -> None:
        """Let go of every instance and wait until it is gone; nothing may be queued any more.

        Else a thread would still be inside onnxruntime when the interpreter ends, which aborts.
        """
        for module in list(self._open):
            self._close(module)
        for gone in self._closing:
            await gone.wait()

    async def unload_idle(self) -> None:
        """Close lanes that nobody used for `idle_s_max`, until cancelled.

        And idle ones, least recently used first, while those that grew take more than the budget.
        """
        idle_s_max = self._budget.idle_s_max or inf
        while True:
            await trio.sleep(min(IDLE_CHECK_S_MAX, idle_s_max / 10))
            for module, lane in list(self._open.items()):
                unused_s = trio.current_time() - lane.used_at
                over = self.memory_bytes > self._budget.memory_bytes_max
                if lane.idle and module not in self._pinned and (over or unused_s > idle_s_max):
                    self._close(module)

    async def _cold_start(self, module: ContentHash) -> Lane:
        present = await self._library.ensure(module)
        manifest = present.info.manifest
        self._make_room(self._foreseen_bytes(manifest), more=1)
        worker = Worker(LANE + short(module))
        began = trio.current_time()
        # Compiling keeps every core, so what comes meanwhile waits for it, whatever its module.
        self._meter.load_began(module, self._load_ms, began)
        self._loading.add(module)
        try:
            loaded = await worker.run(
                lambda: self._runtime.load(present.wasm, manifest, present.models)
            )
        except BaseException as error:
            worker.stop()
            if isinstance(error, SelfTestFailed):
                self._unfit.note(module, error, trio.current_time())
            raise
        finally:
            self._loading.discard(module)
            self._meter.load_ended(module, trio.current_time())
        took_ms = (trio.current_time() - began) * 1000
        self._load_ms += LOAD_GAIN * (took_ms - self._load_ms)
        return self._opened(module, loaded, worker, present.info.label)

    def _opened(
        self, module: ContentHash, loaded: LoadedModule, worker: Worker, label: str
    ) -> Lane:
        """Put a loaded module into service, if what it really takes fits."""
        try:
            self._make_room(loaded.memory_bytes, more=1)
        except BaseException:
            worker.submit(loaded.close, lambda _: None)
            worker.stop()
            raise
        lane = Lane(module, loaded, worker, self._parts, self._settings)
        self._open[module] = lane
        scope = self._scopes[module] = trio.CancelScope()
        self._nursery.start_soon(self._serve, lane, scope)
        _log.info("module %s is warm", label)
        return lane

    def _note_came(self) -> None:
        self.on_work(True)

    def _note_finished(self) -> None:
        self._finished.set()
        if not self.busy:
            self.on_work(False)

    async def _serve(self, lane: Lane, scope: trio.CancelScope) -> None:
        with scope:
            await lane.run()

    def _foreseen_bytes(self, manifest: Manifest) -> int:
        """Return what a module may come to take: its memory's limit, and its models."""
        need, linear = manifest.need_bytes, manifest.limits.memory_bytes
        if linear > self._budget.linear_bytes_max:
            raise CannotRunHere(
                f"an instance of the module may use {linear >> 10} KiB, this node gives one "
                f"{self._budget.linear_bytes_max >> 10} KiB",
                try_="raise policy.max_memory in node.toml",
            )
        if need > self._budget.memory_bytes_max:
            raise CannotRunHere(
                f"the module may use {need >> 20} MiB, this node gives modules "
                f"{self._budget.memory_bytes_max >> 20} MiB in all",
                try_="raise budget.memory in node.toml",
            )
        return need

    def _make_room(self, need: int, *, more: int) -> None:
        """Close idle lanes, least recently used first, until `more` of `need` bytes fit.

        Raises Overloaded if too many are busy or pinned.
        """
        for module in [m for m in self._open if m not in self._pinned]:
            if self._fits(need, more):
                return
            if self._open[module].idle:
                self._close(module)
        if len(self._open) + more > self._budget.instances_max:
            raise Overloaded(
                f"all {self._budget.instances_max} module instances of this node are busy"
            )
        if not self._fits(need, more):
            raise Overloaded(
                f"the modules that are warm here leave no {need >> 20} MiB",
                because=[f"budget.memory is {self._budget.memory_bytes_max >> 20} MiB"],
            )

    def _fits(self, need: int, more: int) -> bool:
        return (
            len(self._open) + more <= self._budget.instances_max
            and self.memory_bytes + need <= self._budget.memory_bytes_max
        )

    def _close(self, module: ContentHash) -> None:
        lane = self._open.pop(module)
        self._scopes.pop(module).cancel()
        self._closing = [gone for gone in self._closing if not gone.is_set()]
        self._closing.append(lane.close())
        self._meter.forget(module)
        _log.info("module %s is cold again", short(module))
