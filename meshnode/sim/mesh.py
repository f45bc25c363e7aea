"""SimMesh: many whole nodes in one world, made from a seed."""

import gc
from collections.abc import Callable, Iterable
from typing import Any

from meshnode.gossip.member import Member, MemberState
from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact, PublicKey
from meshnode.machine import Random
from meshnode.sim.clocks import Clock, Pace
from meshnode.sim.doors import Door
from meshnode.sim.gossiping import acquaint
from meshnode.sim.links import Link
from meshnode.sim.network import Network
from meshnode.sim.node import Parts, Place, SimNode
from meshnode.sim.streams import Streams
from meshnode.sim.world import World

PORT = 6174


class SimMesh:
    """Nodes, their world and their network."""

    def __init__(
        self,
        seed: int,
        *,
        link: Link | None = None,
        parts: Parts | None = None,
        trace: bool = False,
        real: bool = True,
    ) -> None:
        self.rng = Random(seed)
        self.parts = parts or Parts()
        self.world: World[Any, Any] = World()
        self.network = Network(
            self.world, Random(self.rng.getrandbits(64)), link, trace=trace, real=real
        )
        self.streams = Streams(self.network, Random(self.rng.getrandbits(64)))
        self.network.on_kill.append(self.streams.dropped)
        self.nodes: list[SimNode] = []
        self.on_change: Callable[[SimNode, Member], None] | None = None

    # ------------------------------------------------------------------ nodes

    def add(
        self,
        *,
        host: str = "",
        clock: Clock | None = None,
        pace: Pace | None = None,
        mesh: bytes = b"",
        site: int = 0,
    ) -> SimNode:
        """Make one more node; it is started by its `start`."""
        index = len(self.nodes)
        host = host or f"10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}"
        node = SimNode(
            self.network,
            Identity.from_seed(self.rng.randbytes(32)),
            Place(address=Address(host, PORT), clock=clock, pace=pace, mesh=mesh, site=site),
            self.parts,
            Random(self.rng.getrandbits(64)),
            name=f"node-{index}",
        )
        node.on_change = self._changed
        node.on_start.append(self._open_door)
        self.nodes.append(node)
        return node

    def grow(self, count: int, *, every_s: float = 0.05) -> None:
        """Start so many nodes, each through a random earlier one."""
        for _ in range(count):
            known = self.alive
            sponsors = (self.rng.choice(known).contact,) if known else ()
            self.add().start(sponsors)
            if every_s:
                self.run(every_s)

    @property
    def alive(self) -> list[SimNode]:
        """The nodes that run now."""
        return [node for node in self.nodes if node.alive]

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.world.run(self.world.now + seconds)

    def node_of(self, key: PublicKey) -> SimNode | None:
        """Return the node with this key."""
        return next((n for n in self.nodes if n.identity.public_key == key), None)

    # ------------------------------------------------------------------ what they believe

    def unseen(self) -> list[tuple[SimNode, SimNode]]:
        """Return (who, whom) for each living node that another living one does not see alive."""
        living = self.alive
        missing = []
        for node in living:
            assert node.swim is not None, "a mesh without gossip sees nobody"
            seen = {
                m.contact.public_key for m in node.swim.members() if m.state is MemberState.ALIVE
            }
            missing += [
                (node, other)
                for other in living
                if other is not node and other.identity.public_key not in seen
            ]
        return missing

    def acquaint(self) -> None:
        """Make everybody know everybody at once; see `gossiping.acquaint`."""
        acquaint([node.swim for node in self.alive if node.swim is not None], self.world.now)
        gc.freeze()  # millions of entries that are never garbage: looking at them takes longer

    def _open_door(self, node: SimNode) -> None:
        self.streams.doors[node.contact.address] = Door(node).answer

    def _changed(self, node: SimNode, member: Member) -> None:
        if self.on_change is not None:
            self.on_change(node, member)


def contacts_of(nodes: Iterable[SimNode]) -> tuple[Contact, ...]:
    """Return where nodes listen."""
    return tuple(node.contact for node in nodes)
