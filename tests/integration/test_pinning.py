"""Pinned modules between whole nodes: fetched without a request, renewed, kept, and waited for."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import trio

from meshnode.config import home_dir
from meshnode.errors import MeshnodeError, UsageError
from meshnode.ids import ContentHash
from meshnode.node import pinning
from meshnode.node.lanes import Lanes
from meshnode.node.node import Node
from meshnode.node.opening import open_node
from meshnode.placement.settings import PlacementSettings
from tests.integration.test_constraints import signed
from tests.integration.test_mesh import Mesh, config_for, publisher_of, until

pytestmark = pytest.mark.integration
PINNED = {"modules.pin": ["digits"]}


@pytest.fixture(autouse=True)
def looking_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinning, "LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(pinning, "RETRY_S", 0.2)
    monkeypatch.setattr(pinning, "RETRY_S_MAX", 0.4)


@asynccontextmanager
async def reopened(root: Path, name: str, **over: object) -> AsyncIterator[Node]:
    home = home_dir(root / name)
    async with open_node(config_for(home, name, **over), home, probe_port=False) as node:
        yield node


def stand(node: Node) -> list[tuple[str, str, str]]:
    return [(p["ref"], p["state"], p["module"]) for p in node.pins()]


async def test_a_pin_is_fetched_renewed_and_survives_a_restart_with_no_mesh(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        mesh = Mesh(tmp_path, stack)
        a = await mesh.add("a")
        b = await mesh.add("b", **PINNED)
        await mesh.see_each_other()
        await until(lambda: b.pins()[0]["state"] == "failed")
        assert b.pins()[0]["reason"].startswith("MN-510 no module named 'digits'")
        assert not b.status()["ready"]
        assert b.waiting() == [f"digits: {b.pins()[0]['reason']}"]
        doctor = await b.doctor("")
        assert any("pinned digits" in f["text"] for f in doctor["findings"])
        publisher = publisher_of(tmp_path, "a")
        await a.publish(signed(publisher), [], 1)
        await until(lambda: bool(b.status()["ready"]))
        assert stand(b) == [("digits", "warm", "digits@1.0.0")]
        old = ContentHash(bytes.fromhex(b.pins()[0]["sha256"]))
        await a.publish(signed(publisher, version="1.1.0"), [], 1)
        await until(lambda: stand(b) == [("digits", "warm", "digits@1.1.0")])
        await until(lambda: not _is_pinned(b, old))
        assert _is_pinned(b, ContentHash(bytes.fromhex(b.pins()[0]["sha256"])))
    async with reopened(tmp_path, "b", **PINNED) as b:  # nobody else is there
        await until(lambda: bool(b.status()["ready"]))
        assert stand(b) == [("digits", "warm", "digits@1.1.0")]


def _is_pinned(node: Node, blob: ContentHash) -> bool:
    stored = node.parts.library._blobs.list()
    return any(s.blob == blob and s.pinned for s in stored)


async def test_the_pinned_stay_when_others_need_the_room(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        mesh = Mesh(tmp_path, stack)
        a = await mesh.add("a", **{"budget.instances": 2, **PINNED})
        publisher = publisher_of(tmp_path, "a")
        others = [signed(publisher, name) for name in ("one", "two")]
        for module in (signed(publisher), *others):
            await a.publish(module, [], 1)
        await until(lambda: bool(a.status()["ready"]))
        pinned = ContentHash(bytes.fromhex(a.pins()[0]["sha256"]))
        for name in ("one", "two", "one"):
            await a.parts.lanes.get((await a.describe(name)).module)
            assert pinned in a.parts.lanes.warm
        with pytest.raises(MeshnodeError):
            await a.pin("not a reference")
        await a.pin("one")
        await until(lambda: stand(a)[1][1] == "warm")  # whoever is held first has the room
        await a.pin("two")
        await until(lambda: stand(a)[2][1] == "failed")
        assert a.pins()[2]["reason"].startswith("MN-502 all 2 module instances")
        assert not a.status()["ready"]
        await a.unpin("two")
        await until(lambda: bool(a.status()["ready"]))
        with pytest.raises(UsageError, match=r"pinned in node\.toml"):
            await a.unpin("digits")
    async with reopened(tmp_path, "a", **{"budget.instances": 2, **PINNED}) as a:
        assert [p["ref"] for p in a.pins()] == ["digits", "one"]
        await until(lambda: bool(a.status()["ready"]))


async def test_from_all_cold_pins_are_loaded_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[tuple[float, float]] = []
    start = Lanes._cold_start

    async def noting(self: Lanes, module: ContentHash) -> object:
        began = trio.current_time()
        try:
            return await start(self, module)
        finally:
            loads.append((began, trio.current_time()))

    async with AsyncExitStack() as stack:
        mesh = Mesh(tmp_path, stack)
        a = await mesh.add("a")
        publisher = publisher_of(tmp_path, "a")
        for name in ("one", "two", "three"):
            await a.publish(signed(publisher, name), [], 1)
    monkeypatch.setattr(Lanes, "_cold_start", noting)
    async with reopened(tmp_path, "a", **{"modules.pin": ["one", "two", "three"]}) as a:
        await until(lambda: bool(a.status()["ready"]), timeout_s=30)
    assert len(loads) == 3
    pause_s = PlacementSettings().cold_pause_s
    for (before, ended), (began, _) in pairwise(loads):
        assert began >= ended
        assert began - before >= pause_s
