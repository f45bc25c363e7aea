"""What is asked of the kernel for a connection, on the LAN and off it."""

import socket
import sys
from pathlib import Path

import pytest

from meshnode.ids import Address
from meshnode.net.transport import IP_MTU_DISCOVER, NOTSENT_LOWAT_BYTES, PMTUDISC_DONT, _tune

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux's names of the options")
AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")


def tuned(host: str, *, congestion: bytes = b"reno") -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion)
    _tune(sock, Address(host, 1), 1000)
    return sock


def congestion_of(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


def test_off_the_lan_bbr_is_used_where_the_kernel_has_it_and_fragments_are_allowed() -> None:
    with tuned("8.8.8.8") as sock:
        has_bbr = AVAILABLE.exists() and "bbr" in AVAILABLE.read_text().split()
        assert congestion_of(sock) == (b"bbr" if has_bbr else b"reno")
        assert sock.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER) == PMTUDISC_DONT


@pytest.mark.parametrize("host", ["127.0.0.1", "192.168.1.7"])
def test_on_the_lan_the_kernels_choice_stays(host: str) -> None:
    with tuned(host) as sock:
        assert congestion_of(sock) == b"reno"
        assert sock.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER) != PMTUDISC_DONT


@pytest.mark.parametrize("host", ["127.0.0.1", "8.8.8.8", "a.name"])
def test_small_calls_are_neither_held_back_nor_queued_behind_megabytes(host: str) -> None:
    with tuned(host) as sock:
        lowat = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
        assert lowat == NOTSENT_LOWAT_BYTES
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
