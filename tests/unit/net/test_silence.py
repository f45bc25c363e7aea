"""When a node says that UDP seems to be blocked."""

import logging

import pytest

from meshnode.net.silence import LASTS_S, SENT_MIN, Silence


def test_it_is_said_once_after_much_was_sent_in_some_time(caplog: pytest.LogCaptureFixture) -> None:
    silence = Silence()
    with caplog.at_level(logging.WARNING, logger="meshnode"):
        for number in range(SENT_MIN * 3):
            silence.sent(number * LASTS_S / SENT_MIN)
    assert silence.blocked
    assert caplog.text.count("drop UDP") == 1


def test_a_burst_or_a_few_dead_peers_are_no_sign() -> None:
    silence = Silence()
    for _ in range(1000):
        silence.sent(0.0)
    assert not silence.blocked
    patient = Silence()
    for number in range(SENT_MIN - 1):
        patient.sent(number * 100.0)
    assert not patient.blocked


def test_one_datagram_shows_that_the_way_is_open() -> None:
    silence = Silence()
    for number in range(SENT_MIN * 2):
        silence.sent(number * 1.0)
    assert silence.blocked
    silence.heard()
    assert not silence.blocked
