"""Membership: the live peers and their loads. Pairs with `gossip/`."""

import logging
from collections.abc import Callable

import trio

from meshnode.caps import Caps
from meshnode.gossip.glimpses import Glimpse
from meshnode.gossip.machine import (
    Expel,
    HearLoad,
    Join,
    Leave,
    LoadHeard,
    MemberChanged,
    SetLoad,
    Suspect,
    SwimEffect,
    SwimInput,
    SwimMachine,
    WantLoads,
)
from meshnode.gossip.member import Member
from meshnode.ids import Contact, ContentHash, NodeId, PublicKey, node_id_of, short, tag_of
from meshnode.labels import Labels
from meshnode.node.driver import Driver
from meshnode.wire.messages import LoadRecord, Received, Send

_log = logging.getLogger(__name__)


class Membership:
    """A current view of the mesh, read without waiting."""

    def __init__(
        self,
        machine: SwimMachine,
        *,
        send: Callable[[Send], None],
        on_load: Callable[[LoadHeard], None],
        on_change: Callable[[Member], None],
    ) -> None:
        self._machine = machine
        self._send = send
        self._on_load = on_load
        self._on_change = on_change
        self._driver: Driver[SwimInput, SwimEffect] = Driver(machine, self._perform)

    async def run(self) -> None:
        """Serve the machine's timers until cancelled."""
        await self._driver.run()

    def receive(self, received: Received) -> None:
        """Take a membership datagram."""
        self._driver.handle(received)

    def join(self, contacts: tuple[Contact, ...]) -> None:
        """Start gossiping with these."""
        if contacts:
            self._driver.handle(Join(contacts))

    def set_load(self, load: LoadRecord) -> None:
        """Say how busy we are from now on."""
        self._driver.handle(SetLoad(load))

    def hear_load(self, load: LoadRecord) -> None:
        """Take a record that came with an answer, so it is passed on as well."""
        self._driver.handle(HearLoad(load))

    def suspect(self, node_id: NodeId) -> None:
        """A call to this node found it unreachable: probe it now."""
        self._driver.handle(Suspect(node_id))

    def expel(self, key: PublicKey) -> None:
        """A member was revoked: it counts as one that said it was leaving."""
        self._driver.handle(Expel(node_id_of(key)))

    def leave(self) -> None:
        """Tell everyone we are going."""
        self._driver.handle(Leave())

    def members(self) -> tuple[Member, ...]:
        """Return every other member still remembered, whatever its state."""
        return self._machine.members()

    def alive(self) -> tuple[Member, ...]:
        """Return the other members believed alive or merely suspected."""
        return self._machine.alive()

    def is_present(self, node_id: NodeId) -> bool:
        """Return whether another member is believed alive or merely suspected."""
        return self._machine.is_present(node_id)

    def labels_of(self, node_id: NodeId) -> Labels:
        """Return a member's labels; of who is not known, none."""
        member = self._machine.member(node_id)
        return () if member is None else member.traits.labels

    def contact_of(self, node_id: NodeId) -> Contact | None:
        """Return where a member listens, or None if it is not known."""
        member = self._machine.member(node_id)
        return None if member is None else member.contact

    def rtt_ms(self, node_id: NodeId) -> float | None:
        """Return the round trip to a member, or None if it is not known."""
        member = self._machine.member(node_id)
        return None if member is None else member.rtt_ms

    def candidates(
        self, module: ContentHash, required: Caps, labels: Labels | None = ()
    ) -> tuple[Member, ...]:
        """Return the members that may be given a request of this module.

        In a small mesh everybody, and so too where nobody may be asked (`labels` None): there is
        no load to follow then. In a large one, those with the labels whose loads are followed for
        it: asking is what makes this node follow them, so the first answer names members not
        heard of yet.
        """
        if labels is None:
            return self._machine.members()
        self._driver.handle(WantLoads(tag_of(module), required, labels))
        found = self._machine.candidates(tag_of(module), labels)
        return self._machine.members() if found is None else tuple(found)

    def glimpse(self, node_id: NodeId) -> Glimpse | None:
        """Return what the wide view of a large mesh has of a member."""
        return self._machine.glimpse(node_id, trio.current_time())

    @property
    def incarnation(self) -> int:
        """Our own incarnation, to be kept over a restart."""
        return self._machine.incarnation

    def _perform(self, effect: SwimEffect) -> None:
        match effect:
            case Send():
                self._send(effect)
            case LoadHeard():
                self._on_load(effect)
            case MemberChanged():
                member = effect.member
                _log.info(
                    "%s (%s) is %s",
                    member.name,
                    short(member.contact.node_id),
                    member.state.name.lower(),
                )
                self._on_change(member)


async def rejoin_lost(
    membership: Membership, known: Callable[[], list[Contact]], every_s: float
) -> None:
    """Keep offering membership the contacts that other sources know, until cancelled.

    The DHT's table and the peer cache know nodes that gossip has not met, after a start or a
    partition; asking a few again and again is what lets two halves of a mesh heal
    (serf #333, hivemind #624).
    """
    turn = 0
    while True:
        missing = [c for c in known() if not membership.is_present(c.node_id)]
        if missing:
            start = turn % len(missing)
            membership.join(tuple((missing[start:] + missing[:start])[:4]))
            turn += 4
        await trio.sleep(every_s)
