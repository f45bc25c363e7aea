"""`meshnode accept` and `meshnode join --lan` beside a running node, over loopback's multicast."""

import re
import sys
import threading
from argparse import Namespace

import pytest
import trio

from meshnode.cli import accept, join
from meshnode.errors import MeshnodeError, PairingRefused, UsageError
from meshnode.ids import Address
from meshnode.net.lan import LanSockets
from meshnode.net.pairing import Door, ask, let_in
from meshnode.net.transport import StreamTransport
from meshnode.reach.opening import Opening
from tests.integration.test_lan import multicast_works, on_loopback, port

__all__ = ["port"]
pytestmark = pytest.mark.integration
INVITE = b"mesh1-invite"


class People:
    """One person who reads the code at one device and types it at the other."""

    def __init__(self, *, types: str = "") -> None:
        self.shown = threading.Event()
        self.out: list[str] = []
        self._types = types

    def write(self, text: str) -> int:
        self.out.append(text)
        if re.search(r"code:   \d{6}", "".join(self.out)):
            self.shown.set()
        return len(text)

    def flush(self) -> None: ...

    def readline(self) -> str:
        asked = "".join(self.out)
        if "may join?" in asked:
            return "y\n"
        assert self.shown.wait(30)
        (code,) = re.findall(r"code:   (\d{6})", "".join(self.out))
        return (self._types or code) + "\n"


class Member:
    """Stands for the client of the node here: only the invite it makes matters."""

    def invite(self, **terms: object) -> dict[str, object]:
        return {"invite": INVITE.decode()}


def args(**more: object) -> Namespace:
    return Namespace(json=False, quiet=True, role="member", devices=1, from_=None, **more)


def both(
    port: int, people: People, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[dict[str, str]], str]:
    """Run the two commands beside each other; return who was let in, and the invite."""
    monkeypatch.setattr(sys, "stdin", people)
    monkeypatch.setattr(sys, "stderr", people)
    admitted: list[dict[str, str]] = []

    def member() -> None:
        client = Member()
        admitted.extend(accept.let_in(args(), client, "home", 30.0, on_loopback(port)))  # type: ignore[arg-type]

    beside = threading.Thread(target=member)
    beside.start()
    try:
        invite = join.let_in_over_the_lan(args(), "nas", on_loopback(port))
    finally:
        beside.join(60)
    return admitted, invite


def test_a_device_is_let_in_by_the_code_that_it_shows(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not trio.run(multicast_works, port):
        pytest.skip("this host's loopback interface takes no multicast")
    admitted, invite = both(port, People(), monkeypatch)
    assert invite.encode() == INVITE
    assert [each["name"] for each in admitted] == ["nas"]


async def served(door: Door, name: str) -> tuple[str, bytes]:
    """Ask at a door over memory streams; return the code shown and the answer."""
    here, there = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        far = StreamTransport(there, Address("192.0.2.7", 1))
        nursery.start_soon(let_in, far, door.decide)
        asked = await ask(StreamTransport(here, Address("192.0.2.1", 1)), name)
        return asked.code, await asked.answer()


@pytest.mark.parametrize("typed", ["right", "wrong", "nothing"])
async def test_only_the_right_code_brings_an_invite(typed: str) -> None:
    seen: list[tuple[str, str]] = []

    async def decide(name: str, host: str, code: str) -> bytes:
        seen.append((name, host))
        return INVITE if typed == "right" else b""

    door = Door("home", decide, LanSockets(interfaces=list))
    code, answer = await served(door, "nas")
    assert answer == (INVITE if typed == "right" else b"")
    assert seen == [("nas", "192.0.2.7")]
    assert len(code) == 6


@pytest.mark.parametrize("noise", [b"", b"\x00\x00", b"\x00\x30" + bytes(48), bytes(5000)])
async def test_noise_at_the_door_asks_nobody(noise: bytes) -> None:
    async def decide(name: str, host: str, code: str) -> bytes:
        raise AssertionError("nobody is asked")

    here, there = trio.testing.memory_stream_pair()
    await here.send_all(noise)
    await here.send_stream.aclose()  # type: ignore[attr-defined]
    with pytest.raises((MeshnodeError, trio.BrokenResourceError)):
        await let_in(StreamTransport(there, Address("192.0.2.7", 1)), decide)


def test_where_several_let_others_in_a_person_chooses() -> None:
    found = [("192.0.2.1", Opening(1, "home")), ("192.0.2.2", Opening(2, "other"))]
    assert join._chosen(found, "192.0.2.2") == found[1]
    with pytest.raises(UsageError, match="several"):
        join._chosen(found, None)
    with pytest.raises(PairingRefused, match="nobody"):
        join._chosen([], None)
