"""The stages of a cold start, each timed by itself: what `Runtime.load` does in one go."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from time import perf_counter

from wasmtime import Module

from meshnode.caps import Caps
from meshnode.modules.layout import WEIGHTS_PREFIX
from meshnode.modules.manifest import Manifest, ModelRef
from meshnode.modules.sections import custom_section
from meshnode.runtime import growth
from meshnode.runtime.aot import AotCache
from meshnode.runtime.compiler import Compiler
from meshnode.runtime.engine import make_engine
from meshnode.runtime.loaded import LoadedModule
from meshnode.runtime.preflight import Guest, preflight
from meshnode.runtime.runtime import compiled_guest, effective
from meshnode.runtime.sandbox import CompiledGuest
from meshnode.runtime.self_test import decode
from meshnode.runtime.sessions import ModelSession, SessionCache
from meshnode.runtime.settings import RuntimeSettings
from meshnode.runtime.stack import with_room
from meshnode.runtime.ticker import Ticker

FROM_FILE = "AOT file to ready instance"
"""The stages from the tag of the compiled file to the end of `init`, together."""
REPEATS = 5
"""Of those stages: what a first time pays more is the process's, and not the module's."""
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
    with stages.timing("compile"):  # the compiler alone, without the process that a node gives it
        Module(engine, growth.note_refusals(guest, guest.scan()))
    with stages.timing("compile as a node does"):
        Compiler(engine, settings, cache).module(guest)
    ticker = Ticker(engine.increment_epoch, tick_ms=settings.epoch_ms)
    opened = SessionCache(settings, ticker, caps=caps, empty_dir=folder / "empty")
    with ExitStack() as held:
        sessions: dict[str, ModelSession] = {}
        if caps & Caps.NN and manifest.models:
            with stages.timing("open models"):
                for ref in manifest.models:
                    sessions[ref.name] = opened.acquire(ref, _data(ref, wasm, models), measure=True)
                    held.callback(opened.release, ref.sha256)
        ticker.enter()  # as in a node that has served a request of late
        held.callback(ticker.leave)

        def made(compiled: CompiledGuest) -> LoadedModule:
            module = LoadedModule(
                replace(manifest, self_tests=()),
                compiled,
                sessions,
                caps=caps,
                limits=effective(manifest.limits, settings),
                ticker=ticker,
                settings=settings,
                cache=opened if caps & Caps.NN_LOAD else None,
            )
            held.callback(module.close)
            return module

        compiler = Compiler(engine, settings, cache)
        found = [_from_file(compiler, guest, manifest.abi, made) for _ in range(REPEATS)]
        stages.ms |= {
            stage: median(each.ms[stage] for each, _ in found) for stage in found[0][0].ms
        }
        _first_runs(found[-1][1], manifest, stages)
    return stages


def _from_file(
    compiler: Compiler, guest: Guest, abi: str, made: Callable[[CompiledGuest], LoadedModule]
) -> tuple[Stages, LoadedModule]:
    """Time the way from a compiled file to an instance."""
    stages = Stages()
    compiler.forget()
    with stages.timing(FROM_FILE):
        with stages.timing("open compiled"):
            compiled = compiled_guest(compiler, guest, abi, compiler.settings.binding)
        with stages.timing("link"):
            _ = compiled.linked
        module = made(compiled)
        with_room(module.start)
    start_s, init_s = module.started_s
    if start_s:  # a command has no instance before its request
        stages.ms |= {"start": start_s * 1000, "init": init_s * 1000}
    stages.ms[FROM_FILE] = stages.ms.pop(FROM_FILE)  # a sum comes after what it sums
    return stages, module


def _data(ref: ModelRef, wasm: bytes, models: Mapping[str, bytes]) -> bytes:
    embedded = custom_section(wasm, WEIGHTS_PREFIX + ref.name) if ref.embedded else b""
    return bytes(embedded) or models[ref.name]


def _first_runs(module: LoadedModule, manifest: Manifest, stages: Stages) -> None:
    """Time the first answer of an instance, for which room is made in the guest, and the next."""
    if not manifest.self_tests:
        return
    arrays = decode(manifest.inputs, manifest.self_tests[0].inputs)
    for stage in ("self-test", "first request"):
        with stages.timing(stage):
            module.run([arrays])
