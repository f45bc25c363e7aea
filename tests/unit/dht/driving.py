"""A DHT machine driven by hand: its questions, their answers, and time."""

from collections.abc import Sequence
from random import Random

from meshnode.dht.machine import (
    DhtEffect,
    DhtMachine,
    Observe,
)
from meshnode.dht.settings import DhtSettings
from meshnode.ids import Contact
from meshnode.wire.messages import (
    Datagram,
    FindNode,
    FoundNodes,
    FoundRecords,
    GetRecords,
    PutRecord,
    PutReply,
    Received,
    Send,
)
from tests.unit.dht.page import ALICE, BOB, CAROL, NETWORK, contact

A, B, C = contact(ALICE, "10.0.0.1"), contact(BOB, "10.0.0.2"), contact(CAROL, "10.0.0.3")


def machine(own: Contact = A, *, passive: bool = False, **numbers: float) -> DhtMachine:
    return DhtMachine(own, NETWORK, DhtSettings(**numbers), Random(1), passive=passive)


def sends(effects: Sequence[DhtEffect], kind: type | None = None) -> list[Send]:
    found = [e for e in effects if isinstance(e, Send)]
    return [s for s in found if kind is None or isinstance(s.message, kind)]


def reply(send: Send, *contacts: Contact, **fields) -> Received:
    """The answer of whoever was asked."""
    rpc = send.message.rpc
    match send.message:
        case FindNode():
            message: Datagram = FoundNodes(rpc=rpc, contacts=contacts[: send.message.count])
        case GetRecords():
            records = fields.get("records", ())
            more = fields.get("more", False)
            message = FoundRecords(rpc=rpc, records=records, contacts=contacts, more=more)
        case PutRecord():
            message = PutReply(rpc=rpc, kept=fields.get("kept", True))
    return Received(send.recipient, message)


def knowing(*contacts: Contact, passive: bool = False, **numbers: float) -> DhtMachine:
    """A machine with these contacts in its table, at time 0, with nothing under way."""
    known = machine(passive=passive, **numbers)
    for each in contacts:
        asked = sends(known.handle(Observe(each), 0.0))
        settled(known, known.handle(reply(asked[0]), 0.0), 0.0)
    assert known.size == len(contacts)
    return known


def settled(each: DhtMachine, effects: Sequence[DhtEffect], now: float) -> list[DhtEffect]:
    """Answer everything that is asked, with nothing, until nothing is asked."""
    seen, asked = list(effects), sends(effects)
    while asked:
        more = each.handle(reply(asked.pop(0)), now)
        seen += more
        asked += sends(more)
    return seen


def run(each: DhtMachine, until: float) -> list[DhtEffect]:
    """Let time pass with nobody answering."""
    seen: list[DhtEffect] = []
    while (timer := each.next_timer()) is not None and timer <= until:
        seen += each.tick(timer)
        again = each.next_timer()
        assert again is None or again > timer, "a timer in the past would spin the driver"
    return seen
