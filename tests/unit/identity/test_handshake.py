"""The channel handshake, against itself, the page's vector and independent implementations."""

from collections.abc import Callable

import nacl.bindings
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.errors import LocalProtocolError, RemoteProtocolError
from meshnode.identity.handshake import PAYLOAD_BYTES_MAX, STATIC_DOMAIN, Handshake
from meshnode.identity.keys import Identity
from meshnode.identity.noise import NAME_XXPSK0, CipherState, NoiseXX, SymmetricState
from meshnode.wire.limits import HANDSHAKE_BYTES_MAX
from tests.integration.oracles import ORACLES, STATIC, Oracle
from tests.unit.identity.page import vector

ALICE, BOB, EVE = (Identity.from_seed(bytes([n]) * 32) for n in (1, 2, 3))
PSK, OTHER_PSK = b"p" * 32, b"q" * 32


def side(
    identity: Identity,
    *,
    initiator: bool,
    psks: tuple[bytes, ...] = (PSK,),
    prologue: bytes = b"prologue",
    payload: bytes = b"",
) -> Handshake:
    return Handshake(identity, initiator=initiator, psks=psks, prologue=prologue, payload=payload)


def pair(**changes: object) -> tuple[Handshake, Handshake]:
    return side(ALICE, initiator=True, payload=b"from alice"), side(
        BOB, initiator=False, payload=b"from bob", **changes
    )


def run(initiator: Handshake, responder: Handshake) -> None:
    assert responder.receive(initiator.receive(responder.receive(initiator.start()))) == b""


def test_both_sides_agree_and_know_each_other() -> None:
    alice, bob = pair()
    run(alice, bob)
    assert alice.established
    assert bob.established
    assert (alice.peer_key, alice.peer_payload) == (BOB.public_key, b"from bob")
    assert (bob.peer_key, bob.peer_payload) == (ALICE.public_key, b"from alice")
    assert alice.hash == bob.hash
    assert alice.keys() == bob.keys()[::-1]
    assert len({*alice.keys(), alice.hash}) == 3


def test_no_two_handshakes_share_anything() -> None:
    first, second = pair(), pair()
    run(*first)
    run(*second)
    assert first[0].hash != second[0].hash
    assert not set(first[0].keys()) & set(second[0].keys())


def fixed(page: dict[str, bytes], role: str) -> Handshake:
    return Handshake(
        Identity.from_seed(page[f"{role} seed"]),
        initiator=role == "initiator",
        psks=[page["psk"]],
        prologue=page["prologue"],
        payload=page[f"{role} claims"],
        static=page[f"{role} static"],
        ephemeral=page[f"{role} ephemeral"],
    )


def test_the_page_shows_this_handshake() -> None:
    page = vector("handshake")
    initiator, responder = fixed(page, "initiator"), fixed(page, "responder")
    assert initiator.start() == page["message 1"]
    assert responder.receive(page["message 1"]) == page["message 2"]
    assert initiator.receive(page["message 2"]) == page["message 3"]
    assert responder.receive(page["message 3"]) == b""
    assert initiator.hash == responder.hash == page["handshake hash"]
    assert initiator.keys() == (page["initiator key"], page["responder key"])


# ------------------------------------------------------------------ an independent oracle


def proof_of(identity: Identity, static: bytes = STATIC) -> bytes:
    public = nacl.bindings.crypto_scalarmult_base(static)
    return identity.public_key + identity.sign(public, domain=STATIC_DOMAIN) + b"claims"


def assert_equal_outcome(ours: Handshake, noise: Oracle) -> None:
    assert noise.hash() == ours.hash
    assert (ours.peer_key, ours.peer_payload) == (EVE.public_key, b"claims")
    sending, receiving = ours.keys()
    send, receive = CipherState(sending), CipherState(receiving)
    assert noise.decrypt(send.encrypt(b"", b"to the oracle")) == b"to the oracle"
    assert receive.decrypt(b"", noise.encrypt(b"to us")) == b"to us"


