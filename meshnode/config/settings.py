"""Every setting of a node: its key in the TOML file, its kind, its default and what it does.

These dataclasses are the only list of settings; `load` reads by it and `docs/operating.md` is
compared with it. A key exists only if something obeys it.
"""

# ruff: noqa: RUF009 - setting() returns a dataclass field, it is not a default shared by instances

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import TypeVar

from meshnode.caps import Caps
from meshnode.config import kinds
from meshnode.config.kinds import Kind
from meshnode.constraints import SCOPES
from meshnode.ids import Address, Contact
from meshnode.labels import Labels
from meshnode.wire.limits import BODY_BYTES_MAX, HEDGE_MS_MAX, KIB, MIB

T = TypeVar("T")
GIB = 1024 * MIB
ACCELERATORS = Caps.CPU | Caps.CUDA | Caps.OPENCL | Caps.VPU | Caps.DSP


def setting(key: str, kind: Kind[T], default: T, meaning: str) -> T:
    """Return a dataclass field that carries its key, kind and meaning."""
    return field(default=default, metadata={"key": key, "kind": kind, "meaning": meaning})


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """[node]: who this is."""

    name: str = setting("name", kinds.NAME, "", "Shown to people. Empty: the host's name.")
    labels: Labels = setting(
        "labels",
        kinds.LABELS,
        (),
        "Words about this node that every member learns and requests may ask for. `site` bounds "
        "where data of policy `site` may go, `tier` is what `--tier` asks for; others are free.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSettings:
    """[mesh]: how this node is reached and where it looks for others."""

    listen: Address = setting(
        "listen", kinds.ADDRESS, Address("0.0.0.0", 6174), "One port for TCP and UDP."
    )
    advertise: tuple[Address, ...] = setting(
        "advertise",
        kinds.ADDRESSES,
        (),
        "Addresses told to others, for port forwarding. Empty: the ones this host has.",
    )
    seeds: tuple[Contact, ...] = setting(
        "seeds", kinds.CONTACTS, (), "Seeds to ask for members, beside those learnt by joining."
    )
    lan: bool = setting(
        "lan",
        kinds.FLAG,
        True,
        "Say on the LAN that this node is here, and listen for others (UDP 6175); not on loopback.",
    )
    relay_bytes_per_s: int = setting(
        "relay",
        kinds.size(0, GIB),
        0,
        "Bytes a second that this node passes on between members that cannot connect to each "
        "other; 0: none. It sees ciphertext only.",
    )
    relay_circuit_bytes: int = setting(
        "relay_circuit",
        kinds.size(MIB, 1024 * GIB),
        4 * GIB,
        "Bytes after which one of the pipes it passes on is ended, and has to be opened again.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSettings:
    """[budget]: how much of this device the mesh may use."""

    memory_bytes: int = setting(
        "memory", kinds.size(MIB, 1024 * GIB), 512 * MIB, "All module instances together."
    )
    instances: int = setting("instances", kinds.whole(1, 256), 4, "Modules that are warm at once.")
    idle_ms: int = setting(
        "idle",
        kinds.milliseconds(0, 86_400_000),
        600_000,
        "A module unused for so long is unloaded and its memory given back; 0: never.",
    )
    store_bytes: int = setting(
        "store",
        kinds.size(MIB, 1024 * GIB),
        2 * GIB,
        "Modules and weights on disk; least recently used go first.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CapsSettings:
    """[caps]: what this node claims to be able to do."""

    use: Caps | None = setting(
        "use",
        kinds.CAPS_OR_AUTO,
        None,
        "What to claim; never more than was found and policy allows. `auto`: all of that.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModulesSettings:
    """[modules]: what this node keeps ready."""

    pin: tuple[str, ...] = setting(
        "pin", kinds.REFERENCES, (), "Modules to hold, to keep warm and never to evict."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """[policy]: what any module must satisfy to run here, whoever signed it."""

    max_memory_bytes: int = setting(
        "max_memory",
        kinds.size(64 * KIB, 4 * GIB),
        256 * MIB,
        "Linear memory of one instance. A module whose manifest asks for more is not run here, and "
        "other nodes know that.",
    )
    max_run_ms: int = setting(
        "max_run", kinds.milliseconds(1, 600_000), 10_000, "One call into the guest."
    )
    max_output_bytes: int = setting(
        "max_output", kinds.size(1, BODY_BYTES_MAX), 16 * MIB, "The outputs of one request."
    )
    caps: Caps = setting(
        "caps",
        kinds.CAPS,
        ACCELERATORS | Caps.NN,
        "Capabilities that a module may ask for. Not by default: `wasi` (WASI programs), `nn.load` "
        "(models that a module brings itself).",
    )
    data: str = setting(
        "data",
        kinds.choice(*SCOPES),
        "mesh",
        "How far inputs that come in here may travel: `node`, not at all; `site`, to nodes with "
        "the same label `site`; `mesh`, to every member. A module or a request may be stricter.",
    )
    publishers: str = setting(
        "publishers",
        kinds.choice("mesh", "listed"),
        "mesh",
        "Whose signature counts: `mesh` (certified by the mesh, or listed here) or `listed`.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """[runtime]: how modules are run."""

    binding: str = setting(
        "binding",
        kinds.choice("auto", "public"),
        "auto",
        "How guests are called: `auto`, the fast way where the installed wasmtime allows it; "
        "`public`, always wasmtime-py's own interface, some fifty times slower a call.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """[batch]: how requests to one module are run together."""

    max: int = setting(
        "max",
        kinds.whole(1, 256),
        32,
        "Rows in one batch at most; 1 turns batching off. What pays is learned and often less.",
    )
    window_ms: int = setting(
        "window",
        kinds.milliseconds(0, 1000),
        0,
        "How long an idle lane may wait for company when that pays; "
        "0 runs what is queued when the lane is free.",
    )
    queue: int = setting(
        "queue", kinds.whole(1, 65_536), 256, "Requests waiting for one module; more are refused."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementSettings:
    """[placement]: how a node is chosen."""

    sticky: bool = setting(
        "sticky", kinds.FLAG, True, "Keep a source on its node unless another is clearly better."
    )
    hedge_ms: int = setting(
        "hedge",
        kinds.milliseconds(0, HEDGE_MS_MAX),
        0,
        "Give a request to a second node too when it is not answered after this long; 0, never. "
        "At most a tenth of them are: it is load. A request may say its own.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """[api]: the HTTP door."""

    listen: Address | None = setting(
        "listen", kinds.DOOR, Address("127.0.0.1", 6180), "Where HTTP listens, or `off`."
    )
    token_file: str = setting(
        "token_file",
        kinds.TEXT,
        "",
        "A file (0600) with the token HTTP clients send; required to listen beyond loopback.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveSettings:
    """[observe]: what this node says about itself."""

    log: str = setting(
        "log", kinds.choice("debug", "info", "warning", "error"), "info", "The least level logged."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateSettings:
    """[simulate]: pretending, for demonstrations; a node says so wherever it is shown."""

    slowdown: float = setting(
        "slowdown",
        kinds.factor(1.0, 1000.0),
        1.0,
        "Makes every run take this many times as long, as on a slower device.",
    )
    run_ms: int = setting(
        "run", kinds.milliseconds(0, 60_000), 0, "Makes every run take at least so long."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything a node is told before it starts; one field for each section."""

    node: NodeSettings = field(default_factory=NodeSettings)
    mesh: MeshSettings = field(default_factory=MeshSettings)
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    caps: CapsSettings = field(default_factory=CapsSettings)
    modules: ModulesSettings = field(default_factory=ModulesSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    batch: BatchSettings = field(default_factory=BatchSettings)
    placement: PlacementSettings = field(default_factory=PlacementSettings)
    api: ApiSettings = field(default_factory=ApiSettings)
    observe: ObserveSettings = field(default_factory=ObserveSettings)
    simulate: SimulateSettings = field(default_factory=SimulateSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of the TOML file."""

    section: str
    key: str
    attribute: str
    kind: Kind[object]
    default: str
    """As TOML."""
    meaning: str

    @property
    def dotted(self) -> str:
        """The name used in messages and in `--set`: `section.key`."""
        return f"{self.section}.{self.key}"


def keys() -> Iterator[Key]:
    """Yield every key, in the order of the dataclasses."""
    defaults = Config()
    for section in fields(Config):
        settings = getattr(defaults, section.name)
        for each in fields(settings):
            kind = each.metadata["kind"]
            yield Key(
                section=section.name,
                key=each.metadata["key"],
                attribute=each.name,
                kind=kind,
                default=kind.show(getattr(settings, each.name)),
                meaning=each.metadata["meaning"],
            )
