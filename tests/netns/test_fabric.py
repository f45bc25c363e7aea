"""What becomes of a packet: rewritten with true checksums, let in or not, delayed, lost, cut."""

from ipaddress import IPv4Address
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.netns.fabric import Delivery, Fabric, Host, Link, Site
from tests.netns.gateway import Kind
from tests.netns.packets import CHECKSUM_AT, TCP, UDP, Endpoint, flow_of, readdressed

A, B, C = Endpoint(IPv4Address("20.0.0.1"), 1), Endpoint(IPv4Address("20.0.0.2"), 2), "20.0.1.1"
INSIDE = Endpoint(IPv4Address("192.168.1.2"), 7)
endpoints = st.builds(Endpoint, st.ip_addresses(v=4), st.integers(1, 65535))


def ones_sum(data: bytes) -> int:
    """The sum of RFC 1071, folded; 0xFFFF where a true checksum is within."""
    data += b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def sums(packet: bytes) -> tuple[int, int]:
    pseudo = packet[12:20] + bytes([0, packet[9]]) + (len(packet) - 20).to_bytes(2, "big")
    return ones_sum(packet[:20]), ones_sum(pseudo + packet[20:])


def packet(
    source: Endpoint, target: Endpoint, protocol: int = UDP, body: bytes = b"hello"
) -> bytes:
    ports = source.port.to_bytes(2, "big") + target.port.to_bytes(2, "big")
    rest = bytes(16) if protocol == TCP else (8 + len(body)).to_bytes(2, "big") + bytes(2)
    out = bytearray(
        b"\x45\0"
        + (20 + len(ports + rest + body)).to_bytes(2, "big")
        + bytes([0, 0, 0, 0, 64, protocol, 0, 0])
        + source.host.packed
        + target.host.packed
        + ports
        + rest
        + body
    )
    head, transport = sums(bytes(out))
    out[10:12] = (0xFFFF - head).to_bytes(2, "big")
    at = 20 + CHECKSUM_AT[protocol]
    out[at : at + 2] = ((0xFFFF - transport) or 0xFFFF).to_bytes(2, "big")
    return bytes(out)


@given(endpoints, endpoints, endpoints, st.sampled_from([TCP, UDP]), st.binary(max_size=99))
def test_a_rewritten_packet_has_true_checksums(
    source: Endpoint, target: Endpoint, other: Endpoint, protocol: int, body: bytes
) -> None:
    before = packet(source, target, protocol, body)
    assert sums(before) == (0xFFFF, 0xFFFF)
    left = readdressed(before, source=other)
    flow = flow_of(left)
    assert flow is not None
    assert (flow.source, flow.target) == (other, target)
    assert sums(left) == (0xFFFF, 0xFFFF)
    assert sums(readdressed(left, target=source)) == (0xFFFF, 0xFFFF)


@given(st.binary(max_size=60))
def test_no_bytes_upset_the_router(data: bytes) -> None:
    flow_of(data)
    flow_of(b"\x45" + data)


def fabric(kind: Kind = Kind.OPEN, **terms: float) -> Fabric:
    hosts = [
        Host(address=str(A.host)),
        Host(address=str(B.host)),
        Host(address=str(INSIDE.host), site="home"),
        Host(address="192.168.1.3", site="home"),
    ]
    sites = [Site(name="home", kind=kind, outside=C)]
    return Fabric(hosts, Random(1), sites, wan=Link(**terms))


def heard(deliveries: list[Delivery]) -> list[tuple[int, Endpoint, Endpoint]]:
    flows = [(d.host, flow_of(d.packet)) for d in deliveries]
    return [(host, flow.source, flow.target) for host, flow in flows if flow is not None]


def test_between_hosts_of_one_site_nothing_is_rewritten() -> None:
    near = Endpoint(IPv4Address("192.168.1.3"), 9)
    net = fabric(Kind.SYMMETRIC)
    assert heard(net.carry(2, packet(INSIDE, near), 0.0)) == [(3, INSIDE, near)]
    everyone = Endpoint(IPv4Address("239.255.61.74"), 6175)
    assert [h for h, *_ in heard(net.carry(2, packet(INSIDE, everyone), 0.0))] == [3]