@pytest.mark.parametrize("kind", ORACLES)
def test_we_start_and_another_implementation_answers(kind: type[Oracle]) -> None:
    noise = kind(initiator=False, psk=PSK, prologue=b"prologue")
    alice = side(ALICE, initiator=True, payload=b"hi")
    assert noise.read(alice.start()) == b""
    last = alice.receive(noise.write(proof_of(EVE)))
    assert noise.read(last)[:32] == ALICE.public_key
    assert_equal_outcome(alice, noise)


@pytest.mark.parametrize("kind", ORACLES)
def test_another_implementation_starts_and_we_answer(kind: type[Oracle]) -> None:
    noise = kind(initiator=True, psk=PSK, prologue=b"prologue")
    bob = side(BOB, initiator=False)
    assert noise.read(bob.receive(noise.write(b"")))[:32] == BOB.public_key
    assert bob.receive(noise.write(proof_of(EVE))) == b""
    assert_equal_outcome(bob, noise)


@pytest.mark.parametrize(
    ("proof", "reason"),
    [
        (proof_of(EVE, static=b"t" * 32), "did not sign its channel key"),
        (ALICE.public_key + proof_of(EVE)[32:], "did not sign its channel key"),
        (proof_of(EVE)[:95], "did not sign its channel key"),
        (b"", "did not sign its channel key"),
        (proof_of(BOB), "this node itself"),
    ],
    ids=["another static key", "another's name", "cut short", "nothing", "our own key"],
)
def test_who_does_not_sign_its_channel_key_is_refused(proof: bytes, reason: str) -> None:
    bob = side(BOB, initiator=False)
    eve = NoiseXX(psk=PSK, prologue=b"prologue", static=STATIC)
    eve.read_2(bob.receive(eve.write_1(b"")))
    with pytest.raises(RemoteProtocolError, match=reason):
        bob.receive(eve.write_3(proof))
    assert not bob.established
    assert bob.peer_key == b""


# ------------------------------------------------------------------ refusals


def test_the_responder_finds_the_psk_that_fits() -> None:
    for index in range(3):
        psks = [bytes([n]) * 32 for n in range(3)]
        psks[index] = PSK
        alice, bob = pair(psks=tuple(psks))
        run(alice, bob)
        assert bob.psk_index == index


@pytest.mark.parametrize("change", [{"psks": (OTHER_PSK,)}, {"prologue": b"another mesh"}])
def test_a_stranger_gets_no_answer(change: dict[str, object]) -> None:
    alice, bob = pair(**change)
    with pytest.raises(RemoteProtocolError, match="no key of ours"):
        bob.receive(alice.start())
    with pytest.raises(RemoteProtocolError, match="out of turn"):
        bob.receive(side(ALICE, initiator=True, psks=(OTHER_PSK,)).start())


def until(step: int, alice: Handshake, bob: Handshake) -> tuple[Handshake, bytes]:
    """Return the one to receive message `step` (1-3), and that message."""
    message, receiver, sender = alice.start(), bob, alice
    for _ in range(step - 1):
        message = receiver.receive(message)
        receiver, sender = sender, receiver
    return receiver, message


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_no_flipped_bit_is_accepted(data: st.DataObject) -> None:
    receiver, message = until(data.draw(st.integers(1, 3)), *pair())
    bad = bytearray(message)
    bit = data.draw(st.integers(0, len(bad) * 8 - 1))
    bad[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RemoteProtocolError):
        receiver.receive(bytes(bad))
    assert not receiver.established
    with pytest.raises(RemoteProtocolError, match="out of turn"):
        receiver.receive(message)


CHANGES: list[Callable[[bytes], bytes]] = [
    lambda m: b"",
    lambda m: m[:31],
    lambda m: m[:47],
    lambda m: m[:-1],
    lambda m: m + b"\0",
    lambda m: m + bytes(HANDSHAKE_BYTES_MAX),
]


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("change", CHANGES)
def test_a_message_of_another_length_is_refused(
    step: int, change: Callable[[bytes], bytes]
) -> None:
    receiver, message = until(step, *pair())
    with pytest.raises(RemoteProtocolError):
        receiver.receive(change(message))


