"""What the simulator knows of how gossip works: making a machine, and what only simulations do.

All of it that may change with `gossip/` is here.
"""

from collections.abc import Sequence
from dataclasses import replace

from meshnode.caps import Caps
from meshnode.gossip.machine import SwimMachine
from meshnode.gossip.member import MemberState
from meshnode.gossip.settings import GossipSettings
from meshnode.identity.keys import Identity
from meshnode.ids import Contact, ContentHash, NetworkId, node_id_of, tag_of
from meshnode.machine import Random
from meshnode.wire.messages import Ack, Gossip, MemberUpdate, Ping, PingRequest

GOSSIP_KINDS = (Ping, Ack, PingRequest, Gossip)
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
    del identity, network  # nothing is signed yet
    return SwimMachine(
        own, name=name, caps=caps, incarnation=incarnation, settings=settings, rng=rng
    )


def acquaint(machines: Sequence[SwimMachine], now: float) -> None:
    """Make everybody know everybody at once, as after a long quiet life together.

    Only for large meshes, whose forming is not what is measured.
    """
    # The machine has no door for this: outside a simulation nobody may be believed unheard.
    claims = [machine._own.claim for machine in machines]
    for machine in machines:
        table, order = machine._table, machine._detector.order
        for claim in claims:
            if claim.contact.public_key != machine._own.public_key and table.apply(claim, now):
                order.insert(claim.contact.node_id)


def accused(liar: Identity, network: NetworkId, words: Sequence[MemberUpdate]) -> Gossip | None:
    """Return a message in which a member accuses those whose words it heard."""
    del network  # nothing is signed yet
    tag = tag_of(node_id_of(liar.public_key))
    claims = tuple(replace(u, state=MemberState.SUSPECT, accuser=tag) for u in words)
    return Gossip(updates=claims) if claims else None


def want_loads(module: ContentHash, required: Caps) -> object | None:
    """Return what gossip must be told before a request of a module is placed; None for nothing."""
    del module, required  # everybody's load goes to everybody
    return None


def without_lifeguard(settings: GossipSettings) -> GossipSettings:
    """Return plain SWIM: no local health, no shrinking suspicion, no time given back."""
    return replace(settings, awareness_max=0, suspicion_max_mult=1, late_s=float("inf"))
