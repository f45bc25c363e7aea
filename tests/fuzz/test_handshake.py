"""Any bytes given to a handshake, at any step, end it with its own error and nothing else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.errors import RemoteProtocolError
from meshnode.identity.handshake import Handshake
from meshnode.identity.keys import Identity

ALICE, BOB = Identity.from_seed(bytes(32)), Identity.from_seed(b"b" * 32)
lengths = st.one_of(st.sampled_from([0, 1, 32, 47, 48, 49, 95, 96, 97, 8192, 8193]))
messages = st.one_of(
    st.binary(max_size=300), lengths.flatmap(lambda n: st.binary(min_size=n, max_size=n))
)


def sides() -> tuple[Handshake, Handshake]:
    return (
        Handshake(ALICE, initiator=True, psks=[bytes(32)], prologue=b"", payload=b"a"),
        Handshake(BOB, initiator=False, psks=[b"x" * 32, bytes(32)], prologue=b"", payload=b"b"),
    )


@given(messages, st.integers(1, 3))
@settings(max_examples=120, deadline=None)
def test_any_bytes_end_it_quietly(message: bytes, step: int) -> None:
    alice, bob = sides()
    receiver, sent = bob, alice.start()
    if step >= 2:
        receiver, sent = alice, bob.receive(sent)
    if step == 3:
        receiver, sent = bob, alice.receive(sent)
    if message != sent:
        with pytest.raises(RemoteProtocolError):
            receiver.receive(message)
        assert not receiver.established


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_spliced_messages_of_two_handshakes_do_not_fit(cut: bytes, at: int) -> None:
    alice, bob = sides()
    alice2, bob2 = sides()
    one, two = bob.receive(alice.start()), bob2.receive(alice2.start())
    place = 1 + at % (len(one) - 1)
    spliced = two[:place] + one[place:]
    if spliced != one:  # a first byte may be the same in both
        with pytest.raises(RemoteProtocolError):
            alice.receive(spliced)
    with pytest.raises(RemoteProtocolError):
        alice2.receive(cut + two[32:])