def test_messages_out_of_turn_are_refused() -> None:
    alice, bob = pair()
    with pytest.raises(RemoteProtocolError, match="out of turn"):
        alice.receive(bytes(48))
    first = alice.start()
    second = bob.receive(first)
    with pytest.raises(LocalProtocolError, match="knocked"):
        bob.answer()
    with pytest.raises(RemoteProtocolError, match="out of turn"):
        bob.knock(first)
    with pytest.raises(RemoteProtocolError):
        bob.receive(first)
    alice.receive(second)
    with pytest.raises(RemoteProtocolError, match="out of turn"):
        alice.receive(second)


def test_a_handshake_reflected_to_its_sender_ends() -> None:
    alice = side(ALICE, initiator=True)
    with pytest.raises(RemoteProtocolError):
        alice.receive(alice.start())
    again, mirror = side(ALICE, initiator=True), side(ALICE, initiator=False)
    with pytest.raises(RemoteProtocolError, match="this node itself"):
        again.receive(mirror.receive(again.start()))


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31)])
def test_a_key_of_low_order_is_refused(point: bytes) -> None:
    # Message 1 made by hand, as a holder of the psk could: a chosen point for e.
    state = SymmetricState.named(NAME_XXPSK0)
    state.mix_hash(b"prologue")
    state.mix_key_and_hash(PSK)
    state.mix_hash(point)
    state.mix_key(point)
    message = point + state.encrypt_and_hash(b"")
    with pytest.raises(RemoteProtocolError, match="bad point"):
        side(BOB, initiator=False).receive(message)


# ------------------------------------------------------------------ our own mistakes


def test_the_largest_payload_fits_and_no_larger_is_taken() -> None:
    alice = side(ALICE, initiator=True, payload=bytes(PAYLOAD_BYTES_MAX))
    bob = side(BOB, initiator=False, payload=bytes(PAYLOAD_BYTES_MAX))
    second = bob.receive(alice.start())
    assert len(second) == HANDSHAKE_BYTES_MAX
    assert bob.receive(alice.receive(second)) == b""
    with pytest.raises(LocalProtocolError, match="too long"):
        side(ALICE, initiator=True, payload=bytes(PAYLOAD_BYTES_MAX + 1))


@pytest.mark.parametrize("psks", [(), (b"short",), (PSK, b"")])
def test_a_handshake_needs_whole_psks(psks: tuple[bytes, ...]) -> None:
    with pytest.raises(LocalProtocolError, match="psks of 32"):
        side(ALICE, initiator=True, psks=psks)


def test_only_an_initiator_starts_and_once() -> None:
    alice, bob = pair()
    alice.start()
    for one in (alice, bob):
        with pytest.raises(LocalProtocolError, match="only an initiator starts"):
            one.start()
        with pytest.raises(LocalProtocolError, match="not done"):
            one.keys()


def test_the_repr_shows_no_secret() -> None:
    alice, _ = pair()
    alice.start()
    shown = repr(alice) + repr(alice._noise) + repr(alice._noise.state.cipher)
    assert repr(PSK)[2:-1] not in shown


def test_a_knock_costs_no_public_key_work(monkeypatch: pytest.MonkeyPatch) -> None:
    first, bob = side(ALICE, initiator=True).start(), side(BOB, initiator=False)

    def never(*_: object) -> bytes:
        raise AssertionError("public-key work before the knock was judged")

    with monkeypatch.context() as patch:
        patch.setattr(nacl.bindings, "crypto_scalarmult", never)
        patch.setattr(nacl.bindings, "crypto_scalarmult_base", never)
        patch.setattr(Identity, "sign", never)
        assert bob.knock(first) == first[:32]
    assert len(bob.answer()) > 96
