"""A packet network for machines: seeded delay, jitter, loss, duplicates and partitions.

Any machine that takes `Received` and asks for `Send` can be plugged in under its contact. All
randomness comes from one seeded generator, so a run repeats from its seed; with `trace`, `digest`
sums up every packet's fate, so two runs can be compared in one assertion.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from meshnode.ids import Address, Contact, PublicKey
from meshnode.machine import Machine, Random
from meshnode.wire.messages import Datagram, Received, Send
from tests.sim.world import World

COOKIE_S = 300.0
"""How long a cookie proves an address at least (`identity.sealing.Cookies`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How packets fare on their way. Delays in seconds, one way; chances from 0 to 1."""

    delay_s: float = 0.010
    jitter_s: float = 0.005
    """Added delay, exponentially distributed with this mean: packets overtake each other."""
    loss: float = 0.0
    duplicates: float = 0.0


@dataclass(slots=True)
class _Host:
    contact: Contact
    machine: Machine[Any, Any]
    alive: bool = True
    side: int = 0
    """Hosts on different sides of a partition do not reach each other."""


class Network:
    """Carries `Send` from one machine to another as `Received`, through a `World`'s time."""

    def __init__(
        self,
        world: World[Any, Any],
        rng: Random,
        link: Link | None = None,
        *,
        check: Callable[[Datagram], object] | None = None,
        trace: bool = False,
    ) -> None:
        self.world = world
        self.rng = rng
        self.link = link or Link()
        self.sent = self.lost = self.delivered = 0
        self.sent_by: dict[PublicKey, int] = {}
        self.proved: Callable[[Contact, Contact], bool] = self._holds_cookie
        """Whether a packet from the first proves its address to the second; replaceable."""
        self._cookies: dict[tuple[PublicKey, PublicKey], float] = {}
        """(holder, issuer) -> when. Every packet brings its recipient a cookie of its sender."""
        self._check = check
        """Called with every message sent, e.g. to see that it can be encoded."""
        self._hosts: dict[Address, _Host] = {}
        self._digest = blake2b(digest_size=16)
        self._trace = trace
        """Whether `digest` is kept: it costs a third of a run."""

    def join(
        self,
        contact: Contact,
        machine: Machine[Any, Any],
        perform: Callable[[Any], None] | None = None,
    ) -> None:
        """Plug a machine in; its effects other than `Send` go to `perform`."""
        host = _Host(contact, machine)
        self._hosts[contact.address] = host

        def carry_out(effect: Any) -> None:
            if isinstance(effect, Send):
                self.send(host.contact, effect)
            elif perform is not None:
                perform(effect)

        self.world.add(machine, carry_out)

    def tell(self, contact: Contact, event: Any) -> None:
        """Give a machine a local command now."""
        self.world.at(self.world.now, self._hosts[contact.address].machine, event)

    def kill(self, contact: Contact) -> None:
        """Stop a machine for good, as `kill -9` does: no timer fires, packets to it are lost."""
        host = self._hosts.pop(contact.address)
        host.alive = False
        self.world.remove(host.machine)

    def partition(self, groups: Iterable[Iterable[Contact]]) -> None:
        """Cut the network: packets pass only within a group. Hosts not named form one more."""
        self.heal()
        for side, group in enumerate(groups, 1):
            for contact in group:
                self._hosts[contact.address].side = side

    def heal(self) -> None:
        """End a partition."""
        for host in self._hosts.values():
            host.side = 0

    def send(self, sender: Contact, send: Send) -> None:
        """Put one packet on the network, as if `sender` had sent it."""
        self.sent += 1
        self.sent_by[sender.public_key] = self.sent_by.get(sender.public_key, 0) + 1
        if self._check is not None:
            self._check(send.message)
        copies = 2 if self.rng.random() < self.link.duplicates else 1
        for _ in range(copies):
            # Both numbers are drawn for every packet, so that one packet's fate does not
            # change what the generator says to the next.
            lost = self.rng.random() < self.link.loss
            jitter = self.rng.expovariate(1.0) * self.link.jitter_s
            if self._trace:
                self._note(sender, send, lost)
            if lost:
                self.lost += 1
                continue
            self._arrive(sender, send, self.world.now + self.link.delay_s + jitter)

    @property
    def digest(self) -> str:
        """A hash of every packet sent so far: time, ends, content, and whether it was lost."""
        assert self._trace, "a digest needs trace=True"
        return self._digest.hexdigest()

    def _arrive(self, sender: Contact, send: Send, when: float) -> None:
        source = self._hosts.get(sender.address)
        target = self._hosts.get(send.recipient.address)
        if (
            target is None
            or target.contact.public_key != send.recipient.public_key
            or (source is not None and source.side != target.side)
        ):
            self.lost += 1  # nobody there, sealed for somebody else, or cut off
            return
        self.delivered += 1
        proved = self.proved(sender, target.contact)
        if not self._holds_cookie(target.contact, sender):  # an older one stays good meanwhile
            self._cookies[target.contact.public_key, sender.public_key] = when
        self.world.at(when, target.machine, Received(sender, send.message, proved=proved))

    def _holds_cookie(self, sender: Contact, recipient: Contact) -> bool:
        issued = self._cookies.get((sender.public_key, recipient.public_key))
        return issued is not None and issued <= self.world.now < issued + COOKIE_S

    def _note(self, sender: Contact, send: Send, lost: bool) -> None:
        fate = (self.world.now, str(sender.address), str(send.recipient.address), lost)
        self._digest.update(repr((fate, send.message)).encode())


def contact_of(index: int, public_key: bytes | None = None) -> Contact:
    """Return the contact of simulated host `index`: a private address, a key made from it."""
    key = public_key or blake2b(b"host%d" % index, digest_size=32).digest()
    address = Address(f"10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}", 6174)
    return Contact(PublicKey(key), address)
