"""Real processes: the key is replaced though its admin is killed; an expelled node stays out."""

from collections.abc import Iterator
from typing import Any

import pytest

from meshnode.demo.acts import load_reference
from meshnode.demo.processes import Playground, Proc, until
from tests.integration.test_survival import Mesh

pytestmark = [pytest.mark.integration, pytest.mark.slow]
LONG_S = 3600.0


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with Playground() as play:
        yield Mesh(play, load_reference())


def rotation(mesh: Mesh, proc: Proc) -> dict[str, Any]:
    with mesh.play.client(proc) as client:
        return client.rotation()


def epoch_is(mesh: Mesh, epoch: int, *procs: Proc) -> None:
    for proc in procs:
        until(
            lambda proc=proc: rotation(mesh, proc)["current_epoch"] == epoch,
            f"{proc.name} uses key {epoch}",
            60,
        )


def test_the_admin_is_killed_between_the_steps_and_a_member_misses_the_first(mesh: Mesh) -> None:
    mesh.whole()

    def fault() -> None:
        mesh.play.kill(mesh.c)
        with mesh.play.client(mesh.a) as client:
            begun = client.rotate(wait=LONG_S, keep=LONG_S)
        assert (begun["epoch"], begun["stage"]) == (1, "accept")
        mesh.play.kill(mesh.a)

    mesh.stream(fault=fault)
    for proc in (mesh.b, mesh.d):
        assert rotation(mesh, proc)["current_epoch"] == 0, "nobody ordered that it be used"
    mesh.stream(fault=lambda: mesh.up(mesh.a))
    epoch_is(mesh, 1, mesh.a, mesh.b, mesh.d)
    mesh.stream(fault=lambda: mesh.up(mesh.c))
    epoch_is(mesh, 1, mesh.c)
    mesh.whole()
    mesh.stream(requests=40)


def test_an_expelled_node_is_out_and_stays_out_with_all_it_has(mesh: Mesh) -> None:
    mesh.whole()
    before = rotation(mesh, mesh.b)["current_epoch"]

    def fault() -> None:
        said = mesh.play.verb(mesh.a, "revoke", "b", "--reason", "stolen").result["revoked"]
        assert (said["reached"], said["members"]) == (2, 2)

    mesh.stream(fault=fault)
    epoch_is(mesh, before + 1, mesh.a, mesh.c, mesh.d)
    account, _ = mesh.stream(requests=40)
    assert "b" not in account.by_node
    for proc in (mesh.a, mesh.c, mesh.d):
        with mesh.play.client(proc) as client:
            assert [r["name"] for r in client.revocations()] == ["b"]
            until(
                lambda client=client: len(client.rotation()["accepted_epochs"]) == 1,
                f"{proc.name} has thrown the old keys away",
                60,
            )
    mesh.play.stop(mesh.b)
    mesh.up(mesh.b)  # the thief's: identity, certificates, keys, peer cache are all there
    mesh.stream(requests=40)
    assert rotation(mesh, mesh.b)["current_epoch"] == before
    assert mesh.sees(mesh.b) == 0
    assert all(mesh.sees(proc) == 2 for proc in (mesh.a, mesh.c, mesh.d))
    seen = mesh.play.verb(mesh.d, "trust").result
    assert (seen["members"], [r["reason"] for r in seen["revoked"]]) == (3, ["stolen"])
