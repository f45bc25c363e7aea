import tracemalloc
from dataclasses import replace
from random import Random

import pytest

from meshnode.dht.records import ProviderRecord, Record, key_of, sign
from meshnode.dht.settings import DhtSettings
from meshnode.dht.store import OVERHEAD_BYTES, RecordStore, Verdict
from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact, ContentHash, PublicKey
from tests.unit.dht.page import ALICE, BOB, CAROL, NETWORK, contact, name, node, provider


def store(**settings: float) -> RecordStore:
    return RecordStore(CAROL.public_key, DhtSettings(**settings))


def put(shelf: RecordStore, who: Identity, record: Record, now: float = 0.0, **sender) -> Verdict:
    signer = {ALICE.public_key: ALICE, BOB.public_key: BOB, CAROL.public_key: CAROL}
    owner = getattr(record, "provider", None) or getattr(record, "publisher", None)
    data = sign(signer[owner or record.public_key], record)
    return shelf.put(record, data, contact(who, **sender), now)


def test_many_signers_share_a_provider_key_each_with_one_record() -> None:
    shelf = store()
    key = key_of(provider(ALICE))
    for seq in (1, 2):
        assert put(shelf, ALICE, provider(ALICE, seq=seq)) is Verdict.KEPT
        assert put(shelf, BOB, provider(BOB, seq=seq)) is Verdict.KEPT
    assert shelf.get(key, 0.0) == [
        sign(ALICE, provider(ALICE, seq=2)),
        sign(BOB, provider(BOB, seq=2)),
    ]
    assert shelf.count == shelf.count_of(key, 0.0) == 2


@pytest.mark.parametrize("record", [provider(ALICE), node(ALICE)])
def test_a_provider_or_node_record_is_taken_from_its_signer_only(record: Record) -> None:
    shelf = store()
    assert put(shelf, BOB, record) is Verdict.NOT_SENDERS
    assert put(shelf, ALICE, record) is Verdict.KEPT


def test_a_name_may_be_stored_again_by_anybody() -> None:
    shelf = store()
    assert put(shelf, ALICE, name(ALICE)) is Verdict.KEPT
    assert put(shelf, BOB, name(ALICE), now=7000.0) is Verdict.KEPT
    assert shelf.get(key_of(name(ALICE)), 14_000.0) == [sign(ALICE, name(ALICE))]


def test_a_lower_sequence_number_is_refused() -> None:
    shelf = store()
    assert put(shelf, ALICE, name(ALICE, seq=5)) is Verdict.KEPT
    assert put(shelf, ALICE, name(ALICE, seq=4)) is Verdict.STALE
    assert put(shelf, BOB, name(ALICE, seq=6)) is Verdict.KEPT


def test_an_equal_number_with_another_value_keeps_the_first() -> None:
    shelf = store()
    assert put(shelf, ALICE, name(ALICE, version="1.0.0")) is Verdict.KEPT
    assert put(shelf, ALICE, name(ALICE, version="2.0.0")) is Verdict.EQUIVOCATION
    assert shelf.get(key_of(name(ALICE)), 0.0) == [sign(ALICE, name(ALICE, version="1.0.0"))]


def test_time_to_live_counts_from_arrival_and_is_capped() -> None:
    shelf = store()
    immortal = provider(ALICE, ttl_s=2**32)
    key = key_of(immortal)
    put(shelf, ALICE, immortal, now=100.0)
    assert shelf.get(key, 100.0 + 7199.0) != []
    assert shelf.get(key, 100.0 + 7200.0) == []
    put(shelf, ALICE, node(ALICE, ttl_s=60), now=100.0)
    put(shelf, ALICE, name(ALICE, ttl_s=2**30), now=100.0)
    shelf.sweep(100.0 + 24 * 3600.0 - 1)
    assert shelf.count == 1
    shelf.sweep(100.0 + 24 * 3600.0)
    assert (shelf.count, shelf.bytes_held) == (0, 0)
    assert not shelf._by_sender
    assert not shelf._shelves


def test_after_expiry_a_lower_number_may_come_in_again() -> None:
    shelf = store()
    put(shelf, ALICE, provider(ALICE, seq=9, ttl_s=10), now=0.0)
    assert put(shelf, ALICE, provider(ALICE, seq=3), now=11.0) is Verdict.KEPT
    assert shelf.count == 1


def test_a_withdrawal_stands_until_its_time_is_up_and_comes_last() -> None:
    shelf = store()
    key = key_of(provider(ALICE))
    put(shelf, ALICE, provider(ALICE, seq=1))
    put(shelf, ALICE, provider(ALICE, seq=2, withdrawn=True))
    put(shelf, BOB, provider(BOB))
    assert put(shelf, ALICE, provider(ALICE, seq=1)) is Verdict.STALE
    withdrawn = sign(ALICE, provider(ALICE, seq=2, withdrawn=True))
    assert shelf.get(key, 0.0) == [sign(BOB, provider(BOB)), withdrawn]


