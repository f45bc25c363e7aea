"""mDNS by the package `zeroconf`, where it is installed; and a node without it."""

from dataclasses import replace

import pytest
import trio

from meshnode.ids import Address, Contact
from meshnode.net import mdns
from meshnode.net.mdns import announce_and_browse, is_installed, service_name
from meshnode.reach.beacon import Beacon
from tests.unit.net.mesh import ALICE, BOB, NETWORK

pytestmark = pytest.mark.integration
A = Beacon(network=NETWORK, public_key=ALICE.public_key, port=7001, mesh_name="home")
B = replace(A, public_key=BOB.public_key, port=7002)


async def test_without_the_package_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mdns, "is_installed", lambda: False)
    with trio.fail_after(5):
        await announce_and_browse(A, "127.0.0.1", lambda _: None)


async def test_mdns_that_fails_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise OSError("port 5353 is in use")

    monkeypatch.setattr(mdns, "is_installed", lambda: True)
    monkeypatch.setattr(mdns, "_serve", fails)
    await announce_and_browse(A, "127.0.0.1", lambda _: None)
    assert "no mDNS on this LAN: port 5353 is in use" in caplog.text


def test_a_service_is_named_by_the_meshs_fingerprint() -> None:
    assert service_name(A).startswith(NETWORK.hex()[:12] + "-")
    assert service_name(A) != service_name(B)


@pytest.mark.skipif(not is_installed(), reason="the package zeroconf (extra lan) is not installed")
async def test_two_nodes_find_each_other_by_mdns() -> None:
    found: dict[str, list[Contact]] = {"a": [], "b": []}
    async with trio.open_nursery() as nursery:
        for name, own in (("a", A), ("b", B)):
            nursery.start_soon(announce_and_browse, own, "127.0.0.1", found[name].append)
        with trio.move_on_after(20):
            while not (found["a"] and found["b"]):  # noqa: ASYNC110 - lists have no event
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    if not any(found.values()):
        pytest.skip("this host passes no mDNS between its own processes")
    assert found["a"] == [Contact(B.public_key, Address("127.0.0.1", 7002))]
    assert found["b"] == [Contact(A.public_key, Address("127.0.0.1", 7001))]
