"""The stages of a cold start, each timed by itself: what `Runtime.load` does in one go."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

from wasmtime import Module

from meshnode.caps import Caps
from meshnode.modules.layout import WEIGHTS_PREFIX
from meshnode.modules.manifest import Manifest
from meshnode.modules.sections import custom_section
from meshnode.runtime import growth
from meshnode.runtime.aot import AotCache
from meshnode.runtime.compiler import Compiler
from meshnode.runtime.engine import make_engine
from meshnode.runtime.preflight import Guest, preflight
from meshnode.runtime.runtime import LoadedModule, Runtime
from meshnode.runtime.self_test import decode
from meshnode.runtime.sessions import SessionCache
from meshnode.runtime.settings import RuntimeSettings
from meshnode.runtime.ticker import Ticker

_MAC_KEY = bytes(32)
"""For a folder that is made for one measurement and removed after it."""


@dataclass(slots=True)
class Stages:
    """Milliseconds by stage, in the order in which they happen."""

    ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Time what happens inside."""
        started = perf_counter()
        yield
        self.ms[stage] = (perf_counter() - started) * 1000


def cold_start(
    wasm: bytes,
    manifest: Manifest,
    models: Mapping[str, bytes],
    *,
    caps: Caps,
    settings: RuntimeSettings,
    folder: Path,
) -> Stages:
    """Return the time of each stage of loading a module that nothing is known of yet.

    `folder` is empty before and may be removed after. Raises as `Runtime.load` does.
    """
    stages = Stages()
    with stages.timing("preflight"):
        guest = preflight(
            wasm,
            manifest,
            allowed=settings.caps_allowed,
            memory_bytes_max=settings.memory_bytes_max,
        )
    engine = make_engine()
    cache = AotCache(folder / "aot", _MAC_KEY)
    _compile(guest, stages)
    with stages.timing("compile as a node does"):
        Compiler(engine, settings, cache).module(guest)
    with stages.timing("load compiled"):
        Compiler(engine, settings, cache).module(guest)
    if caps & Caps.NN and manifest.models:
        _open_models(wasm, manifest, models, caps, settings, folder, stages)
    runtime = Runtime(settings, cache_dir=folder / "aot", mac_key=_MAC_KEY, caps=caps)
    with closing(runtime.load(wasm, replace(manifest, self_tests=()), models)) as module:
        start_s, init_s = module.started_s
        if start_s:  # a command has no instance before its request
            stages.ms |= {"start": start_s * 1000, "init": init_s * 1000}
        _first_runs(module, manifest, stages)
    return stages


def _compile(guest: Guest, stages: Stages) -> None:
    """Time the compiler alone, without the process that it is given in a node."""
    engine = make_engine()
    with stages.timing("compile"):
        Module(engine, growth.note_refusals(guest, guest.scan()))


def _open_models(
    wasm: bytes,
    manifest: Manifest,
    models: Mapping[str, bytes],
    caps: Caps,
    settings: RuntimeSettings,
    folder: Path,
    stages: Stages,
) -> None:
    ticker = Ticker(lambda: None, tick_ms=settings.epoch_ms)  # no guest runs: nothing to interrupt
    cache = SessionCache(settings, ticker, caps=caps, empty_dir=folder / "empty")
    with stages.timing("open models"):
        for ref in manifest.models:
            embedded = custom_section(wasm, WEIGHTS_PREFIX + ref.name) if ref.embedded else b""
            cache.acquire(ref, bytes(embedded) or models[ref.name])


def _first_runs(module: LoadedModule, manifest: Manifest, stages: Stages) -> None:
    """Time the first answer of an instance, for which room is made in the guest, and the next."""
    if not manifest.self_tests:
        return
    arrays = decode(manifest.inputs, manifest.self_tests[0].inputs)
    for stage in ("self-test", "first request"):
        with stages.timing(stage):
            module.run([arrays])
