"""How long the network is waited for, and how much of this node one peer or stranger can use."""

from dataclasses import dataclass

from meshnode.wire.frames import REKEY_RECORDS
from meshnode.wire.limits import BODY_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class NetSettings:
    """The bounds of sockets and connections. The defaults work on a LAN and over the internet."""

    connect_timeout_s: float = 5.0
    """One attempt: TCP connect and handshake together."""
    handshake_timeout_s: float = 5.0
    """How long a stranger may take to show that he is none."""
    call_timeout_s: float = 30.0
    """A call whose caller names no time of its own."""
    half_open_max: int = 64
    """Handshakes under way; a newcomer takes the place of the oldest that said nothing yet."""
    half_open_per_ip_max: int = 8
    """The same for one address, loopback excepted: tests and demos live there."""
    handshakes_per_prefix_s: float = 20.0
    """Answered from one public /24 (/48): each is about 1 ms of CPU, so 2 % of a core."""
    handshakes_per_member_s: float = 1.0
    """More from a public prefix for each member that has shown its certificate there."""
    handshakes_private_s: float = 200.0
    """The same from a private network, where one prefix is the whole mesh. Loopback is free."""
    connections_max: int = 512
    """Inbound connections, each under 16 KB while idle."""
    idle_close_s: float = 60.0
    """A connection without calls is closed after this; a new one costs about 2 ms."""
    rekey_every_s: float = 3600.0
    """A key that is stolen from memory opens what was sent since the last change, and no more."""
    rekey_records: int = REKEY_RECORDS
    """The same by count. Both sides must have the same number: it is part of the protocol."""
    write_stall_s: float = 30.0
    """A peer that takes no byte for so long is gone, or holds our memory on purpose."""
    unacknowledged_ms: int = 10_000
    """TCP_USER_TIMEOUT: data sent to a host that vanished fails after this, not after minutes."""
    inbound_bytes_max: int = 2 * BODY_BYTES_MAX
    """Bodies of one connection that are being received or worked on."""
    outbound_bytes_max: int = 2 * BODY_BYTES_MAX
    """Answers of one connection that wait to be sent."""
    drain_max: int = 64
    """Datagrams taken in one wake-up before other tasks get their turn (stack.md section 1)."""
    datagrams_per_prefix_s: float = 2000.0
    """From one public /24 (/48): 2,000 X25519 are 8 % of a core, 200 nodes behind one NAT fit."""
    datagrams_per_member_s: float = 200.0
    """From each such member, charged to itself: gossip and the DHT of a busy node are a tenth."""
    datagrams_private_s: float = 100_000.0
    """From loopback and private networks, where one prefix is the whole mesh."""
    new_senders_per_prefix_s: float = 200.0
    """Of these, from senders whose pair key is not at hand: 0.13 ms each, so 3 % of a core."""
    new_senders_private_s: float = 1000.0
    """The same from a private network: 13 % of a core while somebody makes up keys there."""
    first_requests_per_prefix_s: float = 32.0
    """Padded requests to addresses that have proved nothing, in one public /24 (/48): a list of
    contacts that all point at one victim costs it 39 kB/s from this node, and no more."""
    first_requests_per_member_s: float = 1.0
    """More of them for each member that was met in that prefix."""
    first_requests_private_s: float = 100_000.0
    """The same to a private network."""
    socket_buffer_bytes: int = 4 * 1024 * 1024
    """Receive buffer asked of the kernel: some thousand datagrams while the loop is busy."""
