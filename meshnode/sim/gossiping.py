"""What the simulator knows of how gossip works: making a machine, and what only simulations do.

All of it that may change with `gossip/` is here.
"""

from collections.abc import Sequence

from meshnode.caps import Caps
from meshnode.gossip.machine import SwimMachine, WantLoads
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.table import MemberTable
from meshnode.gossip.words import Signatures
from meshnode.identity.keys import Identity
from meshnode.ids import Contact, ContentHash, NetworkId, tag_of
from meshnode.machine import Random
from meshnode.wire import messages
from meshnode.wire.messages import Gossip, MemberUpdate

GOSSIP_KINDS: tuple[type, ...] = (
    messages.Ping,
    messages.Ack,
    messages.Nack,
    messages.PingRequest,
    messages.Gossip,
    messages.Digest,
    messages.Summary,
    messages.Want,
    messages.Glimpses,
    messages.Subscribe,
)
"""The messages that are gossip's; all others are the DHT's."""


def swim_machine(
    identity: Identity,
    network: NetworkId,
    own: Contact,
    *,
    name: str,
    caps: Caps,
    incarnation: int,
    settings: GossipSettings,
    rng: Random,
) -> SwimMachine:
    """Return the machine of one node, as `node/building.py` makes it."""
    return SwimMachine(
        own,
        name=name,
        caps=caps,
        incarnation=incarnation,
        settings=settings,
        witness=Signatures(identity, network),
        rng=rng,
    )


def acquaint(machines: Sequence[SwimMachine], now: float) -> None:
    """Make everybody know everybody at once, as after a long quiet life together.

    Only for large meshes, whose forming is not what is measured.
    """
    # The machine has no door for this: outside a simulation nobody may be believed unheard.
    full = MemberTable(machines[0]._settings)
    for machine in machines:
        full.apply(machine._own.word, now)
    for machine in machines:
        table, tag = machine._table, machine._own.tag
        table._members.update(full._members)
        own = table._members.pop(tag)
        table._roll = [t for t in full._roll if t != tag]
        table._listed = set(table._roll)
        table._parts._hashes = list(full._parts._hashes)
        table._parts.toggle(tag, own.incarnation)
        table.present_count = len(table._roll)


def accused(liar: Identity, network: NetworkId, words: Sequence[MemberUpdate]) -> Gossip | None:
    """Return a message in which a member accuses those whose words it heard."""
    witness = Signatures(liar, network)
    lies = tuple(witness.accuse(u.contact.node_id, u.incarnation) for u in words)
    return Gossip(accusations=lies) if lies else None


def want_loads(module: ContentHash, required: Caps) -> object | None:
    """Return what gossip must be told before a request of a module is placed; None for nothing."""
    return WantLoads(tag_of(module), required)
