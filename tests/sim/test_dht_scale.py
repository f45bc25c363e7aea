"""The DHT at the size it is made for: 1,000 to 2,000 nodes, 150 ms apart. Minutes each, so slow.

    python -m pytest -m slow -s tests/sim/test_dht_scale.py

Each test prints its figures beside the goal; what it asserts is the goal itself, on virtual time.
"""

from statistics import mean, quantiles

import pytest

from meshnode.dht.machine import FindRecords
from meshnode.dht.records import ProviderRecord, key_of
from tests.sim.dht_churn import Churn
from tests.sim.dht_mesh import Mesh, Report, formed
from tests.sim.dht_sybils import false_records, remove, surround
from tests.sim.network import Link

FAR = Link(delay_s=0.060, jitter_s=0.015, loss=0.01)
"""150 ms there and back, 1 % lost each way."""
pytestmark = pytest.mark.slow


def published(mesh: Mesh, count: int) -> list[ProviderRecord]:
    records = []
    for _ in range(count):
        owner = mesh.pick()
        records.append(mesh.provider(owner, mesh.rng.randbytes(32)))
        mesh.publish(owner, records[-1])
    return records


def test_two_thousand_nodes_with_thirty_percent_dead_at_once() -> None:
    mesh = formed(2000, seed=1, link=FAR, check=False)
    records = published(mesh, 150)
    mesh.kill(mesh.rng.sample(range(1, 2000), 600))
    report = Report()
    found = sum(
        record in mesh.find(mesh.pick(), key_of(record), report=report) for record in records
    )
    report.show(f"\n2,000 nodes, 30 % dead: found {found} of 150 (goal 99.3 %, p95 700 ms, 8 RPCs)")
    assert found >= 149
    assert mean(report.rpcs) <= 8
    assert quantiles(report.seconds, n=20)[18] <= 0.7


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("count", [20, 60])
def test_sybils_around_a_key_among_two_thousand_nodes(count: int, active: bool) -> None:
    """The active ones also hand out false records and invent contacts; a thorough look is asked."""
    mesh = formed(2000, seed=2, link=FAR, check=False)
    mesh.kill(mesh.rng.sample(range(1, 2000), 600))
    found, rpcs = 0, []
    for _ in range(12):
        owner, blob = mesh.pick(), mesh.rng.randbytes(32)
        record = mesh.provider(owner, blob)
        ring = surround(mesh, key_of(record), count, active=active)
        if active:
            ring.lies = false_records(mesh, blob, 20)
        mesh.publish(owner, record)
        command = FindRecords(mesh.ticket(), key_of(record), all_of_them=True, thorough=active)
        finished = mesh.ask(mesh.pick(but=owner), command)
        found += record in finished.records
        rpcs.append(finished.rpcs)
        remove(mesh, ring)
    kind = "active" if active else "passive"
    print(f"\n{count} {kind} Sybils: found {found} of 12, RPCs mean {mean(rpcs):.0f} {rpcs}")
    assert found == 12


def test_a_thousand_nodes_that_live_for_minutes() -> None:
    """1.4 min a session in the median; a lookup each 2 min a node; one session in ten publishes."""
    churn = Churn(1000, seed=1, link=FAR)
    churn.run(120.0)
    churn.begin()
    churn.run(60.0)
    churn.report.show(f"\nchurn: found {churn.found} of {churn.asked} (goal 99 %)")
    print(f"{churn.bytes_per_node_s:.0f} B/s a node sent (goal 900)")
    for kind, rate in churn.rates():
        print(f"  {kind:<13}{rate:6.0f} B/s a node")
    assert churn.found >= 0.99 * churn.asked
    assert churn.bytes_per_node_s <= 900