def test_a_private_address_means_nothing_outside_its_site() -> None:
    assert fabric(Kind.FULL_CONE).carry(0, packet(A, INSIDE), 0.0) == []


@pytest.mark.parametrize(
    ("kind", "from_other_port", "from_other_host"),
    [
        (Kind.FULL_CONE, True, True),
        (Kind.RESTRICTED, True, False),
        (Kind.PORT_RESTRICTED, False, False),
        (Kind.SYMMETRIC, False, False),
    ],
)
def test_what_each_kind_of_nat_lets_in(
    kind: Kind, from_other_port: bool, from_other_host: bool
) -> None:
    net = fabric(kind)
    shown = Endpoint(IPv4Address(C), 40_000)
    assert net.carry(0, packet(A, shown), 0.0) == [], "before anything left"
    assert heard(net.carry(2, packet(INSIDE, A), 0.0)) == [(0, shown, A)]
    assert heard(net.carry(0, packet(A, shown), 0.1)) == [(2, A, INSIDE)]
    other_port = Endpoint(A.host, 99)
    assert bool(net.carry(0, packet(other_port, shown), 0.1)) == from_other_port
    assert bool(net.carry(1, packet(B, shown), 0.1)) == from_other_host
    to_b = heard(net.carry(2, packet(INSIDE, B), 0.2))[0][1]
    assert (to_b == shown) == (kind is not Kind.SYMMETRIC)
    assert net.carry(0, packet(A, shown), 1e6) == [], "long after"
    net.rebind("home")
    assert heard(net.carry(2, packet(INSIDE, A), 0.3))[0][1] != shown


def test_a_firewall_lets_only_answers_in() -> None:
    net = fabric(Kind.FIREWALL)
    assert net.carry(0, packet(A, INSIDE), 0.0) == []
    assert heard(net.carry(2, packet(INSIDE, A), 0.0)) == [(0, INSIDE, A)]
    assert heard(net.carry(0, packet(A, INSIDE), 0.0)) == [(2, A, INSIDE)]
    assert net.carry(1, packet(B, INSIDE), 0.0) == []


def test_delay_rate_and_order() -> None:
    net = fabric(delay_s=0.02, jitter_s=0.05, rate_bps=8e6)
    times = [net.carry(0, packet(A, B, body=bytes(972)), 0.0)[0].when for _ in range(50)]
    assert times == sorted(times)
    assert times[0] >= 0.021
    assert times[-1] >= 0.07, "50 packets of 1,000 bytes at 1 MB/s, and the way"
    full = [net.carry(0, packet(A, B, body=bytes(972)), 0.0) for _ in range(400)]
    assert not full[-1], "what would wait for longer than the queue holds is dropped"


@pytest.mark.parametrize("terms", [{"loss": 0.25}, {"burst_loss": 0.25}])
def test_losses_have_their_mean_and_bursts_their_length(terms: dict[str, float]) -> None:
    net = fabric(**terms)
    fates = [bool(net.carry(0, packet(A, B), 0.0)) for _ in range(20_000)]
    assert 0.22 < fates.count(False) / len(fates) < 0.28
    runs = sum(1 for before, now in pairwise(fates) if before and not now)
    assert (fates.count(False) / runs > 6) == ("burst_loss" in terms)


def test_cuts_and_their_end() -> None:
    net = fabric()
    net.cut([0], [1], one_way=True)
    assert not net.carry(0, packet(A, B), 0.0)
    assert net.carry(1, packet(B, A), 0.0)
    net.cut([0], [1])
    assert not net.carry(1, packet(B, A), 0.0)
    net.heal()
    assert net.carry(0, packet(A, B), 0.0)


def test_the_same_seed_gives_the_same_fates() -> None:
    def run() -> list[bool]:
        net = fabric(loss=0.5)
        return [bool(net.carry(0, packet(A, B), 0.0)) for _ in range(100)]

    assert run() == run()
