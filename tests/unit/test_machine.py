"""What every machine must keep, checked on each of them with generated inputs.

Tick is idempotent, no timer lies in the past (the driver would spin), and the same inputs at the
same times give the same effects.
"""

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.batching.batcher import Batcher, Offer, Run, RunFinished, Withdraw
from meshnode.batching.settings import BatchingSettings
from meshnode.caps import Caps
from meshnode.gossip.machine import HearLoad, Join, Leave, SetLoad, Suspect, SwimMachine, WantLoads
from meshnode.gossip.settings import GossipSettings, without_lifeguard
from meshnode.gossip.words import Signatures
from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact, NetworkId, NodeTag, RequestId, tag_of
from meshnode.machine import Machine, Random
from meshnode.wire.messages import (
    Ack,
    Digest,
    Glimpses,
    Gossip,
    LoadRecord,
    MemberUpdate,
    Nack,
    Ping,
    PingRequest,
    Received,
    Send,
    Subscribe,
    Summary,
    Want,
)

Step = tuple[float, Any]


def play(machine: Machine[Any, Any], steps: Sequence[Step]) -> list[Any]:
    """Feed inputs (None: only a tick) and check the contract after each."""
    now, seen = 1.0, []
    for wait, event in steps:
        now += wait
        if event is not None:
            seen += machine.handle(event, now)
        seen += machine.tick(now)
        assert list(machine.tick(now)) == [], "tick is not idempotent"
        timer = machine.next_timer()
        assert timer is None or timer > now, "a timer in the past would spin the driver"
    return seen


def same_twice(make: Callable[[], Machine[Any, Any]], steps: Sequence[Step]) -> None:
    assert play(make(), steps) == play(make(), steps)


# ---------------------------------------------------------------- batcher

BATCHER_STEPS = st.lists(
    st.tuples(st.floats(0, 0.02), st.sampled_from(["offer", "withdraw", "finish", None]))
)


class SelfFinishing(Batcher):
    """A batcher whose runs may be finished at any time; finishing nothing is skipped."""

    def __init__(self, settings: BatchingSettings) -> None:
        super().__init__(settings)
        self.busy = False
        self.count = 0

    def handle(self, event: Any, now: float) -> Any:
        match event:
            case "offer":
                self.count += 1
                effects = super().handle(Offer(request(self.count), now + 0.03), now)
            case "withdraw":
                effects = super().handle(Withdraw(request(self.count)), now)
            case _ if self.busy:
                self.busy = False
                effects = super().handle(RunFinished(), now)
            case _:
                effects = []
        return self.watch(effects)

    def tick(self, now: float) -> Any:
        return self.watch(super().tick(now))

    def watch(self, effects: Any) -> Any:
        self.busy |= any(isinstance(e, Run) for e in effects)
        return effects


def request(number: int) -> RequestId:
    return RequestId(number.to_bytes(16, "big"))


@settings(max_examples=60, deadline=None)
@given(BATCHER_STEPS, st.sampled_from([0.0, 5.0]))
def test_batcher_keeps_the_machine_contract(steps: list[Step], window_ms: float) -> None:
    bounds = BatchingSettings(batch_max=3, queue_max=4, window_ms_max=window_ms)
    same_twice(lambda: SelfFinishing(bounds), steps)


# ---------------------------------------------------------------- swim

KEYS = [Identity.from_seed(bytes([i]) * 32) for i in range(6)]
PEOPLE = [Contact(key.public_key, Address("10.0.0.1", 7000 + i)) for i, key in enumerate(KEYS)]
NETWORK = NetworkId(b"sixteen bytes ok")
WITNESSES = {c.public_key: Signatures(k, NETWORK) for c, k in zip(PEOPLE, KEYS, strict=True)}
OWN = PEOPLE[0]
peers = st.sampled_from(PEOPLE)
incarnations = st.integers(0, 3) | st.integers(0, 2**64 - 1)


