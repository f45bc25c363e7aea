"""Connecting, and what is asked of the kernel for a connection, on the LAN and off it."""

import errno
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from meshnode.ids import Address
from meshnode.net import tcp
from meshnode.net.addresses import family_of, why
from meshnode.net.tcp import (
    IP_MTU_DISCOVER,
    NOTSENT_LOWAT_BYTES,
    PMTUDISC_DONT,
    dial,
    tune,
    tune_for_distance,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux's names of the options")
AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")


def tuned(host: str, *, congestion: bytes = b"reno") -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion)
    tune(sock, 1000)
    tune_for_distance(sock, Address(host, 1))
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


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        sock.setblocking(False)
        yield sock


def address_of(sock: socket.socket) -> Address:
    return Address(*sock.getsockname())


async def test_a_literal_address_is_reached_without_a_lookup(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trio, "open_tcp_stream", None)
    monkeypatch.setattr(trio.socket, "getaddrinfo", None)
    with await dial(address_of(listening)) as sock:
        assert sock.getpeername() == listening.getsockname()
        assert sock.gettimeout() == 0


async def test_a_name_is_looked_up(listening: socket.socket) -> None:
    port = address_of(listening).port
    with await dial(Address("localhost", port)) as sock:
        assert sock.getpeername()[1] == port
        assert sock.gettimeout() == 0


async def test_where_nothing_listens_the_reason_is_said_and_nothing_stays_open() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        nowhere = address_of(sock)
    with pytest.raises(ConnectionRefusedError) as caught:
        await dial(nowhere)
    assert why(caught.value) == "connection refused: nothing listens there"


async def test_a_connect_that_takes_time_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[socket.socket] = []

    class Slow(socket.socket):
        """Its peer answers never: the connect goes on."""

        def __init__(self, *arguments: int) -> None:
            super().__init__(*arguments)
            opened.append(self)

        def connect_ex(self, _: object) -> int:
            return errno.EINPROGRESS

    monkeypatch.setattr(tcp.socket, "socket", Slow)
    monkeypatch.setattr(tcp.trio.lowlevel, "wait_writable", _never)
    with trio.move_on_after(0) as scope:
        await dial(Address("127.0.0.1", 1))
    assert scope.cancelled_caught
    assert [sock.fileno() for sock in opened] == [-1]


async def _never(_: socket.socket) -> None:
    await trio.sleep_forever()


async def test_a_connection_that_is_accepted_has_its_listeners_options(
    listening: socket.socket,
) -> None:
    tune(listening, 1234)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.lowlevel.wait_readable, listening)
        ours = await dial(address_of(listening))
    theirs, _ = listening.accept()
    with ours, theirs:
        assert theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert theirs.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1234
        assert theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == tcp.KEEPALIVE_S
        lowat = theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
        assert lowat == NOTSENT_LOWAT_BYTES


@pytest.mark.parametrize(
    ("host", "private", "bounded"),
    [("::1", True, False), ("::1", False, True), ("127.0.0.1", False, False)],
    ids=["on the LAN", "off it over IPv6", "off it over IPv4"],
)
async def test_off_the_lan_ipv6_segments_fit_the_least_mtu_both_ways(
    monkeypatch: pytest.MonkeyPatch, host: str, private: bool, bounded: bool
) -> None:
    """Larger ones vanish in a tunnel whose messages about its MTU are dropped on the way."""
    monkeypatch.setattr(tcp, "is_private", lambda _: private)
    with socket.socket(family_of(host)) as there:
        try:
            there.bind((host, 0))
        except OSError:
            pytest.skip("this host has no IPv6")
        there.listen()
        ours = await dial(Address(*there.getsockname()[:2]))
        theirs, _ = there.accept()
    with ours, theirs:
        for end in (ours, theirs):
            segment = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
            assert (segment <= 1220) is bounded
