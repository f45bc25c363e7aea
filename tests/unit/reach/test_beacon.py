"""What is said on a LAN, and what is made of what is heard there (attack 16)."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.ids import Address, Contact, NetworkId, PublicKey
from meshnode.machine import Random
from meshnode.reach import beacon as page
from meshnode.reach.beacon import (
    ANNOUNCE_EVERY_S,
    ANNOUNCE_PAUSE_S,
    ANSWER_WITHIN_S,
    BEACON_BYTES_MAX,
    FIRST_PAUSES_S,
    GREET_AGAIN_S,
    GREET_BURST,
    GREET_EVERY_S,
    KNOWN_MAX,
    Announce,
    Beacon,
    BeaconMachine,
    Greet,
    Heard,
    decode,
    encode,
    is_question,
    is_tagged,
    meshes_among,
    question,
)

KEY = b"m" * 32
OWN = Beacon(
    network=NetworkId(b"n" * 16), public_key=PublicKey(b"o" * 32), port=6174, mesh_name="home"
)
OTHER = replace(OWN, public_key=PublicKey(b"p" * 32), port=7000)
HOST = "192.168.1.9"
DEFENDED = pytest.mark.parametrize("defended", [True, False], ids=["defended", "switched-off"])


def machine() -> BeaconMachine:
    return BeaconMachine(OWN, mesh_keys=lambda: (KEY, b"old" + bytes(29)), rng=Random(1), now=0.0)


def names() -> st.SearchStrategy[str]:
    return st.text(max_size=60).filter(str.isprintable)


@given(st.binary(min_size=16, max_size=16), st.integers(1, 65535), names())
def test_what_is_encoded_is_decoded_and_fits(network: bytes, port: int, name: str) -> None:
    said = Beacon(network=NetworkId(network), public_key=OWN.public_key, port=port, mesh_name=name)
    data = encode(said, KEY)
    assert len(data) <= BEACON_BYTES_MAX
    heard = decode(data)
    assert heard is not None
    assert name.startswith(heard.mesh_name)
    assert replace(heard, mesh_name=name) == said
    assert is_tagged(data, [bytes(32), KEY])
    assert not is_tagged(data, [bytes(32)])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_beacon_or_none(data: bytes) -> None:
    for tried in (data, encode(OWN, KEY)[:-1] + data[:1], b"MNB1\x01" + data):
        found = decode(tried)
        assert found is None or found.mesh_name.isprintable()
        machine().handle(Heard(tried, HOST), 1.0)


def test_a_member_is_greeted_where_it_was_heard_and_not_again_at_once() -> None:
    ears = machine()
    heard = Heard(encode(OTHER, KEY), HOST)
    greet = Greet(Contact(OTHER.public_key, Address(HOST, 7000)))
    assert ears.handle(heard, 1.0) == [greet]
    assert ears.handle(heard, 10.0) == []
    assert ears.handle(heard, 1.0 + GREET_AGAIN_S) == [greet]
    assert ears.hosts(GREET_AGAIN_S) == 1


def test_a_member_with_the_old_key_is_greeted_too() -> None:
    assert machine().handle(Heard(encode(OTHER, b"old" + bytes(29)), HOST), 1.0)


def test_our_own_voice_and_other_meshes_are_not_greeted() -> None:
    foreign = replace(OTHER, network=NetworkId(b"x" * 16))
    for said in (OWN, foreign):
        assert machine().handle(Heard(encode(said, KEY), HOST), 1.0) == []


def test_it_speaks_at_once_then_less_and_less_often() -> None:
    voice, now, times = machine(), 0.0, []
    for _ in range(6):
        (said,) = voice.tick(now)
        assert said == Announce(encode(OWN, KEY))
        times.append(now)
        now = voice.next_timer()
        assert now is not None
        assert voice.tick(now - 0.01) == []
    pauses = [b - a for a, b in pairwise(times)]
    expected = [*FIRST_PAUSES_S, ANNOUNCE_EVERY_S, ANNOUNCE_EVERY_S]
    assert all(0.9 * e <= p <= 1.1 * e for p, e in zip(pauses, expected, strict=True))


def test_a_question_is_answered_soon_but_not_more_than_once_a_second() -> None:
    voice = machine()
    for at in (0.0, 2.0, 6.0, 20.0):
        assert voice.tick(at)
    assert is_question(question())
    for asked_at, soonest in ((20.2, 20.0 + ANNOUNCE_PAUSE_S), (22.0, 22.0)):
        voice.handle(Heard(question(), HOST), asked_at)
        due = voice.next_timer()
        assert due is not None
        assert soonest <= due <= soonest + ANSWER_WITHIN_S
        voice.tick(due)
    assert len(question()) >= len(encode(OWN, KEY))


# ---------------------------------------------------------------- attack 16


@DEFENDED
def test_a_stranger_that_claims_to_be_of_the_mesh_is_not_greeted(
    defended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not defended:
        monkeypatch.setattr(page, "is_tagged", lambda *_: True)
    ears = machine()
    effects = ears.handle(Heard(encode(OTHER, b"guess" + bytes(27)), HOST), 1.0)
    assert (effects == []) is defended
    assert ears.counters.untagged == defended


@DEFENDED
def test_one_host_cannot_have_us_greet_without_end(defended: bool) -> None:
    ears = machine()
    if not defended:
        ears._sources = page.AskRate(every_s=1e-9, burst=10**9)
        ears._greetings = page.AskRate(every_s=1e-9, burst=10**9)
    greeted = 0
    for n in range(1000):
        said = encode(replace(OTHER, port=n + 1), KEY)  # a recorded key, many ports
        greeted += len(ears.handle(Heard(said, HOST), n / 1000))
    assert (greeted <= page.SOURCE_BURST + 2) is defended


@DEFENDED
def test_a_flood_from_forged_hosts_costs_a_few_packets_a_second(defended: bool) -> None:
    ears = machine()
    if not defended:
        ears._greetings = page.AskRate(every_s=1e-9, burst=10**9)
    said = encode(OTHER, KEY)  # recorded and sent again
    seconds, greeted = 10, 0
    for n in range(5000):
        host = f"10.{n // 65536}.{n // 256 % 256}.{n % 256}"
        greeted += len(ears.handle(Heard(said, host), n * seconds / 5000))
    assert (greeted <= GREET_BURST + seconds / GREET_EVERY_S + 1) is defended
    assert len(ears._greeted) <= KNOWN_MAX
    assert len(ears._hosts) <= KNOWN_MAX


def test_a_newcomer_is_shown_each_mesh_once_and_no_control_characters() -> None:
    evil = encode(replace(OTHER, mesh_name="x"), KEY).replace(b"\x01x", b"\x01\x1b")
    said = [question(), encode(OWN, KEY), encode(OTHER, KEY), evil, b"noise"]
    assert [b.mesh_name for b in meshes_among([Heard(d, HOST) for d in said])] == ["home"]
