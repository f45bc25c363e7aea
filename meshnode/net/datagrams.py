"""The UDP socket: sealed datagrams out, verified datagrams in, and nothing for strangers.

What arrives passes, cheapest first: size, outer MAC, the prefix's token bucket, the pair key
(X25519 for a new peer, from a bucket of its own), the AEAD, the window of numbers, the decoder.
Whatever fails is counted and answered by silence. Requests to an address that gave us no cookie
are padded to their answer; answers to one that has proved nothing are cut to their request.
"""

import socket
from collections.abc import Callable, Container
from dataclasses import replace
from functools import lru_cache

import trio

from meshnode.errors import ProtocolError, RemoteProtocolError
from meshnode.identity.keys import Identity
from meshnode.identity.ring_sealing import RingSealer, SealingKeys
from meshnode.identity.sealing import (
    KEY_BYTES,
    MAC1_BYTES,
    NONCE_BYTES,
    OVERHEAD_BYTES,
    PLAINTEXT_BYTES_MAX,
    SEED_MESH_KEY,
    SEED_NETWORK,
    Sealer,
)
from meshnode.ids import Address, Contact, NetworkId, PublicKey
from meshnode.net.addresses import Sockaddr, from_sockaddr, is_literal, to_sockaddr
from meshnode.net.binding import bind_socket
from meshnode.net.datagram_stats import DatagramStats
from meshnode.net.limiter import PrefixLimiter
from meshnode.net.names import Names
from meshnode.net.replays import Replays
from meshnode.net.routability import Routability
from meshnode.net.settings import NetSettings
from meshnode.net.silence import Silence
from meshnode.net.tcp import allow_fragments
from meshnode.net.trimming import answer_bytes, encoded, is_answer, is_question, shorter
from meshnode.net.vouched import Vouched
from meshnode.wire.codec import Envelope, decode_datagram
from meshnode.wire.limits import DATAGRAM_BYTES_MAX
from meshnode.wire.messages import Datagram, Received, Send

NONCE_AT = MAC1_BYTES + KEY_BYTES
PADDED_BYTES = PLAINTEXT_BYTES_MAX - 1
"""One less than fits: for some lengths the padding comes out a byte longer than asked for."""

Deliver = Callable[[Received], None]
DeliverSeed = Callable[[NetworkId, Received], None]


