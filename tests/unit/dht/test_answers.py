from dataclasses import replace
from random import Random

import pytest

from meshnode.dht.answers import Answers
from meshnode.dht.proofs import Proofs
from meshnode.dht.records import PAYLOAD_BYTES_MAX, Record, key_of, open_record, sign
from meshnode.dht.settings import DhtSettings
from meshnode.dht.store import RecordStore
from meshnode.dht.table import Table
from meshnode.identity.cose import split1
from meshnode.identity.keys import Identity
from meshnode.ids import Contact
from meshnode.wire.codec import Envelope, encode_datagram
from meshnode.wire.limits import MESSAGE_BYTES_MAX
from meshnode.wire.messages import (
    Datagram,
    FindNode,
    FoundNodes,
    FoundRecords,
    GetRecords,
    Ping,
    PutRecord,
    PutReply,
    Received,
)
from tests.unit.dht.page import ALICE, BOB, CAROL, NETWORK, contact, name, node, numbered, provider

ASKER = contact(BOB)


class Room:
    """A table, a store, and what answers from them."""

    def __init__(self) -> None:
        settings = DhtSettings()
        self.table = Table(CAROL.node_id, k=16)
        self.store = RecordStore(CAROL.public_key, settings)
        self.answers = Answers(
            self.table, self.store, NETWORK, settings, Random(1), proofs=Proofs()
        )

    def ask(self, message: Datagram, sender: Contact = ASKER, *, proved: bool = True) -> Datagram:
        send = self.answers.answer(Received(sender, message, proved), 1.0)
        assert send is not None
        assert send.recipient == sender
        around = Envelope(message=send.message, network=NETWORK, issued=bytes(8), returned=bytes(8))
        assert len(encode_datagram(around)) <= MESSAGE_BYTES_MAX
        return send.message

    def keep(self, *pairs: tuple[Identity, Record]) -> None:
        for who, record in pairs:
            self.store.put(record, sign(who, record), contact(who), 0.0)


def test_the_nearest_sound_contacts_are_handed_out_but_not_the_asker_himself() -> None:
    room = Room()
    contacts = [numbered(n) for n in range(40)]
    for each in [*contacts, ASKER]:
        room.table.add(each, 0.0)
    near = room.table.closest(ASKER.node_id, 20)
    assert near[0] == ASKER
    room.table.failed(near[1], asked_at=0.0, now=1.0)
    reply = room.ask(FindNode(rpc=5, target=ASKER.node_id))
    assert reply == FoundNodes(rpc=5, contacts=tuple(near[2:18]))


@pytest.mark.parametrize("host", ["10.1.2.{}", "fd00:1234:5678:9abc:def0:1234:5678:{}"])
def test_an_answer_full_of_contacts_fits_a_datagram(host: str) -> None:
    room = Room()
    for n in range(16):
        room.table.add(numbered(n, host.format(n + 10)), 0.0)
    reply = room.ask(FindNode(rpc=2**64 - 1, target=bytes(32)))
    assert isinstance(reply, FoundNodes)
    assert len(reply.contacts) >= 11


def test_records_come_with_as_many_contacts_as_fit() -> None:
    room = Room()
    for n in range(16):
        room.table.add(numbered(n), 0.0)
    signers = [Identity.from_seed(bytes([n]) * 32) for n in range(10, 30)]
    room.keep(*((s, provider(s)) for s in signers))
    reply = room.ask(GetRecords(rpc=1, key=key_of(provider(ALICE))))
    assert isinstance(reply, FoundRecords)
    assert len(reply.records) >= 3
    assert len(reply.contacts) >= 4
    assert reply.more
    for data in reply.records:
        open_record(data, network=NETWORK)


def test_a_single_record_leaves_nothing_more() -> None:
    room = Room()
    room.keep((ALICE, name(ALICE)))
    reply = room.ask(GetRecords(rpc=1, key=key_of(name(ALICE))))
    assert reply == FoundRecords(
        rpc=1, records=(sign(ALICE, name(ALICE)),), contacts=(), more=False
    )


def test_the_largest_record_is_handed_out_though_no_contact_fits_beside_it() -> None:
    room = Room()
    for n in range(16):
        room.table.add(numbered(n), 0.0)
    base = name(ALICE)
    entry = base.versions["1.0.0"]
    big, count = base, 0
    while len(split1(sign(ALICE, big))[0]) < PAYLOAD_BYTES_MAX - 100:
        count += 1
        big = replace(big, versions={**big.versions, f"1.0.{count}": entry})
    pad = PAYLOAD_BYTES_MAX - len(split1(sign(ALICE, big))[0])
    big = replace(big, name="d" * min(64, len(big.name) + pad - 1))
    room.keep((ALICE, big))
    reply = room.ask(GetRecords(rpc=2**63, key=key_of(big)))
    assert isinstance(reply, FoundRecords)
    assert reply.records == (sign(ALICE, big),)


def test_a_record_is_kept_for_its_signer_with_a_proved_address() -> None:
    room = Room()
    offer = PutRecord(rpc=3, record=sign(BOB, provider(BOB)))
    assert room.ask(offer, proved=False) == PutReply(rpc=3, kept=False)
    assert room.store.count == 0
    assert room.ask(offer, contact(ALICE)) == PutReply(rpc=3, kept=False)
    assert room.ask(offer) == PutReply(rpc=3, kept=True, seq=1)
    assert room.store.count == 1


def test_forged_records_and_contradictions_are_refused_and_counted() -> None:
    room = Room()
    forged = bytearray(sign(BOB, node(BOB)))
    forged[40] ^= 1
    for record in (bytes(forged), b"", b"\xff" * 900):
        assert room.ask(PutRecord(rpc=1, record=record)) == PutReply(rpc=1, kept=False)
    assert room.answers.refused == 3
    for version, kept in (("1.0.0", True), ("2.0.0", False)):
        offer = PutRecord(rpc=1, record=sign(ALICE, name(ALICE, version=version)))
        assert room.ask(offer) == PutReply(rpc=1, kept=kept, seq=1)
    assert room.answers.equivocations == 1


def test_what_is_no_question_gets_no_answer() -> None:
    assert Room().answers.answer(Received(ASKER, Ping(sequence=1)), 1.0) is None
