"""IPv4 packets as a router sees them: who to whom, and rewritten by a NAT with true checksums."""

from dataclasses import dataclass
from ipaddress import IPv4Address

TCP, UDP = 6, 17
HEADER_BYTES_MIN = 20
CHECKSUM_AT = {TCP: 16, UDP: 6}
"""Where the checksum lies in the header of a transport."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host and, where the protocol has one, its port."""

    host: IPv4Address
    port: int


@dataclass(frozen=True, slots=True)
class Flow:
    """The ends of one packet."""

    protocol: int
    source: Endpoint
    target: Endpoint


def flow_of(packet: bytes) -> Flow | None:
    """Return the ends of an IPv4 packet, or None for what no router of ours carries.

    Fragments after the first have no ports; nothing here sends any.
    """
    if len(packet) < HEADER_BYTES_MIN or packet[0] >> 4 != 4:
        return None
    header = (packet[0] & 15) * 4
    protocol = packet[9]
    ports = (0, 0)
    if protocol in CHECKSUM_AT:
        if len(packet) < header + 8 or int.from_bytes(packet[6:8], "big") & 0x1FFF:
            return None
        ports = tuple(int.from_bytes(packet[header + i : header + i + 2], "big") for i in (0, 2))
    hosts = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
    return Flow(protocol, Endpoint(hosts[0], ports[0]), Endpoint(hosts[1], ports[1]))


def readdressed(
    packet: bytes, *, source: Endpoint | None = None, target: Endpoint | None = None
) -> bytes:
    """Return a TCP or UDP packet with other ends, its checksums updated as in RFC 1624."""
    out = bytearray(packet)
    header = (out[0] & 15) * 4
    transport = header + CHECKSUM_AT[out[9]]
    # A UDP checksum of zero means that there is none, and then there is still none.
    sums = [10, transport] if out[transport : transport + 2] != b"\0\0" else [10]
    for end, address_at, port_at in ((source, 12, header), (target, 16, header + 2)):
        if end is not None:
            _replace(out, address_at, end.host.packed, sums)
            _replace(out, port_at, end.port.to_bytes(2, "big"), sums[1:])
    return bytes(out)


def _replace(packet: bytearray, at: int, new: bytes, sums: list[int]) -> None:
    for offset in range(0, len(new), 2):
        old_word = int.from_bytes(packet[at + offset : at + offset + 2], "big")
        new_word = int.from_bytes(new[offset : offset + 2], "big")
        for place in sums:
            held = int.from_bytes(packet[place : place + 2], "big")
            total = (~held & 0xFFFF) + (~old_word & 0xFFFF) + new_word
            total = (total & 0xFFFF) + (total >> 16)
            total = (total & 0xFFFF) + (total >> 16)
            packet[place : place + 2] = (~total & 0xFFFF).to_bytes(2, "big")
    packet[at : at + len(new)] = new
