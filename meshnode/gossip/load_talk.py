"""LoadTalk: what is heard of loads, and by whom ours is wanted.

In a small mesh every load reaches everybody by gossip. In a large one a node follows those whom it
gives work, by subscription, and only what a member says of itself counts.
"""

from collections.abc import Iterable

from meshnode.gossip.events import LoadHeard, SwimEffect, WantLoads
from meshnode.gossip.interests import Interests
from meshnode.gossip.loads import aged
from meshnode.gossip.member import Member
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.sizes import AROUND_BYTES
from meshnode.gossip.speaker import Speaker
from meshnode.gossip.table import MemberTable
from meshnode.ids import Contact, NodeTag, tag_of
from meshnode.labels import Labels
from meshnode.machine import Random
from meshnode.wire.messages import Ack, LoadRecord, Received, Send, Subscribe


class LoadTalk:
    """Subscriptions in both directions, and the records that come."""

    def __init__(
        self,
        own: Contact,
        table: MemberTable,
        speaker: Speaker,
        *,
        settings: GossipSettings,
        rng: Random,
    ) -> None:
        self._table = table
        self._speaker = speaker
        self._sequence = rng.getrandbits(32)
        self._interests = Interests(own, table, speaker.glimpses, settings=settings, rng=rng)

    def candidates(self, module: NodeTag, labels: Labels) -> list[Member] | None:
        """Return whose loads we follow for one module; None in a small mesh: everybody's."""
        return None if self._speaker.mesh_is_small else self._interests.candidates(module, labels)

    def hear(
        self, loads: Iterable[LoadRecord], sender: NodeTag, one_way_ms: float, now: float
    ) -> list[SwimEffect]:
        """Keep records of members that are present, older by the way they came."""
        small = self._speaker.mesh_is_small
        effects: list[SwimEffect] = []
        for load in loads:
            direct = load.node == sender
            if not self._table.knows_tag(load.node) or not (small or direct):
                continue
            if direct:
                self._interests.heard(load.node)
            heard = self._speaker.loads.hear(load, one_way_ms, now, direct=direct)
            if heard is not None:
                effects.append(LoadHeard(heard, now))
            elif self._speaker.loads.is_late(load):
                written_at = now - (load.age_ms + one_way_ms) / 1000
                effects.append(LoadHeard(aged(load, written_at, now), now, late=True))
        return effects

    def want(self, event: WantLoads, now: float, own_now: float) -> list[Send]:
        """Follow the candidates for a module from now on, if the mesh is too large for all."""
        if self._speaker.mesh_is_small:
            return []
        self._interests.want(event.module, event.required, own_now, event.labels)
        return self.ask(now, own_now)

    def ask(self, now: float, own_now: float) -> list[Send]:
        """Return the subscriptions that are to be made, renewed or ended, and for which is room."""
        if not self._interests:
            return []
        budget = self._speaker.budget
        most = max(0, int(budget.room(now) / (AROUND_BYTES + budget.headers_bytes)))
        asks = self._interests.subscribe(self._sequence, own_now, most=most)
        self._sequence = (self._sequence + len(asks)) % 2**32
        sends = [
            Send(member.contact, Subscribe(sequence=sequence, wanted=wanted))
            for member, sequence, wanted in asks
        ]
        return [send for send in sends if budget.spare(AROUND_BYTES, now)]

    def acked(self, sender: Contact, ack: Ack, now: float) -> list[Send]:
        """Subscribe again where the first try was only answered by a cookie."""
        if not self._interests.acked(sender.node_id, ack.sequence):
            return []
        if not self._speaker.budget.urgent(AROUND_BYTES, now):
            return []
        return [Send(sender, Subscribe(sequence=ack.sequence, wanted=True))]

    def asked(self, event: Received, ask: Subscribe, now: float) -> list[Send]:
        """Begin to push our load, to an address that is proved; another gets a cookie first."""
        if not ask.wanted:
            self._speaker.subscribers.remove(tag_of(event.sender.node_id))
            return []
        if not event.proved:
            return [Send(event.sender, Ack(sequence=ask.sequence))]
        if not self._speaker.subscribers.add(event.sender, now):
            return []
        return self._speaker.first_push(event.sender, now)