# ---------------------------------------------------------------- bounds


def made_up(index: int, *, blob: int = 0, seq: int = 1) -> tuple[ProviderRecord, bytes, Contact]:
    """A record by a key of its own; the store does not verify, so its bytes are made up."""
    key = PublicKey(index.to_bytes(32, "big"))
    record = replace(
        provider(ALICE, seq=seq), provider=key, blob=ContentHash(blob.to_bytes(32, "big"))
    )
    return record, b"%300d" % index, Contact(key, Address("10.0.0.1", 6174))


def test_a_key_holds_so_many_providers_and_gets_room_as_they_expire() -> None:
    shelf = store(providers_per_key_max=3)
    for n in range(3):
        assert shelf.put(*made_up(n), 0.0) is Verdict.KEPT
    assert shelf.put(*made_up(3), 1.0) is Verdict.FULL
    assert shelf.put(*made_up(2, seq=2), 1.0) is Verdict.KEPT
    assert shelf.put(*made_up(3), 1800.0) is Verdict.KEPT


def test_one_sender_gets_so_many_records() -> None:
    shelf = store(records_per_sender_max=5)
    sent = [made_up(7, blob=n) for n in range(6)]
    verdicts = [shelf.put(*each, 0.0) for each in sent]
    assert verdicts == [Verdict.KEPT] * 5 + [Verdict.FULL]
    assert shelf.put(*made_up(7, blob=2, seq=2), 0.0) is Verdict.KEPT
    assert shelf.put(*made_up(8, blob=9), 0.0) is Verdict.KEPT


def test_one_public_network_block_gets_two_providers_of_a_key() -> None:
    shelf = store()
    for n, host in enumerate(["8.8.8.1", "8.8.8.2", "8.8.8.3", "8.8.9.1"]):
        record, data, sender = made_up(n)
        verdict = shelf.put(record, data, replace(sender, address=Address(host, 1)), 0.0)
        assert verdict is (Verdict.FULL if n == 2 else Verdict.KEPT)


def test_the_whole_store_is_bounded_by_count_and_by_bytes() -> None:
    by_count = store(records_max=3)
    by_bytes = store(record_bytes_max=3 * (300 + OVERHEAD_BYTES) + 100)
    for shelf in (by_count, by_bytes):
        verdicts = [shelf.put(*made_up(n, blob=n), 0.0) for n in range(4)]
        assert verdicts == [Verdict.KEPT] * 3 + [Verdict.FULL]
        assert shelf.put(*made_up(4, blob=4), 1800.0) is Verdict.KEPT
        assert shelf.count == 1


def test_our_own_records_are_bound_by_nothing() -> None:
    shelf = store(records_max=1, records_per_sender_max=1, providers_per_key_max=1)
    shelf.put(*made_up(1), 0.0)
    assert put(shelf, CAROL, node(CAROL)) is Verdict.KEPT
    assert put(shelf, CAROL, provider(CAROL)) is Verdict.KEPT


def test_a_flood_costs_bounded_memory() -> None:
    shelf = store(records_max=2000)
    tracemalloc.start()
    for n in range(6000):
        shelf.put(*made_up(n, blob=n), 0.0)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert shelf.count == 2000
    assert held < shelf.bytes_held, f"{held / 2000:.0f} B a record; OVERHEAD_BYTES is too low"


# ---------------------------------------------------------------- subsets


def test_a_subset_fits_is_random_and_repeated_asking_shows_all() -> None:
    shelf = store()
    for n in range(20):
        shelf.put(*made_up(n), 0.0)
    key, rng, seen = key_of(made_up(0)[0]), Random(1), set()
    for _ in range(60):
        some = shelf.subset(key, 0.0, bytes_max=1000, rng=rng)
        assert len(some) == 3
        seen.update(some)
    assert len(seen) == 20
    assert shelf.subset(key, 0.0, bytes_max=302, rng=rng) == []
    assert shelf.subset(b"?" * 32, 0.0, bytes_max=1000, rng=rng) == []
    assert shelf.subset(key, 9999.0, bytes_max=1000, rng=rng) == []


def test_iterating_yields_everything_held() -> None:
    shelf = store()
    put(shelf, ALICE, node(ALICE))
    assert list(shelf) == [(key_of(node(ALICE)), sign(ALICE, node(ALICE)))]
    assert key_of(node(ALICE)) != NETWORK
