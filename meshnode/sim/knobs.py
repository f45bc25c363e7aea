"""Knobs: everything about one run that its seed decides, and a reader may override.

Drawn as FoundationDB and TigerBeetle do it: most runs have some faults, few have all, and some
have none, so that a failure can be seen apart from its company.
"""

from dataclasses import dataclass, replace

from meshnode.machine import Random
from meshnode.sim.links import Bursts, Link, Spread
from meshnode.wire.limits import DATAGRAM_BYTES_MAX

FORM_S = 15.0
FAULTS_S = 60.0
SETTLE_S = 150.0
"""After the faults: one dead member is probed every 30 s, and lost contacts are tried every 5 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """One run. Chances from 0 to 1; rates are means."""

    nodes: int
    link: Link
    back: Link
    """From the second half of the nodes to the first, where the two directions differ."""
    crash_every_s: float
    """0: nobody crashes."""
    down_s: float
    forgets: float
    """Chance that what a crashed node saved is lost with it."""
    partition_every_s: float
    partition_s: float
    one_way: float
    """Chance that a partition lets one direction through."""
    swizzle_every_s: float
    """Nodes stop one by one and go on in another order, as in FoundationDB's swizzle-clogging."""
    starved: int
    """Nodes whose process gets no time for seconds, again and again."""
    drift: float
    """How much clocks run fast or slow at most."""
    jump_every_s: float
    hostile: int
    """Byzantine members: they answer the DHT badly, and accuse others."""
    strangers: int
    """Hosts without the mesh's secret that try to join."""
    requests_s: float
    """Requests a second in the whole mesh; 0 for none."""
    budget_s: float = 5.0
    """How long a request may take."""
    liars: int = 0
    """Byzantine members of the second kind: they equivocate and lie about loads."""
    natted: int = 0
    """Members behind NAT boxes: they reach others, others reach them through a mapping at most."""
    faults_s: float = FAULTS_S
    settle_s: float = SETTLE_S

    def line(self) -> str:
        """Return the knobs that are turned, for people."""
        loss = "bursty" if self.link.bursts else f"{100 * self.link.loss:.0f} %"
        words = [
            f"{self.nodes} nodes",
            f"{1e3 * self.link.delay_s:.1f} ms {self.link.spread.value}, loss {loss}",
        ]
        turned = (
            ("crashes", self.crash_every_s),
            ("partitions", self.partition_every_s),
            ("swizzle", self.swizzle_every_s),
            (f"{self.starved} starved", self.starved),
            ("drift", self.drift),
            ("jumps", self.jump_every_s),
            (f"{self.hostile} hostile", self.hostile),
            (f"{self.strangers} strangers", self.strangers),
            (f"requests of {self.budget_s:g} s", self.requests_s),
            (f"{self.liars} liars", self.liars),
            (f"{self.natted} behind NAT", self.natted),
            (f"MTU {self.link.mtu}", self.link.mtu < DATAGRAM_BYTES_MAX),
        )
        return ", ".join([*words, *(word for word, on in turned if on)])


def draw(seed: int, *, nodes: int | None = None) -> Knobs:
    """Return the knobs of a seed."""
    rng = Random(f"knobs {seed}")

    def maybe(chance: float, low: float, high: float) -> float:
        drawn, on = rng.uniform(low, high), rng.random() < chance
        return round(drawn, 3) if on else 0.0

    link = _draw_link(rng)
    count = rng.randint(3, 16)
    knobs = Knobs(
        nodes=nodes or count,
        link=link,
        back=_draw_link(rng) if rng.random() < 0.3 else link,
        crash_every_s=maybe(0.5, 3.0, 20.0),
        down_s=round(rng.uniform(0.5, 40.0), 3),
        forgets=round(rng.choice((0.0, 0.0, 0.3)), 3),
        partition_every_s=maybe(0.4, 10.0, 30.0),
        partition_s=round(rng.uniform(1.0, 25.0), 3),
        one_way=round(rng.choice((0.0, 0.5)), 3),
        swizzle_every_s=maybe(0.25, 10.0, 30.0),
        starved=rng.randint(1, 2) if rng.random() < 0.3 else 0,
        drift=maybe(0.3, 0.0001, 0.05),
        jump_every_s=maybe(0.2, 5.0, 20.0),
        hostile=max(1, count // 6) if rng.random() < 0.3 else 0,
        strangers=rng.randint(1, 3) if rng.random() < 0.3 else 0,
        requests_s=maybe(0.6, 1.0, 20.0),
    )
    return _more(seed, knobs, nodes is None)


def _more(seed: int, knobs: Knobs, larger: bool) -> Knobs:
    """Draw what came later, by numbers of its own: a seed that once failed keeps what it had."""
    rng = Random(f"more knobs {seed}")
    count = rng.choice((17, 24, 33, 40))
    if larger and rng.random() < 0.15:
        knobs = replace(knobs, nodes=count)
    mtu, fragments = rng.choice((1000, 1200, 576)), rng.random() < 0.7
    if rng.random() < 0.2:
        link = replace(knobs.link, mtu=mtu, fragments=fragments)
        back = link if knobs.back is knobs.link else knobs.back
        knobs = replace(knobs, link=link, back=back)
    return replace(
        knobs,
        budget_s=rng.choice((0.2, 1.0, 5.0)),
        liars=max(1, knobs.nodes // 8) if rng.random() < 0.25 else 0,
        natted=rng.randint(1, 3) if rng.random() < 0.25 else 0,
    )


def _draw_link(rng: Random) -> Link:
    delay_s = rng.choice((0.0002, 0.001, 0.01, 0.04, 0.1))
    loss = rng.choice((0.0, 0.0, 0.01, 0.05, 0.15))
    bursty = rng.random() < 0.3
    return Link(
        delay_s=delay_s,
        jitter_s=delay_s * rng.choice((0.1, 0.5, 1.0)),
        spread=rng.choice((Spread.EXPONENTIAL, Spread.LOGNORMAL, Spread.CONSTANT)),
        loss=0.0 if bursty else loss,
        bursts=Bursts.of(loss, packets=rng.uniform(2.0, 10.0)) if bursty and loss else None,
        duplicates=rng.choice((0.0, 0.02, 0.1)),
        reorders=rng.choice((0.0, 0.05)),
        reorder_s=4 * delay_s,
    )
