"""Piece scheduling over simulated connections: bad peers, dead peers, restarts, bandwidth."""

from hashlib import sha256

import pytest

from meshnode.ids import ContentHash
from meshnode.machine import Random
from meshnode.sim.fetching import Fetch
from meshnode.sim.links import Link
from meshnode.sim.mesh import SimMesh
from meshnode.sim.node import Parts
from meshnode.wire.limits import PIECE_BYTES

DATA = Random(1).randbytes(9 * PIECE_BYTES + 5)
BLOB = ContentHash(sha256(DATA).digest())
LINK = Link(delay_s=0.005, jitter_s=0.001, bytes_per_s=12.5e6)


class Swarm:
    """One node that wants a blob, and some that have it."""

    def __init__(self, holders: int, link: Link = LINK) -> None:
        parts = Parts(dht=None, gossip=None)
        self.mesh = SimMesh(1, link=link, parts=parts)
        self.wanting, *self.holders = [self.mesh.add() for _ in range(holders + 1)]
        for node in self.mesh.nodes:
            node.start()
        for node in self.holders:
            node.blobs[BLOB] = DATA
        self.ends: list[tuple[float, str]] = []

    def fetch(self) -> Fetch:
        contacts = [node.contact for node in self.holders]
        fetch = Fetch(self.mesh.streams, self.wanting, BLOB, contacts, self.note)
        fetch.start()
        return fetch

    def note(self, why: str) -> None:
        self.ends.append((self.mesh.world.now, why))


@pytest.mark.parametrize("corrupt", [0, 1, 2])
def test_a_blob_is_exact_while_one_holder_is_honest(corrupt: int) -> None:
    swarm = Swarm(3)
    for node in swarm.holders[:corrupt]:
        node.corrupts = True
    fetch = swarm.fetch()
    swarm.mesh.run(60.0)
    assert [why for _, why in swarm.ends] == [""]
    assert swarm.wanting.blobs[BLOB] == DATA
    assert fetch.plan is not None
    assert len(fetch.plan.blames()) == corrupt
    assert swarm.mesh.streams.bytes < len(DATA) * (1.2 + corrupt)


def test_holders_that_all_lie_are_blamed() -> None:
    swarm = Swarm(2)
    for node in swarm.holders:
        node.corrupts = True
    swarm.fetch()
    swarm.mesh.run(60.0)
    assert "bad piece" in swarm.ends[0][1]
    assert BLOB not in swarm.wanting.blobs


def test_a_holder_that_dies_half_way_only_costs_time() -> None:
    swarm = Swarm(2)
    swarm.fetch()
    swarm.mesh.run(0.1)
    assert not swarm.ends
    swarm.holders[0].crash()
    swarm.mesh.run(60.0)
    assert swarm.ends[0][1] == ""
    assert swarm.wanting.blobs[BLOB] == DATA


def test_a_fetch_goes_on_after_a_restart_from_what_was_verified() -> None:
    swarm = Swarm(1)
    swarm.fetch()
    swarm.mesh.run(0.15)
    had = len(swarm.wanting.partial[BLOB])
    assert 0 < had < 10
    swarm.wanting.crash()
    swarm.wanting.start()
    before = swarm.mesh.streams.bytes
    swarm.fetch()
    swarm.mesh.run(60.0)
    assert swarm.wanting.blobs[BLOB] == DATA
    assert swarm.mesh.streams.bytes - before < len(DATA) - (had - 1) * PIECE_BYTES


def test_more_holders_bring_it_sooner() -> None:
    took = []
    for holders in (1, 4):
        swarm = Swarm(holders)
        swarm.fetch()
        swarm.mesh.run(60.0)
        took.append(swarm.ends[0][0])
    assert took[1] < 0.6 * took[0]
