"""Pins: the modules that a node keeps at hand: fetched at once, warm, renewed, evicted last.

Each pin has a task of its own. What lies on disk is loaded first, so that a node that starts with
no mesh around serves what it has; then it looks for the newest version, now and again, and holds
the old one warm until the new one is. Loads pass the cold gate like those of requests: a mesh of
cold nodes with many pins must not do nothing but load.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from meshnode.errors import ColdHere, MeshnodeError, StoreError, UsageError
from meshnode.ids import ContentHash
from meshnode.modules.names import newest, parse_reference
from meshnode.node.catalog import Catalog
from meshnode.node.lanes import Lanes
from meshnode.node.library import Library, ModuleInfo, weights_of
from meshnode.node.memory import PINS_MAX, recall_pins, remember_pins
from meshnode.storage.blobs import BlobStore

if TYPE_CHECKING:
    from meshnode.node.building import Building

_log = logging.getLogger(__name__)
LOOK_EVERY_S = 30.0
"""A pin that is satisfied looks so often for a newer version; a module that comes here is seen at
once."""
RETRY_S = 5.0
"""One that is not satisfied tries again after this."""
RETRY_S_MAX = 60.0
"""Doubled from the first to the last: a module that cannot start here is compiled each time."""
GATE_S = 0.5
"""The cold gate is asked so often; no load starts sooner for asking more often."""
INSIST_S = 20.0
"""A pin that found the gate closed for so long, by requests that came first, is let through."""


@dataclass(slots=True, eq=False)
class Pin:
    """One pinned reference, and how it stands."""

    ref: str
    configured: bool
    """It stands in node.toml, so only that can end it."""
    state: str = "looking"
    """looking, fetching, loading, warm or failed."""
    module: ContentHash | None = None
    """What it keeps warm now."""
    label: str = ""
    error: MeshnodeError | None = None
    """Why it is not warm, or not renewed."""
    retry_s: float = RETRY_S
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class Pins:
    """The pins of one node."""

    def __init__(
        self,
        *,
        library: Library,
        catalog: Catalog,
        lanes: Lanes,
        blobs: BlobStore,
        configured: Iterable[str],
        added: Iterable[str],
        save: Callable[[list[str]], None],
        look_every_s: float,
    ) -> None:
        self._library = library
        self._catalog = catalog
        self._lanes = lanes
        self._blobs = blobs
        self._save = save
        self._look_every_s = look_every_s
        self._pins = {ref: Pin(ref, configured=True) for ref in configured}
        for ref in added:
            self._pins.setdefault(ref, Pin(ref, configured=False))
        self._nursery: trio.Nursery | None = None
        self._came = trio.Event()
        self._turn = trio.Lock()
        """Pins are loaded one after the other."""

    # ------------------------------------------------------------------ what is said of them

    @property
    def ready(self) -> bool:
        """Whether every pinned module is warm here."""
        return all(self._is_warm(pin) for pin in self._pins.values())

    @property
    def failed(self) -> list[Pin]:
        """The pins that something stands against."""
        return [pin for pin in self._pins.values() if pin.error is not None]

    def listed(self) -> list[dict[str, Any]]:
        """Return how each pin stands, in the order in which they were made."""
        return [
            {
                "ref": pin.ref,
                "state": pin.state if pin.state != "warm" or self._is_warm(pin) else "loading",
                "module": pin.label,
                "sha256": pin.module.hex() if pin.module is not None else "",
                "configured": pin.configured,
                "reason": "" if pin.error is None else f"{pin.error.code} {pin.error.message}",
            }
            for pin in self._pins.values()
        ]

    def waiting(self) -> list[str]:
        """Return a line for each pin that is not warm yet."""
        return [
            f"{row['ref']}: {row['reason'] or row['state']}"
            for row in self.listed()
            if row["state"] != "warm"
        ]

    def _is_warm(self, pin: Pin) -> bool:
        return pin.module is not None and pin.module in self._lanes.warm

    # ------------------------------------------------------------------ making and ending them

    async def add(self, ref: str) -> None:
        """Pin a reference from now on, over restarts too; raises UsageError or StoreError."""
        parse_reference(ref)
        if ref in self._pins:
            return
        if len(self._pins) >= PINS_MAX:
            raise UsageError(f"{PINS_MAX} modules are pinned here, as many as may be")
        pin = self._pins[ref] = Pin(ref, configured=False)
        try:
            await self._remember()
        except StoreError:
            del self._pins[ref]
            raise
        if self._nursery is not None:
            self._nursery.start_soon(self._keep, pin)

    async def remove(self, ref: str) -> None:
        """End a pin; its module stays as long as there is room. Raises UsageError."""
        pin = self._pins.get(ref)
        if pin is None:
            raise UsageError(f"'{ref}' is not pinned here", try_="meshnode pin")
        if pin.configured:
            raise UsageError(
                f"'{ref}' is pinned in node.toml", try_="take it out of modules.pin and restart"
            )
        del self._pins[ref]
        pin.scope.cancel()
        await self._remember()
        if pin.module is not None:
            await self._let_go(pin.module)

    async def _remember(self) -> None:
        added = [pin.ref for pin in self._pins.values() if not pin.configured]
        await trio.to_thread.run_sync(self._save, added)

    # ------------------------------------------------------------------ keeping them

    def came(self) -> None:
        """A module has come here or was published: perhaps one that a pin waits for."""
        self._catalog.forget()
        self._came.set()
        self._came = trio.Event()

    async def run(self) -> None:
        """Keep every pin until cancelled."""
        await self._unpin_others()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for pin in list(self._pins.values()):
                nursery.start_soon(self._keep, pin)
            await trio.sleep_forever()

    async def _keep(self, pin: Pin) -> None:
        with pin.scope:
            here = self._on_disk(pin.ref)
            if here is not None:
                await self._tried(pin, partial(self._hold, pin, here))
            while True:
                await self._tried(pin, partial(self._renew, pin))
                came = self._came
                satisfied = pin.error is None and self._is_warm(pin)
                pin.retry_s = RETRY_S if satisfied else min(RETRY_S_MAX, 2 * pin.retry_s)
                with trio.move_on_after(self._look_every_s if satisfied else pin.retry_s / 2):
                    await came.wait()
                    pin.retry_s = RETRY_S

    async def _tried(self, pin: Pin, step: Callable[[], Any]) -> None:
        try:
            await step()
        except MeshnodeError as error:
            pin.error = error
            pin.state = "warm" if self._is_warm(pin) else "failed"
            _log.info("pinned module %s: %s %s", pin.ref, error.code, error.message)
        else:
            pin.error = None

    async def _renew(self, pin: Pin) -> None:
        """Find what the reference means now and hold that."""
        if not self._is_warm(pin):
            pin.state = "looking"
        await self._hold(pin, await self._catalog.resolve(pin.ref))

    def _on_disk(self, ref: str) -> ContentHash | None:
        """Return the newest version that lies here, without asking anybody."""
        reference = parse_reference(ref)
        named = self._catalog.named_here()
        best = newest(
            [n for n in named if reference.matches(n.name, n.version, n.module)], reference
        )
        return None if best is None else best.module

    async def _hold(self, pin: Pin, module: ContentHash) -> None:
        """Make a module present, warm and pinned, and let go of what the pin held before."""
        first = not self._is_warm(pin)
        if module == pin.module and not first:
            return
        if first:
            pin.state = "fetching"
        present = await self._library.ensure(module)
        if first:
            pin.state = "loading"
        await self._warm_up(module)
        self._lanes.pin(module)
        before, pin.module = pin.module, module
        pin.label, pin.state = present.info.label, "warm"
        for blob in _blobs_of(present.info):
            await trio.to_thread.run_sync(self._blobs.pin, blob)
        if before is not None and before != module:
            _log.info("pinned module %s is now %s", pin.ref, pin.label)
            await self._let_go(before)

    async def _warm_up(self, module: ContentHash) -> None:
        """Load a module when the cold gate lets it."""
        async with self._turn:
            insists_at = trio.current_time() + INSIST_S
            while True:
                insists = trio.current_time() >= insists_at
                try:
                    refusals = None if insists else 0
                    await self._lanes.get(module, cold_refusals=refusals, pinned=True)
                except ColdHere:
                    await trio.sleep(GATE_S)
                else:
                    return

    async def _let_go(self, module: ContentHash) -> None:
        """Unpin what no pin keeps any more; it stays warm until somebody needs the room."""
        if any(pin.module == module for pin in self._pins.values()):
            return
        self._lanes.unpin(module)
        info = next((i for i in self._library.modules if i.module == module), None)
        for blob in _blobs_of(info) if info is not None else [module]:
            if self._blobs.has(blob):
                await trio.to_thread.run_sync(self._blobs.unpin, blob)

    async def _unpin_others(self) -> None:
        """Unpin on disk the modules that an earlier run had pinned and this one has not."""
        kept = {self._on_disk(ref) for ref in self._pins}
        held = self._library.modules
        keep = {blob for info in held if info.module in kept for blob in _blobs_of(info)}
        pinned = {s.blob for s in await trio.to_thread.run_sync(self._blobs.list) if s.pinned}
        for blob in {b for info in held for b in _blobs_of(info)} & pinned - keep:
            await trio.to_thread.run_sync(self._blobs.unpin, blob)


def build_pins(node: "Building") -> Pins:
    """Return the pins of a node that is being built."""
    return Pins(
        library=node.library,
        catalog=node.catalog,
        lanes=node.lanes,
        blobs=node.blobs,
        configured=node.config.modules.pin,
        added=recall_pins(node.home.pins_file),
        save=partial(remember_pins, node.home.pins_file),
        look_every_s=LOOK_EVERY_S,
    )


def _blobs_of(info: ModuleInfo) -> list[ContentHash]:
    return [info.module, *map(ContentHash, weights_of(info))]
