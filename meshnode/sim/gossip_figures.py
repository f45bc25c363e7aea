"""The gossip's figures: how fast an event is everywhere, and who is wrongly declared dead."""

from dataclasses import dataclass, replace

from meshnode.gossip.member import Member, MemberState
from meshnode.gossip.settings import GossipSettings
from meshnode.ids import PublicKey
from meshnode.sim.clocks import Pace
from meshnode.sim.links import Link
from meshnode.sim.mesh import SimMesh
from meshnode.sim.node import Parts, SimNode

LAN = Link(delay_s=0.0005, jitter_s=0.0005, loss=0.01)
QUIET_S = 3.0
EVENT_S = 10.0
STARVED_MEAN_S = 4.0
"""How long the starved process gets no time, on average; then it gets a twentieth of that."""
STARVED_FOR_S = 300.0
STARVED_SEEDS = 5


def without_lifeguard(settings: GossipSettings) -> GossipSettings:
    """Return plain SWIM: no local health, no shrinking suspicion, no time given back."""
    return replace(settings, awareness_max=0, suspicion_max_mult=1, late_s=float("inf"))


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
    began, bytes_before = mesh.world.now, sum(mesh.network.bytes_by.values())
    late.start((mesh.nodes[0].contact,))
    mesh.run(EVENT_S)
    rate = (sum(mesh.network.bytes_by.values()) - bytes_before) / EVENT_S / count
    took = sorted(when - began for when in heard.values())
    all_s = f"{took[-1]:.2f} s" if len(took) >= count else f"not within {EVENT_S:.0f} s"
    middle = took[len(took) // 2] if took else 0.0
    return [
        f"{count} nodes, LAN, 1 % loss: an event reached half in {middle:.2f} s,"
        f" {len(took)} of {count}, all in {all_s}, {rate:.0f} B/s/node",
        "  goal: all in <= 2 s, <= 8000 B/s/node",
    ]


@dataclass(slots=True)
class Deaths:
    """Who declared whom dead, though nobody was."""

    healthy: int = 0
    """Healthy nodes, by anybody: Lifeguard's false positives."""
    of_starved: int = 0


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
            deaths = _starve(count, seed + step, settings)
            total.healthy += deaths.healthy
            total.of_starved += deaths.of_starved
        totals.append(total.healthy)
        lines.append(
            f"{count} nodes, one starved, {STARVED_SEEDS} x {STARVED_FOR_S:.0f} s, {title}:"
            f" {total.healthy} false deaths of healthy nodes, {total.of_starved} of the starved"
        )
    ratio = totals[1] / max(1, totals[0])
    return [*lines, f"  {ratio:.0f} times fewer; goal: at least 50"]


def _starve(count: int, seed: int, settings: GossipSettings) -> Deaths:
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

    def starve() -> None:
        asleep_s = mesh.rng.expovariate(1.0) * STARVED_MEAN_S
        pace.stall(mesh.world.now + asleep_s)
        mesh.world.call(mesh.world.now + asleep_s + STARVED_MEAN_S / 20, starve)

    mesh.world.call(mesh.world.now, starve)
    mesh.run(STARVED_FOR_S)
    return deaths
