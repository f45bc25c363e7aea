"""A packet network for machines: seeded delay, loss, duplicates, NAT, partitions, crashes.

Any machine that takes `Received` and asks for `Send` can be plugged in under its contact. All
randomness comes from one seeded generator, so a run repeats from its seed; with `trace`, `digest`
sums up every packet's fate, so two runs can be compared in one assertion.

With `real`, every datagram is encoded and decoded as on the wire, questions to an address that
gave no cookie are padded, and bytes are counted with what sealing adds. The sealing itself is left
out: that a packet reaches only a member who holds the key it is for is a rule of this network.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any

from meshnode.errors import ProtocolError
from meshnode.ids import Address, Contact, PublicKey
from meshnode.machine import Machine, Random
from meshnode.net.trimming import answer_bytes, is_question
from meshnode.sim.clocks import Clock, Pace
from meshnode.sim.hosts import OWN_MESH as OWN_MESH
from meshnode.sim.hosts import Host as Host
from meshnode.sim.links import Link, Losses, Routes, jitter_of
from meshnode.sim.nat import Nat
from meshnode.sim.world import Slot, World
from meshnode.wire.codec import COOKIE_BYTES, Envelope, decode_datagram, encode_datagram
from meshnode.wire.limits import MESSAGE_BYTES_MAX, SEALING_BYTES
from meshnode.wire.messages import Datagram, Received, Send

_COOKIE = bytes(COOKIE_BYTES)
_PADDED_BYTES = MESSAGE_BYTES_MAX - 1


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
        real: bool = False,
    ) -> None:
        self.world = world
        self.rng = rng
        self.routes = Routes(link or Link())
        self.sent = self.lost = self.delivered = 0
        self.strangers = self.too_long = 0
        """Packets that did not open where they came; messages of ours that fit no datagram."""
        self.bytes_by: Counter[type] = Counter()
        """Bytes sent, by type of message, with what sealing adds; counted if `real`."""
        self.on_sent: Callable[[Contact, Send, int], None] | None = None
        """Told of each packet's sender and of its bytes, sealed, if `real`."""
        self._proved: Callable[[Contact, Contact], bool] | None = None
        self.hosts: dict[Address, Host] = {}
        self.on_kill: list[Callable[[Host], None]] = []
        """Told of every host that is killed: streams break there."""
        self._nats: dict[str, Nat] = {}
        self._check = check
        """Called with every message sent, e.g. to see that it can be encoded."""
        self._real = real
        self._coded: tuple[object, bool, bytes, Any] = (None, False, b"", None)
        """The last message, whether it proved an address, its bytes, and what they decode to: the
        same one to several members is coded once."""
        self._numbers: dict[PublicKey, int] = {}
        self._cuts: set[tuple[int, int]] = set()
        """Sides between which nothing passes, by (from, to)."""
        self._losses = Losses(rng)
        self._digest = blake2b(digest_size=16)
        self._trace = trace
        """Whether `digest` is kept: it costs a part of a run."""

    # ------------------------------------------------------------------ hosts

    @property
    def link(self) -> Link:
        """The link between any two hosts that have no other."""
        return self.routes.default

    @link.setter
    def link(self, link: Link) -> None:
        self.routes.default = link

    @property
    def proved(self) -> Callable[[Contact, Contact], bool]:
        """Whether a packet from the first proves its address to the second; by cookies at first."""
        return self._proved or self._proves_by_cookie

    @proved.setter
    def proved(self, rule: Callable[[Contact, Contact], bool]) -> None:
        self._proved = rule

    @property
    def sent_by(self) -> dict[PublicKey, int]:
        """Packets sent by each host that is there now."""
        return {host.contact.public_key: host.sent for host in self.hosts.values()}

    def host(
        self, contact: Contact, *, nat: Nat | None = None, mesh: bytes = OWN_MESH, site: int = 0
    ) -> Host:
        """Put a host on the network; `contact` has its own address, inside a NAT if there is one.

        A key that was here before may come back, with what the network knew of it forgotten.
        """
        number = self._numbers.setdefault(contact.public_key, len(self._numbers))
        host = self.hosts[contact.address] = Host(contact, number, mesh=mesh, nat=nat)
        if nat is not None:
            self._nats[nat.public_host] = nat
        if site:
            self.routes.sites[contact.address] = site
        return host

    def plug(
        self,
        host: Host,
        machine: Machine[Any, Any],
        perform: Callable[[Any], None] | None = None,
        *,
        kinds: Iterable[type] = (),
        clock: Clock | None = None,
        pace: Pace | None = None,
    ) -> Slot[Any, Any]:
        """Start a machine on a host, for these kinds of messages or for all.

        Its effects other than `Send` go to `perform`.
        """

        def carry_out(effect: object) -> None:
            if type(effect) is Send:
                self.send(host.contact, effect)
            elif perform is not None:
                perform(effect)

        slot = self.world.add(machine, carry_out, clock=clock, pace=pace)
        host.slots.append(slot)
        for kind in kinds:
            host.hears[kind] = slot
        return slot

    def join(
        self,
        contact: Contact,
        machine: Machine[Any, Any],
        perform: Callable[[Any], None] | None = None,
    ) -> None:
        """Put a host with one machine on the network."""
        self.plug(self.host(contact), machine, perform)

    def tell(self, contact: Contact, event: object) -> None:
        """Give a host's first machine a local command now."""
        self.world.give(self.world.now, self.hosts[contact.address].slots[0], event)

    def kill(self, contact: Contact) -> None:
        """Stop a host for good, as `kill -9` does: no timer fires, packets to it are lost."""
        host = self.hosts.pop(contact.address)
        host.alive = False
        for slot in host.slots:
            self.world.remove(slot.machine)
        for told in self.on_kill:
            told(host)

    # ------------------------------------------------------------------ partitions

    def partition(self, groups: Iterable[Iterable[Contact]]) -> None:
        """Cut the network: packets pass only within a group. Hosts not named form one more."""
        self.heal()
        sides = 1
        for group in groups:
            for contact in group:
                self.hosts[contact.address].side = sides
            sides += 1
        self._cuts = {(a, b) for a in range(sides) for b in range(sides) if a != b}

    def cut_one_way(self, sources: Iterable[Contact], targets: Iterable[Contact]) -> None:
        """Let nothing pass from these to those; the other direction stays open."""
        self.heal()
        for side, group in ((1, sources), (2, targets)):
            for contact in group:
                self.hosts[contact.address].side = side
        self._cuts = {(1, 2)}

    def heal(self) -> None:
        """End every partition."""
        self._cuts = set()
        for host in self.hosts.values():
            host.side = 0

    def passes(self, source: Host | None, target: Host) -> bool:
        """Return whether no partition stands between two hosts, in this direction."""
        return source is None or (source.side, target.side) not in self._cuts

    # ------------------------------------------------------------------ packets

    def send(self, sender: Contact, send: Send) -> None:
        """Put one packet on the network, as if `sender` had sent it."""
        recipient = send.recipient
        source, target = self.hosts.get(sender.address), self.hosts.get(recipient.address)
        self.sent += 1
        holds = False
        if source is not None:
            source.sent += 1
            if target is not None and target.contact.public_key == recipient.public_key:
                holds = source.holds_cookie(target.number, self.world.now)
            else:
                holds = self._holds_cookie(source, recipient)
        message = send.message
        if self._check is not None:
            self._check(message)
        data, decoded = b"", message
        if self._real:
            encoded = self._encoded(source, sender, send, holds)
            if encoded is None:
                return
            data, decoded = encoded
        address, size = recipient.address, len(data) + SEALING_BYTES
        link, rng = self.routes.link(sender.address, address), self.rng
        for _ in range(2 if rng.random() < link.duplicates else 1):
            # Both are drawn for every packet, so that one packet's fate does not change what the
            # generator says to the next.
            lost = self._losses.lost(link, sender.address, address, size)
            jitter_s = jitter_of(link, rng)
            if self._trace:
                self._note(sender, send, data, lost)
            if lost:
                self.lost += 1
                continue
            when = self.world.now + link.delay_s + jitter_s
            self._carry(source, target, sender, recipient, decoded, when, holds)

    @property
    def digest(self) -> str:
        """A hash of every packet sent so far: time, ends, content, and whether it was lost."""
        assert self._trace, "a digest needs trace=True"
        return self._digest.hexdigest()

    def note(self, what: str) -> None:
        """Put a happening other than a packet into the digest."""
        if self._trace:
            self._digest.update(f"{_microseconds(self.world.now)} {what}\n".encode())

    def _encoded(
        self, source: Host | None, sender: Contact, send: Send, holds: bool
    ) -> tuple[bytes, Datagram] | None:
        """Return the bytes of a datagram and what its reader makes of them, None if it fits none;
        count them.
        """
        message = send.message
        if message is not self._coded[0] or holds is not self._coded[1]:
            try:
                padded = 0 if holds or not is_question(message) else answer_bytes(message)
                around = Envelope(message=message, issued=_COOKIE, returned=_COOKIE * holds)
                data = encode_datagram(around, pad_to=min(_PADDED_BYTES, padded))
            except ProtocolError:
                self.too_long += 1
                return None
            self._coded = (message, holds, data, decode_datagram(data).message)
        data, decoded = self._coded[2:]
        size = len(data) + SEALING_BYTES
        self.bytes_by[type(message)] += size
        if source is not None:
            source.bytes += size
        if self.on_sent is not None:
            self.on_sent(sender, send, size)
        return data, decoded

    def _carry(
        self,
        source: Host | None,
        target: Host | None,
        sender: Contact,
        recipient: Contact,
        message: Datagram,
        when: float,
        holds: bool,
    ) -> None:
        """Bring a packet to where it is addressed, through the NATs in between."""
        if source is not None and source.nat is not None:
            nat, inside = source.nat, sender.address
            if target is None or target.nat is not nat:  # it leaves the box
                outside = nat.outward(inside, recipient.address, self.world.now)
                sender = Contact(sender.public_key, outside)
        if target is not None and (target.nat is None or (source and source.nat is target.nat)):
            proved = holds and source is not None and source.shows(sender.address, target.number)
            self._arrive(source, sender, target, recipient, message, when, proved)
            return
        box = self._nats.get(recipient.address.host)
        if box is not None:
            self.world.call(when, lambda: self._through(box, source, sender, recipient, message))
            return
        self.lost += 1  # nobody there

    def _through(
        self, box: Nat, source: Host | None, sender: Contact, recipient: Contact, message: Datagram
    ) -> None:
        """Bring a packet to a host behind a NAT, if the box lets it in when it comes."""
        inside = box.inward(recipient.address, sender.address, self.world.now)
        target = None if inside is None else self.hosts.get(inside)
        if target is None:
            self.lost += 1
        else:
            proved = source is not None and self._proves(source, sender, target)
            self._arrive(source, sender, target, recipient, message, self.world.now, proved)

    def _arrive(
        self,
        source: Host | None,
        sender: Contact,
        target: Host,
        recipient: Contact,
        message: Datagram,
        when: float,
        proved: bool,
    ) -> None:
        """Give a packet to whom it was sealed for; `proved` says what the cookies say."""
        if source is not None and source.mesh != target.mesh:
            self.strangers += 1
            return
        key = recipient.public_key
        if target.contact.public_key != key or not self.passes(source, target):
            self.lost += 1  # sealed for somebody else, or cut off
            return
        self.delivered += 1
        if self._proved is not None:
            proved = self._proved(sender, target.contact)
        if source is not None:
            count = len(self._numbers)
            target.take_cookie(source.number, recipient.address, when, count=count)
        slot = target.hears.get(type(message))
        self.world.give(when, slot or target.slots[0], Received(sender, message, proved))

    # ------------------------------------------------------------------ cookies

    def _holds_cookie(self, holder: Host, issuer: Contact) -> bool:
        return holder.holds_cookie(self._numbers.get(issuer.public_key), self.world.now)

    def _proves_by_cookie(self, sender: Contact, recipient: Contact) -> bool:
        source, target = self.hosts.get(sender.address), self.hosts.get(recipient.address)
        return source is not None and target is not None and self._proves(source, sender, target)

    def _proves(self, source: Host, sender: Contact, target: Host) -> bool:
        """Return whether the sender has a cookie of the target, for the address it shows."""
        return source.holds_cookie(target.number, self.world.now) and source.shows(
            sender.address, target.number
        )

    def _note(self, sender: Contact, send: Send, data: bytes, lost: bool) -> None:
        ends = f"{sender.address} {send.recipient.address} {lost} "
        self._digest.update(f"{_microseconds(self.world.now)} {ends}".encode())
        self._digest.update(data or repr(send.message).encode())


def contact_of(index: int, public_key: bytes | None = None) -> Contact:
    """Return the contact of simulated host `index`: a private address, a key made from it."""
    key = public_key or blake2b(b"host%d" % index, digest_size=32).digest()
    address = Address(f"10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}", 6174)
    return Contact(PublicKey(key), address)


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)
