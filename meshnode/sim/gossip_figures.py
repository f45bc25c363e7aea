"""The gossip's figures: how fast an event is everywhere, and who is wrongly declared dead."""

from dataclasses import dataclass

from meshnode.gossip.member import Member, MemberState
from meshnode.gossip.settings import GossipSettings, without_lifeguard
from meshnode.ids import PublicKey
from meshnode.sim.clocks import Pace
from meshnode.sim.gossiping import GOSSIP_KINDS
from meshnode.sim.links import Link
from meshnode.sim.mesh import SimMesh
from meshnode.sim.node import Parts, SimNode
from meshnode.sim.rates import Rates

LAN = Link(delay_s=0.0005, jitter_s=0.0005, loss=0.01)
QUIET_S = 3.0
EVENT_S = 10.0
STANDS_S = (0.5, 6.0)
RUNS_S = (0.0, 0.005)
"""How long the starved process gets no time, and how long it gets some, drawn evenly."""
STARVED_FOR_S = 300.0
STARVED_SEEDS = 5


def event(nodes: int | None, seed: int) -> list[str]:
    """A newcomer in a mesh of 2,000: when do all know it, and what do they send meanwhile?"""
    count = nodes or 2000
    parts = Parts(dht=None, announces=False)
    mesh = SimMesh(seed, link=LAN, parts=parts)
    for _ in range(count):
        mesh.add().start()
    mesh.acquaint()
    mesh.run(QUIET_S)
    late = mesh.add()
    heard: dict[PublicKey, float] = {}

    def note(node: SimNode, member: Member) -> None:
        if member.contact.public_key == late.identity.public_key:
            heard.setdefault(node.identity.public_key, mesh.world.now)

    mesh.on_change = note
    rates = Rates(mesh.network, GOSSIP_KINDS)
    began, bytes_before = mesh.world.now, sum(mesh.network.bytes_by.values())
    late.start((mesh.nodes[0].contact,))
    mesh.run(EVENT_S)
    rate = (sum(mesh.network.bytes_by.values()) - bytes_before) / EVENT_S / count
    took = sorted(when - began for when in heard.values())
    all_s = f"{took[-1]:.2f} s" if len(took) >= count else f"not within {EVENT_S:.0f} s"
    middle = took[len(took) // 2] if took else 0.0
    return [
        f"{count} nodes, LAN, 1 % loss: an event reached half in {middle:.2f} s,"
        f" {len(took)} of {count}, all in {all_s}, {rate:.0f} B/s/node without headers;"
        f" {rates.worst} B with them in the worst second of any node",
        "  goal: all in <= 2 s, <= 8000 B/s/node",
    ]


@dataclass(slots=True)
class Deaths:
    """Who declared whom dead, though nobody was."""

    healthy: int = 0
    """Healthy nodes, by anybody."""
    of_starved: int = 0

    @property
    def total(self) -> int:
        """All of them: the starved node lives too."""
        return self.healthy + self.of_starved


def starved(nodes: int | None, seed: int) -> list[str]:
    """One starved node in 20, for five minutes: false deaths with Lifeguard and without."""
    count = nodes or 20
    lines, totals = [], []
    for title, settings in (
        ("with Lifeguard", GossipSettings()),
        ("without", without_lifeguard(GossipSettings())),
    ):
        total = Deaths()
        for step in range(STARVED_SEEDS):
            deaths = starve(count, seed + step, settings)
            total.healthy += deaths.healthy
            total.of_starved += deaths.of_starved
        totals.append(total.total)
        lines.append(
            f"{count} nodes, one starved, {STARVED_SEEDS} x {STARVED_FOR_S:.0f} s, {title}:"
            f" {total.total} false deaths, {total.healthy} of them of healthy nodes"
        )
    ratio = totals[1] / max(1, totals[0])
    return [*lines, f"  {ratio:.0f} times fewer; goal: at least 50"]


def starve(
    count: int, seed: int, settings: GossipSettings, seconds: float = STARVED_FOR_S
) -> Deaths:
    """Run one mesh whose first node is starved; return what was declared."""
    mesh = SimMesh(seed, link=LAN, parts=Parts(dht=None, gossip=settings, announces=False))
    pace = Pace()
    victim = mesh.add(pace=pace)
    victim.start()
    for _ in range(count - 1):
        mesh.add().start((victim.contact,))
        mesh.run(0.05)
    mesh.run(10.0)
    deaths = Deaths()

    def note(node: SimNode, member: Member) -> None:
        if member.state is MemberState.DEAD:
            if member.contact.public_key == victim.identity.public_key:
                deaths.of_starved += 1
            else:
                deaths.healthy += 1

    mesh.on_change = note

    def again() -> None:
        stands_s, runs_s = mesh.rng.uniform(*STANDS_S), mesh.rng.uniform(*RUNS_S)
        pace.timers_first = mesh.rng.random() < 0.5
        pace.stall(mesh.world.now + stands_s)
        mesh.world.call(mesh.world.now + stands_s + runs_s, again)

    mesh.world.call(mesh.world.now, again)
    mesh.run(seconds)
    return deaths
