"""The one entry to the runtime: a signed module's bytes in, a `LoadedModule` that answers out.

The way of a module: preflight - models to sessions - compile (or cache) - instance - `init` -
self-tests. What it is then, and the way of a request in it, is in `loaded.py`.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from meshnode.caps import SWITCHED, Caps
from meshnode.errors import BlobNotFound, CannotRunHere
from meshnode.ids import ContentHash
from meshnode.modules.layout import WEIGHTS_PREFIX
from meshnode.modules.manifest import Limits, Manifest
from meshnode.modules.sections import custom_section
from meshnode.runtime.aot import AotCache
from meshnode.runtime.calibrate import calibrate as calibrate
from meshnode.runtime.compiler import Compiler
from meshnode.runtime.engine import make_engine
from meshnode.runtime.loaded import LoadedModule as LoadedModule
from meshnode.runtime.loaded import Outcome as Outcome
from meshnode.runtime.loaded import RunResult as RunResult
from meshnode.runtime.preflight import Guest, allow, called_exports, preflight
from meshnode.runtime.sandbox import CompiledGuest
from meshnode.runtime.sessions import ModelSession, SessionCache
from meshnode.runtime.settings import RuntimeSettings
from meshnode.runtime.stack import with_room
from meshnode.runtime.stateless import keeps_nothing
from meshnode.runtime.ticker import Ticker


class Runtime:
    """Loads modules. Thread-safe; what it loads is used by one thread at a time."""

    def __init__(
        self, settings: RuntimeSettings, *, cache_dir: Path, mac_key: bytes, caps: Caps
    ) -> None:
        """`cache_dir` may be deleted at any time; `mac_key` is this node's alone.

        `caps` is what this node offers to modules: never more than `detect_caps` found.
        """
        engine = make_engine()
        self._settings = settings
        self._caps = caps
        self._ticker = Ticker(engine.increment_epoch, tick_ms=settings.epoch_ms)
        self._compiler = Compiler(engine, settings, AotCache(cache_dir, mac_key))
        self._sessions = SessionCache(
            settings, self._ticker, caps=caps, empty_dir=cache_dir / "empty"
        )

    @property
    def fallbacks(self) -> Mapping[str, str]:
        """Accelerators that did not take some model, by name, each with its first reason."""
        return self._sessions.fallbacks.reasons

    @property
    def model_threads(self) -> Mapping[ContentHash, int]:
        """Of models that were measured: threads for one operator, 0 for onnxruntime's choice."""
        return self._sessions.measured

    def load(self, wasm: bytes, manifest: Manifest, models: Mapping[str, bytes]) -> LoadedModule:
        """Return the module ready to answer: compiled, initialised, its self-tests passed.

        `models` are weights by model name; those embedded in `wasm` may be left out. Raises
        TrustError (MalformedModule, UndeclaredImport), CannotRunHere, ModelFailed, CompileLimit
        or ModuleFailed; then nothing of it stays loaded.
        """
        if missing := manifest.required & ~self._caps:
            raise CannotRunHere(
                f"{manifest.name} needs the capability {', '.join(missing.names())}, "
                "which this node does not have",
                because=[f"this node has: {', '.join(self._caps.names())}"],
                try_=allow(missing) if missing & SWITCHED else "",
            )
        settings = self._settings
        guest = preflight(
            wasm,
            manifest,
            allowed=settings.caps_allowed,
            memory_bytes_max=settings.memory_bytes_max,
        )
        with ExitStack() as held:
            sessions = self._open_models(wasm, manifest, models, held)
            compiled = compiled_guest(self._compiler, guest, manifest.abi, settings.binding)
            may_load = (manifest.required | manifest.optional) & settings.caps_allowed & self._caps
            loaded = LoadedModule(
                manifest,
                compiled,
                sessions,
                caps=self._caps,
                limits=effective(manifest.limits, settings),
                ticker=self._ticker,
                settings=settings,
                cache=self._sessions if may_load & Caps.NN_LOAD else None,
            )
            with_room(loaded.start)
            loaded.held = held.pop_all()
        return loaded

    def _open_models(
        self, wasm: bytes, manifest: Manifest, models: Mapping[str, bytes], held: ExitStack
    ) -> dict[str, ModelSession]:
        sessions: dict[str, ModelSession] = {}
        if not self._caps & Caps.NN:
            return sessions  # the capability is optional to this module, and absent here
        for ref in manifest.models:
            data = models.get(ref.name)
            if data is None and ref.embedded:
                data = bytes(custom_section(wasm, WEIGHTS_PREFIX + ref.name))
            if data is None:
                raise BlobNotFound(f"the weights '{ref.name}' of {manifest.name} are not here")
            sessions[ref.name] = self._sessions.acquire(ref, data, measure=True)
            held.callback(self._sessions.release, ref.sha256)
        return sessions


def compiled_guest(compiler: Compiler, guest: Guest, abi: str, binding: str) -> CompiledGuest:
    """Return a guest compiled, or its artifact opened. Raises MalformedModule or CompileLimit."""
    called = called_exports(abi)
    return CompiledGuest(
        engine=compiler.engine,
        module=compiler.module(guest),
        imports=guest.import_types,
        exports={n: s for n, s in guest.export_types.items() if n in called},
        binding=binding,
        keeps_nothing=abi == "command" or keeps_nothing(guest),
    )


def effective(limits: Limits, settings: RuntimeSettings) -> Limits:
    """Return the limits that count: a module's own, or the node's where those are lower."""
    return Limits(
        memory_bytes=min(limits.memory_bytes, settings.memory_bytes_max),
        run_ms=min(limits.run_ms, settings.run_ms_max),
        output_bytes=min(limits.output_bytes, settings.output_bytes_max),
    )
