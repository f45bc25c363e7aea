"""Shape: what a fleet is made of. The default: 20 sites of ten gateways and a GPU, a case study.

Its latency row (62, 38 and 19 ms) with GPU batches of eight at 2.5 times one: s(8) = 8 * 19 / 2.5,
so A = 13.03 and b = 5.97.
"""

from dataclasses import dataclass, replace
from math import exp

from meshnode.machine import Random

KINDS_MAX = 64
NODES_MAX = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Machines that are alike: a batch of n takes A + b * n."""

    name: str
    fixed_ms: float
    """A."""
    each_ms: float
    """b."""
    batch_max: int = 1
    cameras: int = 0
    """Dispatched by each; 0 for one that only serves."""
    warm_max: int = 8
    """Modules it has in memory at once."""
    cold_ms: float = 400.0
    """Loading another one; it serves nothing meanwhile."""

    def batch_ms(self, n: int) -> float:
        """Return s(n)."""
        return self.fixed_ms + self.each_ms * n

    @property
    def per_s(self) -> float:
        """Requests a second in full batches."""
        return 1000.0 * self.batch_max / self.batch_ms(self.batch_max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The way between two nodes; delays have an exponential jitter of a tenth."""

    rtt_ms: float
    transfer_ms: float
    """A request's inputs, one way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """So many machines of one kind at each of some sites."""

    kind: Kind
    count: int
    sites: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A fleet and what is asked of it."""

    groups: tuple[Group, ...]
    lan: Reach = Reach(rtt_ms=1.0, transfer_ms=0.5)
    wan: Reach = Reach(rtt_ms=20.0, transfer_ms=4.8)
    fps: float = 15.0
    """Of each camera: what it offers when `load` is not given."""
    sla_ms: float = 100.0
    view_max: int = 32
    uneven: float = 0.5
    """Sites' rates differ by up to this share, cameras' rates log-normally."""
    spread: float = 0.1
    """Sigma of the logarithm of the speeds of machines of one kind."""
    noise: float = 0.25
    """Sigma of the logarithm of a batch's time."""
    modules: int = 1
    """Zipf over cameras."""
    learned_batches: bool = False
    """Whether lanes find out what sizes pay, as they ship, or are greedy, as the model has it. With
    a noise of 0.25 the shipped sizing stays at half of the GPU's batch and loses a sixth of it."""

    @property
    def sites(self) -> int:
        """How many there are."""
        return 1 + max(max(g.sites) for g in self.groups)

    @property
    def cameras(self) -> int:
        """How many there are."""
        return sum(g.kind.cameras * g.count * len(g.sites) for g in self.groups)

    @property
    def offered_per_s(self) -> float:
        """Frames a second of all cameras."""
        return self.cameras * self.fps

    @property
    def nodes(self) -> int:
        """How many there are."""
        return sum(g.count * len(g.sites) for g in self.groups)


CPU = Kind(name="gateway, CPU", fixed_ms=0.0, each_ms=62.0, cameras=10, warm_max=3)
NPU = Kind(name="gateway, NPU", fixed_ms=0.0, each_ms=38.0, cameras=10, warm_max=3)
GPU = Kind(
    name="regional GPU",
    fixed_ms=13.0286,
    each_ms=5.9714,
    batch_max=8,
    warm_max=6,
    cold_ms=200.0,
)


def article(
    *, cameras: int = 2000, gateways: int = 200, regional: int = 20, fps: float = 15.0
) -> Shape:
    """Return the case study's fleet: half of the gateways with an NPU, a GPU for each site.

    Gateways are spread over as many sites as there are GPUs. Raises ValueError for a fleet that
    cannot be.
    """
    if min(cameras, gateways, regional) < 1 or gateways + regional > NODES_MAX:
        raise ValueError(f"a fleet has 1 to {NODES_MAX} nodes, and cameras")
    each, more = divmod(cameras, gateways)
    groups: list[Group] = []
    place = 0
    for site in range(regional):
        count = gateways // regional + (site < gateways % regional)
        npus = count // 2 + (count % 2 and site % 2)
        for kind, number in ((CPU, count - npus), (NPU, npus)):
            # The cameras that are over go to every so many-th gateway.
            larger = (place + number) * more // gateways - place * more // gateways
            place += number
            for dispatched, some in ((each + 1, larger), (each, number - larger)):
                if some:
                    k = replace(kind, cameras=dispatched)
                    groups.append(Group(kind=k, count=some, sites=(site,)))
        groups.append(Group(kind=GPU, count=1, sites=(site,)))
    return Shape(groups=tuple(groups), fps=fps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """One machine of a fleet."""

    index: int
    site: int
    kind: Kind
    slowness: float
    """Its times over those of its kind."""


def spots(shape: Shape, seed: int) -> list[Spot]:
    """Return the machines; the same seed gives the same ones."""
    rng = Random(f"machines {seed}")
    found: list[Spot] = []
    for group in shape.groups:
        for site in group.sites:
            for _ in range(group.count):
                slowness = exp(rng.gauss(0.0, shape.spread)) if shape.spread else 1.0
                found.append(Spot(index=len(found), site=site, kind=group.kind, slowness=slowness))
    return found


def capacity(machines: list[Spot]) -> float:
    """Return the requests a second that all can do in full batches."""
    return sum(m.kind.per_s / m.slowness for m in machines)
