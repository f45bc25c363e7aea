"""Answers can be made shorter down to nothing, and end there."""

import pytest

from meshnode.ids import Address, Contact
from meshnode.net.trimming import answer_bytes, is_answer, is_question, shorter
from meshnode.wire.codec import Envelope, encode_datagram
from meshnode.wire.messages import Ack, Datagram, FindNode, FoundNodes, FoundRecords, Ping, PutReply
from tests.unit.net.mesh import ALICE

CONTACT = Contact(ALICE.public_key, Address("192.0.2.1", 1))


def chain_of(message: Datagram) -> list[Datagram]:
    found = [message]
    while (cut := shorter(found[-1])) is not None:
        found.append(cut)
    return found


def test_contacts_go_before_records_and_left_out_records_are_announced() -> None:
    full = FoundRecords(rpc=1, records=(b"a", b"b"), contacts=(CONTACT,), more=False)
    steps = [(s.records, s.contacts, s.more) for s in chain_of(full) if isinstance(s, FoundRecords)]
    assert steps == [
        ((b"a", b"b"), (CONTACT,), False),
        ((b"a", b"b"), (), False),
        ((b"a",), (), True),
        ((), (), True),
    ]


def test_what_has_nothing_to_leave_out_stays() -> None:
    assert len(chain_of(FoundNodes(rpc=1, contacts=(CONTACT,) * 3))) == 4
    assert len(chain_of(PutReply(rpc=1, kept=True))) == 1
    assert len(chain_of(Ack(sequence=1))) == 1


def test_questions_and_answers() -> None:
    question, answer = FindNode(rpc=1, target=bytes(32)), PutReply(rpc=1, kept=True)
    assert is_question(question)
    assert not is_answer(question)
    assert is_answer(answer)
    assert not is_question(answer)


@pytest.mark.parametrize("sequence", [0, 2**32 - 1])
def test_a_first_ping_is_padded_to_the_bare_ack_that_answers_it(sequence: int) -> None:
    ask = Envelope(message=Ping(sequence=sequence), issued=bytes(8))
    answer = Envelope(message=Ack(sequence=sequence), issued=bytes(8), returned=bytes(8))
    padded = encode_datagram(ask, pad_to=answer_bytes(ask.message))
    assert len(encode_datagram(answer)) <= len(padded) <= 41
