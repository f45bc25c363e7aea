from meshnode.dht.findings import Findings
from meshnode.dht.records import key_of, sign
from meshnode.dht.seq_memory import KEYS_REMEMBERED_MAX, SeqMemory
from meshnode.dht.settings import DhtSettings
from meshnode.identity.keys import Identity
from tests.unit.dht.page import ALICE, BOB, CAROL, NETWORK, name, numbered, provider

A, B, C = (numbered(n).node_id for n in (1, 2, 3))
NAME_KEY = key_of(name(ALICE))
PROVIDER_KEY = key_of(provider(ALICE))


def findings(key: bytes, *, all_of_them: bool, seq_min: int = 0) -> Findings:
    return Findings(key, NETWORK, DhtSettings(), all_of_them=all_of_them, seq_min=seq_min)


def test_a_name_is_believed_after_three_nodes_brought_one_and_the_highest_wins() -> None:
    found = findings(NAME_KEY, all_of_them=False)
    new = sign(ALICE, name(ALICE, seq=2))
    assert found.take([sign(ALICE, name(ALICE, seq=1))], A)
    assert found.take([new], B)
    assert not found.enough
    assert not found.take([new], B)
    assert not found.enough
    assert not found.take([sign(ALICE, name(ALICE, seq=1))], C)
    assert found.enough
    assert found.records() == (name(ALICE, seq=2),)


def test_our_own_copy_is_no_witness() -> None:
    found = findings(NAME_KEY, all_of_them=False)
    found.take([sign(ALICE, name(ALICE))], None)
    found.take([sign(ALICE, name(ALICE))], A)
    found.take([sign(ALICE, name(ALICE))], B)
    assert found.some
    assert not found.enough


def test_forged_and_foreign_records_are_refused_and_counted_once() -> None:
    found = findings(NAME_KEY, all_of_them=False)
    forged = bytearray(sign(ALICE, name(ALICE)))
    forged[-1] ^= 1
    other = sign(BOB, name(BOB))
    for carrier in (A, B):
        assert not found.take([bytes(forged), other, b"", b"x"], carrier)
    assert found.refused == 4
    assert not found.some
    assert found.records() == ()


def test_an_older_record_than_we_saw_before_is_refused() -> None:
    found = findings(NAME_KEY, all_of_them=False, seq_min=5)
    found.take([sign(ALICE, name(ALICE, seq=4))], A)
    assert not found.some
    found.take([sign(ALICE, name(ALICE, seq=5))], A)
    assert found.some


def test_a_contradiction_is_counted_and_the_first_one_kept() -> None:
    found = findings(NAME_KEY, all_of_them=False)
    found.take([sign(ALICE, name(ALICE, version="1.0.0"))], A)
    found.take([sign(ALICE, name(ALICE, version="2.0.0"))], B)
    assert len(found.proofs) == 1
    assert found.records() == (name(ALICE, version="1.0.0"),)


def test_providers_are_collected_until_sixteen_distinct_ones() -> None:
    found = findings(PROVIDER_KEY, all_of_them=True)
    signers = [Identity.from_seed(bytes([n]) * 32) for n in range(10, 26)]
    for signer in signers[:15]:
        found.take([sign(signer, provider(signer))], A)
    assert not found.enough
    found.take([sign(signers[15], provider(signers[15]))], A)
    assert found.enough
    assert len(found.records()) == 16


def test_a_withdrawal_beats_the_older_record_and_is_nothing_found() -> None:
    found = findings(PROVIDER_KEY, all_of_them=True)
    found.take([sign(CAROL, provider(CAROL, seq=1))], A)
    assert found.some
    found.take([sign(CAROL, provider(CAROL, seq=2, withdrawn=True))], B)
    assert not found.some
    assert [r.withdrawn for r in found.records()] == [True]


def test_the_memory_of_sequence_numbers_is_bounded_and_never_falls() -> None:
    seqs = SeqMemory()
    seqs.note(b"a", 5)
    seqs.note(b"a", 3)
    assert (seqs.highest(b"a"), seqs.highest(b"b")) == (5, 0)
    for n in range(KEYS_REMEMBERED_MAX):
        seqs.note(b"%d" % n, 1)
    assert seqs.highest(b"a") == 0
    assert len(seqs._highest) == KEYS_REMEMBERED_MAX
