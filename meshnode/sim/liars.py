"""Liar: a member that keeps its word to nobody, written as a machine.

Beside what `hostile.Accuser` does it tells one half of the mesh another name than the other, at one
incarnation and both signed (equivocation); says that it is idle, or busy for days, with
sequences that jump; quotes loads of others that they never had; shows glimpses, summaries and
wishes that are noise. It answers pings, so that it stays a member.
"""

from collections.abc import Callable
from dataclasses import replace

from meshnode.gossip.words import Signatures
from meshnode.identity.keys import Identity
from meshnode.ids import Contact, NodeTag, tag_of
from meshnode.machine import Random
from meshnode.sim.hostile import NETWORK, Accuser
from meshnode.wire.messages import (
    Datagram,
    Glimpses,
    Gossip,
    LoadRecord,
    MemberUpdate,
    ModuleLoad,
    Received,
    Rest,
    Send,
    Summary,
    Want,
)

TOLD = 3
LARGE = 2**32 - 1


class Liar:
    """Lies twice a second to a few members, from the first thing it hears."""

    def __init__(
        self,
        contact: Contact,
        identity: Identity,
        victims: Callable[[], list[Contact]],
        rng: Random,
    ) -> None:
        self._accuser = Accuser(identity, victims, rng)
        self._witness = Signatures(identity, NETWORK)
        self._contact = contact
        self._victims = victims
        self._rng = rng
        self._incarnation = 1
        self._word: MemberUpdate | None = None

    def handle(self, event: object, now: float) -> list[Send]:
        """Hear who there is, and learn from a member how a word looks."""
        if isinstance(event, Received) and self._word is None:
            updates = getattr(event.message, "updates", ())
            self._word = next(iter(updates), None)
        return self._accuser.handle(event, now)

    def tick(self, now: float) -> list[Send]:
        """Accuse, and tell a few members all kinds of things."""
        sends = self._accuser.tick(now)
        victims = self._victims()
        for contact in self._rng.sample(victims, min(TOLD, len(victims))):
            way = self._rng.choice((self.two_faced, self.idle_or_busy, self.quoting, self.noise))
            sends += [Send(contact, message) for message in way(contact)]
        return sends

    def next_timer(self) -> float | None:
        """As the accuser."""
        return self._accuser.next_timer()

    def two_faced(self, to: Contact) -> list[Datagram]:
        """Another word for each half of the mesh."""
        if self._word is None:
            return []
        self._incarnation += self._rng.random() < 0.1
        name = "one" if to.public_key[0] % 2 else "another"
        word = replace(self._word, contact=self._contact, name=name, state=0)
        return [
            Gossip(updates=(self._witness.signed(replace(word, incarnation=self._incarnation)),))
        ]

    def idle_or_busy(self, to: Contact) -> list[Datagram]:
        """A load of its own that is not true."""
        return [Gossip(loads=(self._load(tag_of(self._contact.node_id)),))]

    def quoting(self, to: Contact) -> list[Datagram]:
        """Loads of others that are not true either."""
        victims = self._rng.sample(self._victims(), 1)
        return [Gossip(loads=tuple(self._load(tag_of(c.node_id)) for c in victims))]

    def noise(self, to: Contact) -> list[Datagram]:
        """Rows that mean nothing."""
        rng = self._rng
        return [
            Glimpses(entries=rng.randbytes(30 * rng.randint(0, 34))),
            Summary(parts=rng.randbytes(rng.randint(0, 64)), entries=rng.randbytes(16 * 9)),
            Want(tags=rng.randbytes(8 * rng.randint(0, 64))),
        ]

    def _load(self, node: NodeTag) -> LoadRecord:
        rng = self._rng
        return LoadRecord(
            node=node,
            sequence=rng.getrandbits(rng.choice((8, 30, 63))),
            age_ms=rng.choice((0, 100, LARGE)),
            wait=rng.choice((0, 10, LARGE)),
            wait_mean=rng.choice((0, LARGE)),
            wait_sigma=0,
            in_flight=rng.choice((0, 65535)),
            draining=rng.random() < 0.2,
            speed=rng.choice((0, 1, LARGE)),
            modules=(ModuleLoad(module=NodeTag(rng.randbytes(8)), warm=True, first=1, unit=0),),
            rest=rng.choice((None, Rest(listed=0, at=rng.randrange(8), warm=255, waits=255))),
        )
