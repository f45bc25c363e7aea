"""The beacon over real multicast on the loopback interface, and what follows from it."""

import socket
from pathlib import Path

import pytest
import trio

from meshnode.cli import serving
from meshnode.cli.serving import refuse_beside_another
from meshnode.config import home_dir
from meshnode.config.load import load
from meshnode.errors import MeshFound
from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact
from meshnode.machine import Random
from meshnode.net.lan import LanSockets
from meshnode.node.discovery import Discovery, meshes_here
from meshnode.node.node import Node
from meshnode.reach.beacon import Beacon, BeaconMachine, Heard, encode
from tests.integration.test_mesh import until
from tests.integration.test_reach import LOCAL, open_node, two_members

pytestmark = pytest.mark.integration
LOOPBACK = [(socket.if_nametoindex("lo"), "lo")]

EVERYWHERE = {"mesh.listen": "0.0.0.0:0", "mesh.lan": False, "api.listen": "off"}
"""A beacon on the loopback interface may come from another address of this host."""


@pytest.fixture
def port() -> int:
    """A port of this test's own: beacons of other tests are not heard."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def on_loopback(port: int) -> LanSockets:
    return LanSockets(port=port, interfaces=lambda: LOOPBACK)


async def multicast_works(port: int) -> bool:
    ears, mouth, heard = on_loopback(port), on_loopback(port), []
    ears.open()
    mouth.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ears.run, heard.append)
        with trio.move_on_after(5):
            while not heard:
                mouth.send(b"is anybody there?")
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    mouth.close()
    return bool(heard)


@pytest.fixture
async def lan(port: int) -> int:
    if not await multicast_works(port):
        pytest.skip("this host's loopback interface takes no multicast")
    return port


def beacon_of(node: Node) -> Beacon:
    return Beacon(
        network=node.mesh.network,
        public_key=node.identity.public_key,
        port=node.contact.address.port,
        mesh_name=node.mesh.name,
    )


def discovery_of(node: Node, port: int) -> Discovery:
    machine = BeaconMachine(
        beacon_of(node),
        mesh_keys=lambda: (node.mesh.mesh_key,),
        rng=Random(1),
        now=trio.current_time(),
    )
    membership = node.parts.membership
    return Discovery(machine, lambda c: membership.join((c,)), sockets=on_loopback(port))


async def test_two_members_meet_by_the_beacon_alone(lan: int, tmp_path: Path) -> None:
    await two_members(tmp_path, "a", "b")
    a_home, b_home = home_dir(tmp_path / "a"), home_dir(tmp_path / "b")
    async with (
        open_node(load(a_home, EVERYWHERE), a_home, probe_port=False) as a,
        open_node(load(b_home, EVERYWHERE), b_home, probe_port=False) as b,
        trio.open_nursery() as nursery,
    ):
        assert a.peers() == b.peers() == []
        for node in (a, b):
            nursery.start_soon(discovery_of(node, lan).run)
        await until(lambda: bool(a.peers() and b.peers()), timeout_s=30)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("defended", [True, False])
async def test_who_is_heard_and_does_not_answer_sealed_is_in_no_table(
    lan: int, tmp_path: Path, defended: bool
) -> None:
    """Attack 16: a recorded or insider's beacon with a key whose owner is not there."""
    home = home_dir(tmp_path / "a")
    async with (
        open_node(load(home, LOCAL), home, probe_port=False) as a,
        trio.open_nursery() as nursery,
    ):
        discovery = discovery_of(a, lan)
        if not defended:
            believe_what_is_heard(a, discovery)
        nursery.start_soon(discovery.run)
        ghost = Identity.generate()
        silent = Beacon(
            network=a.mesh.network, public_key=ghost.public_key, port=9, mesh_name="home"
        )
        mouth = on_loopback(lan)
        mouth.open()
        with trio.fail_after(30):
            while not discovery.machine.counters.greeted:
                mouth.send(encode(silent, a.mesh.mesh_key))
                await trio.sleep(0.05)
        mouth.close()
        assert a.peers() == []
        assert (a.parts.directory.contacts() == []) is defended
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("defended", [True, False])
async def test_who_is_named_by_mdns_and_does_not_answer_sealed_is_in_no_table(
    lan: int, tmp_path: Path, defended: bool
) -> None:
    """Attack 16: anybody on the LAN can publish a service; its text is believed in nothing."""
    home = home_dir(tmp_path / "a")
    async with open_node(load(home, LOCAL), home, probe_port=False) as a:
        discovery = discovery_of(a, lan)
        if not defended:
            believe_what_is_heard(a, discovery)
        discovery._told(Contact(Identity.generate().public_key, Address("127.0.0.1", 9)))
        assert discovery.machine.counters.greeted == 1
        assert a.peers() == []
        assert (a.parts.directory.contacts() == []) is defended


def believe_what_is_heard(node: Node, discovery: Discovery) -> None:
    """Enter whoever is heard of, as if it had answered."""
    table = node.parts.directory._machine._table
    discovery._greet = lambda contact: table.add(contact, trio.current_time())


async def test_a_newcomer_is_told_of_the_mesh_that_is_there_and_makes_no_second(
    lan: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = home_dir(tmp_path / "a")
    async with (
        open_node(load(home, LOCAL), home, probe_port=False, new_mesh="lab") as a,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(discovery_of(a, lan).run)
        await until(lambda: True)

        async def here() -> list[Beacon]:
            return await meshes_here(sockets=on_loopback(lan), for_s=5)

        monkeypatch.setattr(serving, "meshes_here", here)
        newcomer = home_dir(tmp_path / "n")
        config = load(newcomer, {"mesh.listen": "0.0.0.0:0", "api.listen": "off"})
        with pytest.raises(MeshFound) as caught:
            await refuse_beside_another(config, newcomer)
        assert '"lab"' in caught.value.message
        assert "--new-mesh" in caught.value.try_
        nursery.cancel_scope.cancel()


async def test_a_host_without_multicast_is_warned_about_once(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = LanSockets(port=port, interfaces=lambda: [(9999, "gone0")])
    assert nowhere.open()
    for _ in range(3):
        nowhere.join()
        nowhere.send(b"x")
    nowhere.close()
    assert sum("multicast" in r.message for r in caplog.records) == 1


async def test_a_port_that_cannot_be_had_leaves_the_node_without_a_beacon(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as taken:
        taken.bind(("::", 0))  # without SO_REUSEPORT: for both families
        lan = LanSockets(port=taken.getsockname()[1], interfaces=lambda: LOOPBACK)
        assert not lan.open()
    assert any("no beacon on this LAN" in r.message for r in caplog.records)


def test_a_heard_contact_is_where_it_was_heard() -> None:
    machine = BeaconMachine(
        Beacon(network=b"n" * 16, public_key=b"o" * 32, port=1, mesh_name="home"),
        mesh_keys=lambda: (b"k" * 32,),
        rng=Random(1),
        now=0.0,
    )
    said = Beacon(network=b"n" * 16, public_key=b"p" * 32, port=7, mesh_name="home")
    (greet,) = machine.handle(Heard(encode(said, b"k" * 32), "192.0.2.9"), 1.0)
    assert greet.contact == Contact(b"p" * 32, Address("192.0.2.9", 7))
