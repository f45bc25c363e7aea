"""Intents: the header goes first where the payload is slower than a round trip, and only there."""

from dataclasses import replace

import pytest
import trio

from meshnode.caps import Caps
from meshnode.errors import Overpriced, RemoteProtocolError
from meshnode.ids import Address, Contact, ContentHash, PublicKey, RequestId
from meshnode.node.intents import NEAR_MS, Intents
from meshnode.placement.candidate import Candidate
from meshnode.placement.choose import Scored
from meshnode.placement.score import Score
from meshnode.wire.messages import Granted, Intent, LoadRecord, Predict, TensorHeader
from meshnode.wire.terms import NO_ALTERNATIVE, Terms
from tests.unit.placement.nodes import record

IMAGE = TensorHeader(name="x", dtype="uint8", shape=(600_000,), size=600_000)
REQUEST = Predict(
    request_id=RequestId(b"r" * 16),
    module=ContentHash(b"m" * 32),
    source="cam",
    budget_ms=1000,
    hops_left=0,
    terms=Terms(alternative=425),
    tensors=(IMAGE,),
    body=(bytes(600_000),),
)
CONTACT = Contact(PublicKey(b"k" * 32), Address("192.0.2.1", 7000))


def scored(rtt_ms: float) -> Scored:
    there = Candidate(
        contact=CONTACT,
        name="there",
        caps=Caps.CPU,
        rtt_ms=rtt_ms,
        load=None,
        load_age_s=0.0,
        holds=True,
        is_self=False,
    )
    return Scored(there, Score(rtt_ms, 0.0, 0.0, 10.0, 0.0, 0.0, 0.0, False))


class Pool:
    def __init__(self, reply: object) -> None:
        self.reply = reply
        self.sent: list[object] = []

    async def call(self, contact: Contact, request: object, *, timeout_s: float) -> object:
        assert contact == CONTACT
        self.sent.append(request)
        await trio.sleep(0.25)
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


def intents(rate: float | None, reply: object = None) -> tuple[Intents, Pool, list[LoadRecord]]:
    pool, heard = Pool(reply), list[LoadRecord]()
    made = Intents(pool, lambda node: rate, lambda node, load: heard.append(load))  # type: ignore[arg-type]
    return made, pool, heard


@pytest.mark.parametrize(
    ("rate", "rtt_ms", "asks"),
    [
        (None, 1.0, False),  # nobody measured it
        (100_000.0, 1.0, False),  # 6 ms on a LAN
        (600_000 / (NEAR_MS + 1), 1.0, True),
        (6_000.0, 20.0, True),  # 100 ms
        (60_000.0, 20.0, False),  # 10 ms, quicker than asking
    ],
)
def test_it_asks_where_the_payload_is_slower_than_the_question(
    rate: float | None, rtt_ms: float, asks: bool
) -> None:
    made, _, _ = intents(rate)
    assert made.pays(scored(rtt_ms), REQUEST) is asks
    assert not made.pays(scored(rtt_ms), replace(REQUEST, tensors=(), body=()))


def test_the_own_node_is_never_asked_first() -> None:
    made, _, _ = intents(1.0)
    there = scored(1.0)
    here = replace(there, candidate=replace(there.candidate, is_self=True))
    assert (made.pays(there, REQUEST), made.pays(here, REQUEST)) == (True, False)


async def test_what_is_granted_is_sent_without_a_price_and_with_less_time(
    autojump_clock: object,
) -> None:
    load = record("there")
    made, pool, heard = intents(1.0, Granted(load=load))
    sent = await made.ask(scored(20.0), REQUEST, timeout_s=1.0)
    (intent,) = pool.sent
    assert isinstance(intent, Intent)
    assert intent.terms.alternative == 425
    assert sent.terms.alternative == NO_ALTERNATIVE
    assert (sent.budget_ms, sent.urgency.age_ms) == (750, 250)
    assert sent.body is REQUEST.body
    assert heard == [load]


async def test_a_refusal_is_raised_as_it_is(autojump_clock: object) -> None:
    made, _, _ = intents(1.0, Overpriced("sooner elsewhere"))
    with pytest.raises(Overpriced):
        await made.ask(scored(20.0), REQUEST, timeout_s=1.0)
    made, _, _ = intents(1.0, "no grant")
    with pytest.raises(RemoteProtocolError):
        await made.ask(scored(20.0), REQUEST, timeout_s=1.0)