class DatagramSocket:
    """One bound UDP socket, of a mesh's member or, with `mesh=None`, of a seed."""

    def __init__(
        self,
        identity: Identity,
        *,
        mesh: SealingKeys | None,
        settings: NetSettings,
        cookies_secret: bytes,
    ) -> None:
        self._settings = settings
        self._network = mesh.network if mesh is not None else NetworkId(b"")
        self._mesh_sealer = RingSealer(identity, mesh) if mesh is not None else None
        self._seed_sealer = Sealer(identity, mesh_key=SEED_MESH_KEY, network=SEED_NETWORK)
        self._routability = Routability(cookies_secret)
        self.vouched = Vouched()
        """Members that were met on connections; the pool tells of them."""
        self._limiter = PrefixLimiter(
            per_second=settings.datagrams_per_prefix_s,
            private_per_second=settings.datagrams_private_s,
            vouched=self.vouched,
            per_member_s=settings.datagrams_per_member_s,
        )
        self._new_senders = PrefixLimiter(
            per_second=settings.new_senders_per_prefix_s,
            private_per_second=settings.new_senders_private_s,
        )
        self._first_requests = PrefixLimiter(
            per_second=settings.first_requests_per_prefix_s,
            private_per_second=settings.first_requests_private_s,
            vouched=self.vouched,
            per_member_s=settings.first_requests_per_member_s,
        )
        self._replays = Replays()
        self._names = Names(self._send_resolved)
        self._socket: socket.socket | None = None
        self._family: int = socket.AF_INET
        """The socket's; asking it makes an enum's member each time."""
        self.seeds: set[PublicKey] = set()
        """Who is spoken to outside the mesh's seal; only they may use that seal to us."""
        self.silence = Silence()
        self.expelled: Container[PublicKey] = frozenset()
        """Who is neither heard nor spoken to, though it may hold a key of the mesh."""
        self.stats = DatagramStats()
        self.detour: Callable[[Contact, bytes], bool] = lambda *_: False
        """Takes a packet that should not go by UDP (alone); see `node/tunnel.py`."""
        self.on_heard: Callable[[Received], None] = lambda _: None
        """Called for each datagram that came in by UDP and is authentic."""

    async def bind(self, host: str, port: int) -> int:
        """Bind, and return the port. Raises PortTaken or ConfigError, as `Listener.bind`."""
        sock = await bind_socket(host, port, socket.SOCK_DGRAM)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, self._settings.socket_buffer_bytes)
        allow_fragments(sock)
        self._socket, self._family = sock, int(sock.family)
        return int(sock.getsockname()[1])

    def close(self) -> None:
        """Close the socket; what is sent afterwards is dropped."""
        if self._socket is not None:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
            self._socket = None

    async def run(self, deliver: Deliver) -> None:
        """Receive until cancelled or closed; then the socket is closed.

        `deliver` is called at once for each datagram and must be quick.
        """
        await self._run(lambda _, received: deliver(received))

    async def run_seed(self, deliver: DeliverSeed) -> None:
        """As `run`, for a seed: `deliver` also gets the mesh that the datagram is about."""
        await self._run(deliver)

    async def _run(self, deliver: DeliverSeed) -> None:
        assert self._socket is not None, "bind first"
        sock = self._socket
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._names.run)
                while self._socket is sock:
                    try:
                        await trio.lowlevel.wait_readable(sock)
                    except trio.ClosedResourceError:
                        break
                    self._drain(sock, deliver)
                nursery.cancel_scope.cancel()
        finally:
            self.close()

    # ------------------------------------------------------------------ sending

    def send(self, send: Send, *, network: NetworkId | None = None) -> None:
        """Seal and send, or drop and count; never waits, never raises for the network's sake.

        `network` is for seeds: the mesh that this answer is about.
        """
        address = send.recipient.address
        if send.recipient.public_key in self.expelled:
            self.stats.expelled += 1
        elif is_literal(address.host):
            self._send(send, network, address)
        elif not self._names.later(send, network):
            self.stats.unresolved += 1

    def _send_resolved(
        self, send: Send, network: NetworkId | None, address: Address | None
    ) -> None:
        """Send what waited for a name; `address` is None if nobody has that name."""
        if address is None:
            self.stats.unresolved += 1
        else:
            self._send(send, network, address)

    def _send(self, send: Send, network: NetworkId | None, address: Address) -> None:
        packet = self._sealed(send, network, address)
        if packet is None:
            return
        if send.recipient.public_key not in self.seeds and self.detour(send.recipient, packet):
            return
        self._put(packet, address)

    def send_by_udp(self, send: Send, *, full: bool) -> None:
        """Send to an IP literal by UDP whatever `detour` says, padded to its full size if asked."""
        address = send.recipient.address
        if is_literal(address.host):
            packet = self._sealed(send, None, address, full=full)
            if packet is not None:
                self._put(packet, address)

    def _put(self, packet: bytes, address: Address) -> None:
        sock = self._socket
        if sock is None:
            return
        try:
            sock.sendto(packet, to_sockaddr(address, self._family))
            self.stats.sent += 1
            if not self.stats.delivered:
                self.silence.sent(trio.current_time())
        except BlockingIOError:
            self.stats.full += 1
        except (OSError, OverflowError):
            self.stats.failed += 1

    def _sealed(
        self, send: Send, network: NetworkId | None, address: Address, *, full: bool = False
    ) -> bytes | None:
        """Return the packet, or None if it must not or cannot be sent."""
        now = trio.current_time()
        recipient, message = send.recipient, send.message
        returned = self._routability.cookie_of(recipient, now)
        answer_max = self._routability.answer_max(recipient, now) if is_answer(message) else None
        plaintext_max = PLAINTEXT_BYTES_MAX
        if answer_max is not None:
            plaintext_max = min(plaintext_max, answer_max - OVERHEAD_BYTES)
        sealer, inside = self._seal_for(recipient.public_key, network)
        first = not returned and is_question(message)
        pad_to = PADDED_BYTES if full else min(PADDED_BYTES, answer_bytes(message)) if first else 0
        if pad_to and not self._first_requests.allows(address.host, now):
            self.stats.unproved += 1
            return None
        plaintext = self._encode(
            Envelope(
                message=message,
                network=inside,
                issued=self._routability.issue(recipient, now),
                returned=returned,
            ),
            plaintext_max,
            pad_to=pad_to,
        )
        if plaintext is None:
            if answer_max is None:
                self.stats.oversize += 1
            else:
                self.stats.withheld += 1
            return None
        try:
            packet = sealer.seal(recipient.public_key, plaintext)
        except ProtocolError:  # a contact whose key is no key
            self.stats.failed += 1
            return None
        if answer_max is not None:
            self._routability.answered(recipient, len(packet))
        return packet

    def _seal_for(
        self, recipient: PublicKey, network: NetworkId | None
    ) -> tuple[Sealer | RingSealer, NetworkId]:
        if self._mesh_sealer is None:
            return self._seed_sealer, network if network is not None else NetworkId(b"")
        if recipient in self.seeds:
            return self._seed_sealer, self._network
        return self._mesh_sealer, NetworkId(b"")

    def _encode(self, envelope: Envelope, bytes_max: int, *, pad_to: int) -> bytes | None:
        """Return the plaintext, its message cut until it fits; None if it cannot."""
        message: Datagram | None = envelope.message
        tried = envelope
        while message is not None:
            if message is not envelope.message:
                tried = replace(envelope, message=message)
            data = encoded(tried, bytes_max, pad_to)
            if data is not None:
                self.stats.trimmed += message is not envelope.message
                return data
            message = shorter(message)
        # An answer as short as its question has no room for the cookie it gives back.
        return encoded(replace(tried, returned=b""), bytes_max, 0)

    # ------------------------------------------------------------------ receiving

    def _drain(self, sock: socket.socket, deliver: DeliverSeed) -> None:
        """Take what is there, at most `drain_max`, so that other tasks get their turn."""
        now = trio.current_time()
        for _ in range(self._settings.drain_max):
            try:
                packet, sockaddr = sock.recvfrom(DATAGRAM_BYTES_MAX + 1)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error of something sent earlier
                continue
            self.stats.received += 1
            opened = self._open(packet, sockaddr, now)
            if opened is None:
                continue
            if not self.stats.delivered:
                self.silence.heard()
            self.stats.delivered += 1
            self.on_heard(opened[1])
            deliver(*opened)
            if self._socket is None:
                return

    def open_carried(self, packet: bytes, claimed: Contact) -> Received | None:
        """Open a packet that came over a connection, as if by UDP from where its sender says."""
        address = claimed.address
        opened = self._open(packet, (address.host, address.port), trio.current_time())
        return None if opened is None else opened[1]

    def _open(
        self, packet: bytes, sockaddr: Sockaddr, now: float
    ) -> tuple[NetworkId, Received] | None:
        """Return a verified datagram, or None after counting why not."""
        stats = self.stats
        if not OVERHEAD_BYTES < len(packet) <= DATAGRAM_BYTES_MAX:
            stats.size += 1
            return None
        sealer = self._sealer_of(packet)
        if sealer is None:
            stats.stranger += 1
            return None
        claimed = packet[MAC1_BYTES:NONCE_AT]
        if claimed in self.expelled:
            stats.expelled += 1
            return None
        if not self._affordable(sealer, claimed, from_sockaddr(sockaddr).host, now):
            stats.limited += 1
            return None
        try:
            sender, plaintext = sealer.open_mine(packet)
        except RemoteProtocolError:
            stats.unsealed += 1
            return None
        if not self._replays.is_new(sender, packet[NONCE_AT : NONCE_AT + NONCE_BYTES]):
            stats.replayed += 1
            return None
        try:
            envelope = decode_datagram(plaintext)
        except RemoteProtocolError:
            stats.malformed += 1
            return None
        if not self._belongs(envelope.network, sealer):
            stats.foreign += 1
            return None
        contact = self._contact(sender, sockaddr)
        proved = self._routability.heard(
            contact,
            issued=envelope.issued,
            returned=envelope.returned,
            size=len(packet),
            now=now,
        )
        return NetworkId(envelope.network), Received(contact, envelope.message, proved)

    def _contact(self, sender: PublicKey, sockaddr: Sockaddr) -> Contact:
        """Return the sender as it is known: under a name, if it was asked under one."""
        contact = _contact_at(sender, sockaddr)
        address = self._names.known_as(contact.address)
        return contact if address is contact.address else Contact(sender, address)

    def _affordable(
        self, sealer: Sealer | RingSealer, claimed: bytes, host: str, now: float
    ) -> bool:
        """Return whether the sender's network may cause the work that this packet does."""
        if not self._limiter.allows(host, now, key=claimed):
            return False
        return sealer.knows(claimed) or self._new_senders.allows(host, now)

    def _sealer_of(self, packet: bytes) -> Sealer | RingSealer | None:
        """Return whose outer MAC the packet has. The seeds' is public: only seeds may use it."""
        if self._mesh_sealer is None:
            return self._seed_sealer if self._seed_sealer.is_for_me(packet) else None
        if self._mesh_sealer.is_for_me(packet):
            return self._mesh_sealer
        claimed = packet[MAC1_BYTES:NONCE_AT]
        if claimed in self.seeds and self._seed_sealer.is_for_me(packet):
            return self._seed_sealer
        return None

    def _belongs(self, network: bytes, sealer: Sealer | RingSealer) -> bool:
        """Return whether the network id inside is what this seal must carry."""
        if self._mesh_sealer is None:
            return network != b""
        return network == (b"" if sealer is self._mesh_sealer else self._network)


@lru_cache(maxsize=4096)
def _contact_at(sender: PublicKey, sockaddr: Sockaddr) -> Contact:
    """Return a contact; the same few come again and again, so each is made once."""
    return Contact(sender, from_sockaddr(sockaddr))
