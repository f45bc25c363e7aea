"""Attacks on the DHT (docs/threat-model.md): each fails, and succeeds with its defence off.

`defended` False switches off the one defence that a test is about; then the attack must work, or
the test would prove nothing.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from kademlia.routing import KBucket

from meshnode.dht import records, table
from meshnode.dht.calls import Calls
from meshnode.dht.findings import Findings
from meshnode.dht.lookup import Lookup
from meshnode.dht.machine import (
    DhtMachine,
    FindNodes,
    FindRecords,
    Join,
    LookupFinished,
    Observe,
)
from meshnode.dht.records import key_of, sign
from meshnode.dht.seq_memory import SeqMemory
from meshnode.dht.settings import DhtSettings
from meshnode.dht.store import RecordStore, Verdict
from meshnode.dht.table import Bucket, Table
from meshnode.errors import RemoteProtocolError
from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact, NetworkId, NodeId, PublicKey, distance
from meshnode.wire.messages import (
    FindNode,
    FoundNodes,
    PutRecord,
    PutReply,
    Received,
    Send,
)
from tests.sim.dht_mesh import NETWORK, Mesh, beset, formed
from tests.sim.dht_sybils import false_records, mine, surround
from tests.sim.network import Link, contact_of
from tests.unit.dht.driving import A, B, C, knowing, machine, reply, sends
from tests.unit.dht.page import ALICE, BOB, CAROL, name, node, numbered, provider

switched = pytest.mark.parametrize("defended", [True, False])
Patch = pytest.MonkeyPatch


class Placed(Contact):
    """A contact whose node id is its key, so that a test can put it anywhere."""

    __slots__ = ()

    @property
    def node_id(self) -> NodeId:
        return NodeId(self.public_key)


def at(point: int, host: str = "10.0.0.1") -> Contact:
    return Placed(PublicKey(point.to_bytes(32, "big")), Address(host, 6174))


# ---------------------------------------------------------------- 1, 2: the routing table


@switched
def test_1_stuffing_a_bucket_shuts_nobody_out(defended: bool, monkeypatch: Patch) -> None:
    if not defended:
        monkeypatch.setattr(Bucket, "depth", KBucket.depth)
    ours = Table(NodeId(bytes(32)), k=16)
    for n in range(20):
        ours.add(at((0b11111 << 251) + n), 0.0)
    rng = Random(1)
    admitted = sum(ours.add(at(2**255 + rng.getrandbits(254)), 1.0) for _ in range(500))
    assert (admitted > 100) is defended


@switched
def test_1_one_network_block_does_not_fill_a_table(defended: bool, monkeypatch: Patch) -> None:
    if not defended:
        monkeypatch.setattr(table, "PER_GROUP_TABLE_MAX", 10**6)
        monkeypatch.setattr(table, "PER_GROUP_BUCKET_MAX", 10**6)
    ours = Table(NodeId(bytes(32)), k=16)
    held = sum(ours.add(numbered(n, f"8.8.8.{n % 250 + 1}"), 0.0) for n in range(1, 400))
    assert (held <= 10) is defended


@switched
def test_2_crafted_ids_do_not_split_buckets_for_ever(defended: bool, monkeypatch: Patch) -> None:
    if not defended:
        monkeypatch.setattr(table, "DEPTH_MAX", 256)
        monkeypatch.setattr(table, "SPLIT_BITS", 10**6)
    ours = Table(NodeId(bytes(32)), k=4)
    for n in range(5 * 40):  # groups of k + 1 that differ in their last bits only
        ours.add(at(2**255 + (n // 5 << 215) + n % 5), 0.0)
    assert (len(ours.buckets) < 130) is defended


# ---------------------------------------------------------------- 3: a ring of Sybils


@switched
def test_3_a_ring_of_sybils_does_not_hide_a_record(defended: bool) -> None:
    settings = DhtSettings() if defended else DhtSettings(paths=1)
    mesh = formed(90, seed=3, settings=settings, check=False)
    found = []
    for active in (False, True):
        owner, blob = mesh.pick(), mesh.rng.randbytes(32)
        record = mesh.provider(owner, blob)
        key = key_of(record)
        ring = surround(mesh, key, 40, active=active)
        mesh.publish(owner, record)
        if active:
            ring.lies = false_records(mesh, blob, 20)
        thorough = FindRecords(mesh.ticket(), key, all_of_them=True, thorough=active)
        found.append(record in mesh.ask(mesh.pick(but=owner), thorough).records)
    assert found == [defended, defended]


@switched
def test_3_sybils_with_an_old_record_do_not_roll_a_name_back(
    defended: bool, monkeypatch: Patch
) -> None:
    """All that a captured lookup meets agree; disjoint paths to the end meet others too."""
    mesh = formed(60, seed=4, check=False)
    if not defended:
        monkeypatch.setattr(Findings, "doubtful", False)
    old = replace(name(ALICE), network=NETWORK)
    new = replace(old, seq=2)
    ring = surround(mesh, key_of(old), 20, active=True)
    ring.lies = (sign(ALICE, old),)
    mesh.publish(mesh.pick(), new, signer=ALICE)
    asker = sorted(mesh.live - {0}, key=lambda i: distance(mesh.contacts[i].node_id, ring.key))[0]
    command = FindRecords(mesh.ticket(), ring.key, all_of_them=False, thorough=defended)
    mesh.machines[asker]._store._shelves.clear()  # the reader is no keeper itself
    found = mesh.ask(asker, command)
    assert ([r.seq for r in found.records] == [2]) is defended


# ---------------------------------------------------------------- 4: eclipse


@switched
def test_4_a_fresh_node_among_liars_still_meets_honest_ones(
    defended: bool, monkeypatch: Patch
) -> None:
    """Many keys, few networks: the liars that courted it first may not fill its table."""
    if not defended:
        monkeypatch.setattr(table, "PER_GROUP_TABLE_MAX", 10**6)
        monkeypatch.setattr(table, "PER_GROUP_BUCKET_MAX", 10**6)
    fresh = Table(numbered(0).node_id, k=16)
    for n in range(1000, 3000):
        fresh.add(numbered(n, f"9.9.{n % 4}.{n % 250 + 1}"), 0.0)
    liars = len(fresh)
    honest = sum(fresh.add(numbered(n, f"8.{n % 250}.{n // 250}.1"), 1.0) for n in range(1, 300))
    assert (honest > 2 * liars) is defended


@switched
def test_4_after_a_restart_the_saved_contacts_break_an_eclipse(defended: bool) -> None:
    mesh = formed(20, seed=5, check=False)
    cache = tuple(mesh.machines[7].contacts())
    keys = mine(bytes(32), 8, 2**256, mesh.rng)
    liars = [Contact(k, Address(f"10.230.0.{n}", 1)) for n, k in enumerate(keys, 1)]

    class Liar:
        def handle(self, event: object, now: float) -> list[Send]:
            if isinstance(event, Received) and isinstance(event.message, FindNode):
                told = tuple(liars[: event.message.count])
                return [Send(event.sender, FoundNodes(rpc=event.message.rpc, contacts=told))]
            return []

        def tick(self, now: float) -> list[Send]:
            return []

        def next_timer(self) -> None:
            return None

    for liar in liars:
        mesh.network.join(liar, Liar())
    restarted = mesh.start()
    mesh.network.tell(mesh.contacts[restarted], Join((*liars, *(cache if defended else ()))))
    mesh.run(30.0)
    known = set(mesh.machines[restarted].contacts())
    assert bool(known & set(mesh.contacts)) is defended


# ---------------------------------------------------------------- 5: forged sources


@switched
def test_5_a_forged_source_is_neither_learnt_nor_asked(defended: bool) -> None:
    a = knowing(B)
    victim = numbered(7)
    asked = sends(a.handle(Received(victim, FindNode(rpc=1, target=bytes(32)), not defended), 1.0))
    questions = [s for s in asked if isinstance(s.message, FindNode)]
    assert (questions == []) is defended
    kept = a.handle(
        Received(C, PutRecord(rpc=1, record=sign(CAROL, provider(CAROL))), not defended), 1.0
    )
    assert (a.records_held == 0) is defended
    assert kept


@switched
def test_5_contacts_that_all_name_one_victim_bring_him_little(defended: bool) -> None:
    settings = DhtSettings() if defended else DhtSettings(candidates_per_address_max=10**6)
    mesh = formed(12, seed=6, settings=settings, check=False)
    victim = contact_of(9999)
    beset(mesh, 6, victim)
    mesh.run(20.0)  # until the looks that follow a join are over
    hits = 0
    plain_send = mesh.network.send

    def watch(sender: Contact, send: Send) -> None:
        nonlocal hits
        hits += send.recipient.address == victim.address
        plain_send(sender, send)

    mesh.network.send = watch
    count = 12
    for _ in range(count):
        mesh.ask(mesh.pick(), FindRecords(mesh.ticket(), mesh.rng.randbytes(32), True))
    paths = 1 + mesh.settings.paths
    limit = 3 * DhtSettings().candidates_per_address_max * paths
    assert (hits <= count * limit) is defended


# ---------------------------------------------------------------- 6: replays


@switched
def test_6_an_answer_counts_once_and_only_from_whom_was_asked(
    defended: bool, monkeypatch: Patch
) -> None:
    if not defended:

        def trusting(self: Calls, received: Received, rpc: int, now: float) -> object:
            return self._calls.get(rpc)

        monkeypatch.setattr(Calls, "take_answer", trusting)
    a = machine()
    (asked,) = sends(a.handle(Observe(B), 0.0))
    answer = reply(asked)
    a.handle(replace(answer, sender=C), 0.0)
    assert (a.size == 0) is defended
    a.handle(answer, 0.0)
    before = a.counters.strays
    a.handle(answer, 0.0)
    assert (a.counters.strays == before + 1) is defended


@switched
def test_6_an_old_record_does_not_come_back_when_the_new_one_has_expired(
    defended: bool, monkeypatch: Patch
) -> None:
    if not defended:
        monkeypatch.setattr(SeqMemory, "highest", lambda self, key: 0)
    store = RecordStore(CAROL.public_key, DhtSettings())
    new, old = name(ALICE, seq=2, ttl_s=60), name(ALICE, seq=1)
    store.put(new, sign(ALICE, new), B, 0.0)
    store.sweep(100.0)
    verdict = store.put(old, sign(ALICE, old), B, 100.0)
    assert (verdict is Verdict.STALE) is defended


# ---------------------------------------------------------------- 7: lookups


@switched
def test_7_endless_closer_contacts_end_a_lookup(defended: bool) -> None:
    limit = DhtSettings().rpcs_max
    a = knowing(B, rpcs_max=limit if defended else 10**6, candidates_max=10**6)
    asked = sends(a.handle(FindNodes(1, bytes(32)), 1.0))
    questions, ended = 0, False
    while asked and questions < 5 * limit:
        ask = asked.pop()
        step = 2**240 - 9 * questions
        nearer = [at(step - n, f"10.{questions >> 4}.{questions & 15}.{n}") for n in range(1, 9)]
        effects = a.handle(reply(ask, *nearer), 1.0)
        asked += sends(effects)
        questions += 1
        ended |= any(isinstance(effect, LookupFinished) for effect in effects)
    assert ended is defended


@switched
def test_7_an_answer_with_too_many_contacts_costs_no_more_than_k(
    defended: bool, monkeypatch: Patch
) -> None:
    settings = DhtSettings(k=16 if defended else 10**6)
    lookup = Lookup(bytes(32), A.node_id, settings)
    lookup.add([B])
    lookup.next_queries()
    lookup.on_answer(B, [numbered(n) for n in range(100)])
    assert (len(lookup._states) <= 17) is defended


@switched
def test_7_silent_contacts_delay_nothing_but_themselves(defended: bool) -> None:
    """Switched off, a slot is freed by an answer or by the timeout only."""
    settings = DhtSettings(retries_max=2 if defended else 0)
    mesh = formed(24, seed=8, settings=settings, check=False)
    mesh.kill(mesh.rng.sample(sorted(mesh.live - {0}), 14))
    began, asker, ticket = mesh.world.now, mesh.pick(), mesh.ticket()
    mesh.network.tell(mesh.contacts[asker], FindNodes(ticket, mesh.rng.randbytes(32)))
    when, _ = mesh.result(asker, ticket)
    assert (when - began < 3.0) is defended


@switched
def test_7_fast_sybils_do_not_cut_slow_honest_nodes_off(defended: bool, monkeypatch: Patch) -> None:
    """They lower the estimate of the round trip; silence beyond it only frees a slot."""
    if not defended:
        monkeypatch.setattr(Lookup, "on_silence", Lookup.on_failure)
    a = knowing(B)
    a._calls.rtt_s = a._calls.rtt_deviation_s = 0.001
    (asked,) = sends(a.handle(FindNodes(1, bytes(32)), 1.0))
    effects = [*a.tick(1.07), *a.handle(reply(asked), 1.3)]
    (finished,) = [e for e in effects if isinstance(e, LookupFinished)]
    assert (finished.closest == (B,)) is defended


# ---------------------------------------------------------------- 8: floods


def _flooded(settings: DhtSettings, offers: Callable[[int], tuple[Identity, Contact]]) -> int:
    """Offer 60 provider records of different blobs; return how many are kept."""
    store = RecordStore(CAROL.public_key, settings)
    for n in range(60):
        who, contact = offers(n)
        record = provider(who, blob=n.to_bytes(32, "big"))
        store.put(record, sign(who, record), contact, 0.0)
    return store.count


LOOSE = DhtSettings(
    records_per_sender_max=10**6,
    records_per_signer_max=10**6,
    records_per_group_max=10**6,
    providers_per_key_max=10**6,
    providers_per_group_max=10**6,
)


@switched
def test_8_one_sender_cannot_fill_the_store(defended: bool) -> None:
    settings = replace(LOOSE, records_per_sender_max=10) if defended else LOOSE
    assert (_flooded(settings, lambda n: (BOB, B)) <= 10) is defended


@switched
def test_8_one_signer_cannot_either_whoever_brings_his_names(defended: bool) -> None:
    settings = replace(LOOSE, records_per_signer_max=10) if defended else LOOSE
    store = RecordStore(CAROL.public_key, settings)
    for n in range(60):
        record = replace(name(ALICE), name=f"n{n}")
        store.put(record, sign(ALICE, record), numbered(n), 0.0)
    assert (store.count <= 10) is defended


@switched
def test_8_one_network_cannot_with_any_number_of_keys(defended: bool) -> None:
    settings = replace(LOOSE, records_per_group_max=10) if defended else LOOSE
    makers = [Identity.from_seed(bytes([n]) * 32) for n in range(100, 160)]

    def offer(n: int) -> tuple[Identity, Contact]:
        return makers[n], Contact(makers[n].public_key, Address(f"8.8.8.{n + 1}", 1))

    assert (_flooded(settings, offer) <= 10) is defended


@switched
def test_8_bytes_are_bounded_and_a_greedy_sender_makes_room(defended: bool) -> None:
    settings = replace(LOOSE, record_bytes_max=30_000) if defended else LOOSE
    store = RecordStore(CAROL.public_key, settings)
    for n in range(60):
        record = provider(BOB, blob=n.to_bytes(32, "big"))
        store.put(record, sign(BOB, record), B, 0.0)
    assert (store.bytes_held <= 30_000) is defended
    record = provider(ALICE)
    assert store.put(record, sign(ALICE, record), A, 0.0) is Verdict.KEPT


# ---------------------------------------------------------------- 9: records


def _kept(data: bytes, *, sender: Contact = B, proved: bool = True) -> bool:
    a = knowing(B)
    put = PutRecord(rpc=1, record=data)
    (answer,) = sends(a.handle(Received(sender, put, proved), 1.0), PutReply)
    return answer.message.kept


@switched
def test_9_a_forged_record_is_not_kept(defended: bool, monkeypatch: Patch) -> None:
    if not defended:
        monkeypatch.setattr(records, "verify1", lambda *_, **__: None)
    forged = bytearray(sign(BOB, provider(BOB)))
    forged[-1] ^= 1
    assert _kept(bytes(forged)) is not defended


@switched
def test_9_a_signature_for_one_type_is_worth_nothing_for_another(
    defended: bool, monkeypatch: Patch
) -> None:
    """Switched off, all types share what is signed beside the payload."""
    honest = dict(records._AAD)
    other = dict.fromkeys(honest, honest[1]) if not defended else honest
    kind, payload = records._payload_of(provider(BOB))
    data = records.sign1(BOB, payload, aad=honest[1])
    monkeypatch.setattr(records, "_AAD", other)
    assert kind == 2
    assert _kept(data) is not defended


@switched
def test_9_a_record_of_another_network_is_not_kept(defended: bool, monkeypatch: Patch) -> None:
    foreign = replace(provider(BOB), network=NetworkId(b"f" * 16))
    data = sign(BOB, foreign)
    if not defended:
        monkeypatch.setattr(
            "meshnode.dht.answers.open_record",
            lambda data, network: records.open_record(data, network=NetworkId(b"f" * 16)),
        )
    assert _kept(data) is not defended


@switched
def test_9_only_its_signer_stores_a_provider_record(defended: bool, monkeypatch: Patch) -> None:
    if not defended:
        monkeypatch.setattr("meshnode.dht.store.signer_of", lambda record: B.public_key)
    assert _kept(sign(CAROL, provider(CAROL)), sender=B) is not defended


@switched
def test_9_an_older_record_is_never_believed_again(defended: bool, monkeypatch: Patch) -> None:
    if not defended:
        monkeypatch.setattr(SeqMemory, "highest", lambda self, key: 0)
    a = knowing(B)
    key = key_of(name(ALICE))
    for seq in (2, 1):
        asked = sends(a.handle(FindRecords(seq, key, all_of_them=False), 1.0))
        effects = a.handle(reply(asked[0], records=(sign(ALICE, name(ALICE, seq=seq)),)), 1.0)
    (finished,) = [e for e in effects if isinstance(e, LookupFinished)]
    assert (finished.records == ()) is defended


@switched
def test_9_a_contradiction_is_proved_and_told(defended: bool, monkeypatch: Patch) -> None:
    if not defended:
        monkeypatch.setattr("meshnode.dht.proofs.Proofs.note", lambda self, proof: None)
    a = knowing(B)
    told = []
    for version in ("1.0.0", "2.0.0"):
        data = sign(ALICE, name(ALICE, version=version))
        told += a.handle(Received(B, PutRecord(rpc=1, record=data)), 1.0)
    proofs = [effect for effect in told if not isinstance(effect, Send)]
    assert bool(proofs) is defended
    if defended:
        opened = [
            records.open_record(d, network=NETWORK) for d in (proofs[0].first, proofs[0].second)
        ]
        assert opened[0] != opened[1]
        assert {r.seq for r in opened} == {1}


@switched
def test_9_no_record_is_immortal(defended: bool) -> None:
    settings = DhtSettings() if defended else DhtSettings(node_ttl_max_s=2**40)
    store = RecordStore(CAROL.public_key, settings)
    record = node(ALICE, ttl_s=2**32 - 1)
    store.put(record, sign(ALICE, record), A, 0.0)
    store.sweep(DhtSettings().node_ttl_max_s + 1)
    assert (store.count == 0) is defended


@switched
def test_9_a_number_that_nothing_could_follow_is_refused(
    defended: bool, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(records, "SEQ_MAX", 2**64)
    data = sign(BOB, provider(BOB, seq=2**63 + 1))
    if defended:
        monkeypatch.undo()
    assert _kept(data) is not defended


# ---------------------------------------------------------------- 17: split bootstrap


@switched
def test_17_two_halves_with_seeds_of_their_own_become_one_mesh(defended: bool) -> None:
    """Each half reached only one of the two seeds when it started; both know of both."""
    never = 10.0**9
    settings = (
        DhtSettings() if defended else DhtSettings(rejoin_every_s=never, refresh_after_s=never)
    )
    mesh = Mesh(16, seed=11, settings=settings, link=Link(), check=False)
    halves = (range(1, 8), range(8, 16))
    other_seed = DhtMachine(contact_of(700), NETWORK, settings, Random(7), passive=True)
    mesh.network.join(contact_of(700), other_seed)
    seeds = (mesh.contacts[0], contact_of(700))
    sides = [
        [seed, *(mesh.contacts[i] for i in half)] for seed, half in zip(seeds, halves, strict=True)
    ]
    mesh.network.partition(sides)
    for half in halves:
        for index in half:
            mesh.network.tell(mesh.contacts[index], Join(seeds))
            mesh.run(0.05)
    mesh.run(20.0)
    left = set(mesh.contacts[1:8])
    assert not any(left & set(mesh.machines[i].contacts()) for i in halves[1])
    mesh.network.heal()
    mesh.run(900.0)
    met = all(len(left & set(mesh.machines[i].contacts())) == 7 for i in halves[1])
    assert met is defended
    record = mesh.provider(2, bytes(32))
    mesh.publish(2, record)
    assert (mesh.find(12, key_of(record)) == (record,)) is defended


def test_a_refusal_of_a_record_is_the_peers_fault_and_named() -> None:
    with pytest.raises(RemoteProtocolError):
        records.open_record(b"\x00", network=NETWORK)