def signed(word: MemberUpdate, is_signed: bool) -> MemberUpdate:
    return WITNESSES[word.contact.public_key].signed(word) if is_signed else word


updates = st.lists(
    st.builds(
        signed,
        st.builds(
            MemberUpdate,
            contact=peers,
            state=st.integers(0, 4),
            incarnation=incarnations,
            name=st.sampled_from(["a", "b\x1b[2J"]),
            caps=st.just(Caps.CPU),
        ),
        st.sampled_from([True, True, True, False]),
    ),
    max_size=4,
).map(tuple)
accusations = st.lists(
    st.builds(
        lambda suspect, incarnation, accuser: WITNESSES[accuser.public_key].accuse(
            suspect.node_id, incarnation
        ),
        peers,
        incarnations,
        peers,
    ),
    max_size=4,
).map(tuple)
loads = st.lists(
    st.builds(
        LoadRecord,
        node=peers.map(lambda c: tag_of(c.node_id)) | st.just(NodeTag(b"stranger")),
        sequence=st.integers(0, 5),
        age_ms=st.integers(0, 60_000),
        wait=st.just(0),
        wait_mean=st.just(0),
        wait_sigma=st.just(0),
        in_flight=st.just(0),
        draining=st.booleans(),
        speed=st.just(1),
    ),
    max_size=4,
).map(tuple)
sequences = st.integers(0, 3)


def rows(size: int) -> st.SearchStrategy[bytes]:
    return st.integers(0, 4).flatmap(lambda n: st.binary(min_size=n * size, max_size=n * size))


datagrams = st.one_of(
    st.builds(Ping, sequence=sequences, updates=updates, accusations=accusations, loads=loads),
    st.builds(Ack, sequence=sequences, updates=updates, accusations=accusations, loads=loads),
    st.builds(PingRequest, sequence=sequences, target=peers),
    st.builds(Gossip, updates=updates, accusations=accusations, loads=loads),
    st.builds(Nack, sequence=sequences),
    st.builds(Digest, parts=st.binary(min_size=256, max_size=256)),
    st.builds(Summary, parts=st.binary(max_size=64), entries=rows(16)),
    st.builds(Want, tags=rows(8) | peers.map(lambda c: tag_of(c.node_id))),
    st.builds(Glimpses, entries=rows(30)),
    st.builds(Subscribe, sequence=sequences, wanted=st.booleans()),
)
swim_inputs = st.one_of(
    st.none(),
    st.builds(Received, peers, datagrams, st.booleans()),
    st.builds(Join, st.lists(peers, max_size=3).map(tuple)),
    loads.filter(bool).map(lambda some: SetLoad(some[0])),
    loads.filter(bool).map(lambda some: HearLoad(some[0])),
    peers.map(lambda c: Suspect(c.node_id)),
    st.builds(WantLoads, st.just(NodeTag(b"a module")), st.just(Caps.CPU)),
)


SMALL, LARGE = GossipSettings(), GossipSettings(small_mesh_max=2)


def swim(settings: GossipSettings = SMALL) -> SwimMachine:
    return SwimMachine(
        OWN,
        name="own",
        caps=Caps.CPU,
        incarnation=1,
        settings=settings,
        witness=WITNESSES[OWN.public_key],
        rng=Random(7),
    )


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-3, 3), swim_inputs), max_size=30),
    st.sampled_from([SMALL, LARGE, without_lifeguard(SMALL)]),
)
def test_swim_keeps_the_machine_contract_whatever_it_is_told(
    steps: list[Step], bounds: GossipSettings
) -> None:
    """Also when the clock is set back."""
    same_twice(lambda: swim(bounds), steps)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 3), swim_inputs), max_size=10))
def test_swim_is_silent_once_it_left(steps: list[Step]) -> None:
    machine = swim()
    play(machine, steps)
    assert all(isinstance(e, Send) for e in machine.handle(Leave(), 1000.0))
    assert machine.next_timer() is None
    assert play(machine, [(w + 1000.0, e) for w, e in steps]) == []
