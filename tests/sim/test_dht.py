"""The DHT on a simulated network: joining, finding with many dead, lies, partitions, churn.

Checked throughout: every datagram can be encoded, no machine raises, every lookup ends within its
bounds. Seeds are the tests' parameters, so they show in a failure. `Report` prints figures (-s).
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean

import pytest

from meshnode.caps import Caps
from meshnode.dht.machine import (
    FindNodes,
    Join,
)
from meshnode.dht.records import (
    NameRecord,
    VersionEntry,
    key_of,
    provider_key,
    sign,
)
from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact, ContentHash, distance
from meshnode.wire.messages import (
    PutRecord,
    Send,
)
from tests.sim.dht_mesh import FAR, NETWORK, SETTINGS, Mesh, Report, beset, formed
from tests.sim.network import contact_of


def recall(mesh: Mesh, found: Sequence[Contact], target: bytes, asker: int) -> float:
    """Return which part of the truly nearest live nodes a lookup found."""
    others = [mesh.contacts[i] for i in mesh.live - {asker}]
    true = sorted(others, key=lambda c: distance(c.node_id, target))[: SETTINGS.k]
    return len(set(true) & set(found)) / len(true)


@pytest.mark.parametrize("seed", [1])
def test_sixty_nodes_find_everything_with_a_third_of_them_dead(seed: int) -> None:
    mesh = formed(60, seed=seed)
    assert all(machine.size >= SETTINGS.k for machine in mesh.machines)
    nodes = Report()
    for _ in range(12):
        asker, target = mesh.pick(), mesh.rng.randbytes(32)
        found = mesh.ask(asker, FindNodes(mesh.ticket(), target), nodes)
        assert recall(mesh, found.closest, target, asker) >= 0.9
    nodes.show(f"\n60 nodes, RTT 30 ms, 1 % loss, {mesh.network.sent / 60:.0f} packets a node")
    published = []
    for _ in range(12):
        owner = mesh.pick()
        record = mesh.provider(owner, mesh.rng.randbytes(32))
        assert mesh.publish(owner, record) >= SETTINGS.k - 1
        published.append(record)
    for title, dead in (("all alive", 0), ("30 % dead at once", 18), ("some minutes later", -1)):
        if dead > 0:
            mesh.kill(mesh.rng.sample(range(1, 60), dead))
        elif dead < 0:
            mesh.run(200.0)
        report = Report()
        for record in published:
            assert mesh.find(mesh.pick(), key_of(record), report=report) == (record,)
        report.show(title)
    dead_contacts = {mesh.contacts[i] for i in set(range(60)) - mesh.live}
    known = [set(m.contacts()[: m.size]) for i, m in enumerate(mesh.machines) if i in mesh.live]
    assert mean(len(k & dead_contacts) for k in known) < 2, "the dead leave the tables"


@pytest.mark.parametrize("seed", [1])
def test_the_same_seed_gives_the_same_packets(seed: int) -> None:
    def story() -> tuple[str, int]:
        mesh = formed(14, seed=seed, check=False, trace=True)
        record = mesh.provider(3, mesh.rng.randbytes(32))
        mesh.publish(3, record)
        mesh.kill([4, 5, 6])
        mesh.find(mesh.pick(), key_of(record))
        mesh.run(120.0)
        return mesh.network.digest, mesh.network.sent

    first = story()
    assert first == story()
    assert first[1] > 500


@pytest.mark.parametrize("count", [2, 3, 5])
def test_small_meshes_work_from_the_first_second(count: int) -> None:
    mesh = Mesh(count, seed=count)
    mesh.join(range(1, count), every_s=0.2)
    mesh.run(1.0)
    assert [machine.size for machine in mesh.machines] == [count - 1] * count
    record = mesh.provider(1, bytes(32))
    assert mesh.publish(1, record) == count - 1
    for index in range(1, count):
        assert mesh.find(index, key_of(record)) == (record,)


def test_the_mesh_goes_on_without_its_seed_and_takes_new_members() -> None:
    mesh = formed(12, seed=3)
    mesh.kill([0])
    record = mesh.provider(2, bytes(32))
    mesh.publish(2, record)
    late = mesh.start()
    cache = mesh.machines[5].contacts()
    mesh.network.tell(mesh.contacts[late], Join(tuple(cache)))
    mesh.run(3.0)
    assert mesh.find(late, key_of(record)) == (record,)


def test_a_node_that_starts_before_its_seed_joins_later() -> None:
    mesh = Mesh(3, seed=4)
    seed = mesh.contacts[0]
    elsewhere = Contact(seed.public_key, Address("10.9.9.9", 6174))
    for index in (1, 2):
        mesh.network.tell(mesh.contacts[index], Join((elsewhere,)))
    mesh.run(20.0)
    assert mesh.machines[1].size == 0
    for index in (1, 2):
        mesh.network.tell(mesh.contacts[index], Join((seed,)))
    mesh.run(3.0)
    assert [machine.size for machine in mesh.machines] == [2, 2, 2]


def test_two_halves_find_together_again_after_a_partition() -> None:
    mesh = formed(10, seed=5, check=False)
    left, right = mesh.contacts[:5], mesh.contacts[5:]
    mesh.network.partition([left, right])
    mesh.run(300.0)
    apart = {c for m in mesh.machines[5:] for c in m.contacts()[: m.size]}
    assert apart <= set(right), "the other half is gone from the tables"
    here = mesh.provider(1, bytes(32))
    assert mesh.publish(1, here) == 4
    mesh.network.heal()
    mesh.run(600.0)
    assert min(machine.size for machine in mesh.machines) == 9
    assert mesh.find(8, key_of(here)) == (here,)


# ---------------------------------------------------------------- records


def test_what_is_withdrawn_or_expired_is_not_found_as_provided() -> None:
    mesh = formed(12, seed=6, check=False)
    blob = bytes(32)
    first, second = mesh.provider(3, blob), mesh.provider(4, blob)
    mesh.publish(3, first)
    mesh.publish(4, second)
    assert set(mesh.find(7, key_of(first))) == {first, second}
    gone = replace(first, seq=2, withdrawn=True)
    mesh.publish(3, gone)
    assert set(mesh.find(7, key_of(first))) == {gone, second}
    mesh.run(1900.0)
    assert mesh.find(7, key_of(first)) == ()


def test_many_providers_of_one_blob_are_all_seen() -> None:
    mesh = formed(16, seed=7)
    records = {mesh.provider(index, bytes(32)) for index in range(1, 11)}
    for record in records:
        index = next(i for i, c in enumerate(mesh.contacts) if c.public_key == record.provider)
        mesh.publish(index, record)
    assert set(mesh.find(13, provider_key(NETWORK, ContentHash(bytes(32))))) == records


def test_a_name_survives_its_publisher_when_others_announce_it_and_never_goes_back() -> None:
    mesh = formed(6, seed=8, check=False)
    publisher = Identity.from_seed(b"p" * 32)
    entry = VersionEntry(module=ContentHash(bytes(32)), size=1, root=bytes(32), caps=Caps.CPU)
    old = NameRecord(
        network=NETWORK,
        publisher=publisher.public_key,
        name="detect",
        versions={"1.0.0": entry},
        seq=1,
        ttl_s=7200,
    )
    new = replace(old, versions={"1.0.0": entry, "1.1.0": entry}, seq=2)
    mesh.publish(3, old, signer=publisher)
    mesh.publish(3, new, signer=publisher)
    assert mesh.find(2, key_of(new), all_of_them=False) == (new,)
    mesh.kill([3])
    mesh.run(7000.0)
    assert mesh.publish(5, new, signer=publisher) == 4
    mesh.run(7000.0)
    mesh.publish(4, old, signer=publisher)  # the same key could sign it; nobody takes it back
    assert mesh.find(2, key_of(new), all_of_them=False) == (new,)
    assert mesh.find(1, key_of(new), all_of_them=False) == (new,)


# ---------------------------------------------------------------- hostile neighbours


@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3))])
def test_lies_and_silence_neither_break_nor_unbind_a_lookup(seed: int) -> None:
    mesh = formed(18, seed=seed)
    victim = contact_of(9999)
    received: list[Send] = []
    beset(mesh, 6, victim)
    published = []
    for _ in range(6):
        owner = mesh.pick()
        record = mesh.provider(owner, mesh.rng.randbytes(32))
        assert mesh.publish(owner, record) >= 8
        published.append(record)
    plain_send = mesh.network.send

    def watch(sender: Contact, send: Send) -> None:
        if send.recipient.address == victim.address:
            received.append(send)
        plain_send(sender, send)

    mesh.network.send = watch
    report = Report()
    for record in published:
        before = mesh.network.sent
        assert mesh.find(mesh.pick(), key_of(record), report=report) == (record,)
        # Questions with two retries each, and as many answers: nothing multiplies.
        assert mesh.network.sent - before < 64 * 3 * 4
    report.show(f"\n18 honest, 6 hostile, seed {seed}")
    per_lookup = len(received) / len(published)
    assert per_lookup <= 3 * SETTINGS.candidates_per_address_max
    for machine in mesh.machines:
        assert all(c.address.host != "10.200.0.1" for c in machine.contacts()[: machine.size])


def test_a_false_address_for_a_known_node_does_not_cut_it_off() -> None:
    mesh = formed(6, seed=9)
    truth = mesh.contacts[3]
    lie = Contact(truth.public_key, Address("10.66.6.6", 1))
    for _ in range(5):
        mesh.network.tell(mesh.contacts[1], Join((lie,)))
        mesh.run(5.0)
    assert truth in mesh.machines[1].contacts()[: mesh.machines[1].size]


def test_a_flood_of_records_is_refused_beyond_the_quota() -> None:
    mesh = formed(3, seed=10)
    flooder = mesh.start()
    identity, contact = mesh.identities[flooder], mesh.contacts[flooder]
    mesh.join([flooder])
    mesh.run(2.0)
    for n in range(SETTINGS.records_per_sender_max + 50):
        record = mesh.provider(flooder, n.to_bytes(32, "big"))
        put = PutRecord(rpc=n, record=sign(identity, record))
        mesh.network.send(contact, Send(mesh.contacts[1], put))
    mesh.run(5.0)
    assert mesh.machines[1].records_held <= SETTINGS.records_per_sender_max


# ---------------------------------------------------------------- larger, slower


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_hundred_nodes_that_join_at_once(seed: int) -> None:
    mesh = Mesh(100, seed=seed, check=False)
    mesh.join(range(1, 100), every_s=0.0)
    mesh.run(20.0)
    records = []
    for _ in range(30):
        owner = mesh.pick()
        records.append(mesh.provider(owner, mesh.rng.randbytes(32)))
        assert mesh.publish(owner, records[-1]) >= SETTINGS.k - 1
    mesh.kill(mesh.rng.sample(range(1, 100), 30))
    report = Report()
    for record in records:
        assert mesh.find(mesh.pick(), key_of(record), report=report) == (record,)
    report.show(f"\n100 joined at once, 30 dead, seed {seed}")


@pytest.mark.slow
def test_three_hundred_far_nodes() -> None:
    mesh = formed(300, seed=1, link=FAR, check=False)
    print(
        f"\n300 nodes, RTT 150 ms: {mean(m.counters.rpcs for m in mesh.machines):.0f} RPCs a join"
    )
    nodes, names = Report(), Report()
    for _ in range(40):
        asker, target = mesh.pick(), mesh.rng.randbytes(32)
        found = mesh.ask(asker, FindNodes(mesh.ticket(), target), nodes)
        assert recall(mesh, found.closest, target, asker) >= 0.8
    nodes.show("FindNodes")
    for n in range(40):
        owner = mesh.pick()
        record = NameRecord(
            network=NETWORK,
            publisher=mesh.contacts[owner].public_key,
            name=f"name{n}",
            seq=1,
            ttl_s=7200,
        )
        mesh.publish(owner, record)
        if n == 20:
            mesh.kill(mesh.rng.sample(range(1, 300), 90))
        assert mesh.find(mesh.pick(), key_of(record), all_of_them=False, report=names) == (record,)
    names.show("names, the second half with 30 % dead")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_churn_with_a_session_of_minutes(seed: int) -> None:
    mesh = formed(60, seed=seed, check=False)
    report, misses, before = Report(), 0, mesh.network.sent
    for round_ in range(60):
        mesh.kill([mesh.pick(), mesh.pick(but=mesh.pick())][:1])
        late = mesh.start()
        mesh.network.tell(mesh.contacts[late], Join((mesh.contacts[0], mesh.contacts[mesh.pick()])))
        mesh.run(3.0)
        owner = mesh.pick()
        record = mesh.provider(owner, round_.to_bytes(32, "big"))
        mesh.publish(owner, record)
        misses += mesh.find(mesh.pick(), key_of(record), report=report) != (record,)
    assert misses == 0
    report.show(f"\nchurn, one of 60 every 17 s, {mesh.network.sent - before} packets")
