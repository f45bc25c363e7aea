"""Addresses as sockets have them, and errors in words."""

import errno
import os
import socket

import pytest

from meshnode.ids import Address
from meshnode.net.addresses import (
    from_sockaddr,
    is_literal,
    is_loopback,
    is_private,
    to_sockaddr,
    why,
)


def test_ipv4_seen_through_ipv6_is_ipv4_again() -> None:
    assert from_sockaddr(("::ffff:192.0.2.1", 5, 0, 0)) == Address("192.0.2.1", 5)
    assert from_sockaddr(("2600::1", 5, 0, 0)) == Address("2600::1", 5)
    assert to_sockaddr(Address("192.0.2.1", 5), socket.AF_INET6) == ("::ffff:192.0.2.1", 5, 0, 0)
    assert to_sockaddr(Address("192.0.2.1", 5), socket.AF_INET) == ("192.0.2.1", 5)
    assert to_sockaddr(Address("2600::1", 5), socket.AF_INET6) == ("2600::1", 5, 0, 0)


def test_kinds_of_hosts() -> None:
    assert is_literal("::1")
    assert not is_literal("node.example")
    assert is_private("10.0.0.1")
    assert not is_private("8.8.8.8")
    assert is_loopback("127.0.0.2")
    assert not is_loopback("10.0.0.1")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ECONNREFUSED, "refused"),
        (errno.EHOSTUNREACH, "no route"),
        (errno.ENETUNREACH, "no route"),
        (errno.ETIMEDOUT, "timed out"),
        (errno.EPIPE, "broken pipe"),
    ],
)
def test_errors_are_told_in_words_through_groups_and_causes(number: int, words: str) -> None:
    inner = OSError(number, os.strerror(number))
    assert words in why(inner)
    outer = OSError("all attempts failed")
    outer.__cause__ = ExceptionGroup("", [inner, inner])
    assert why(outer) == why(inner)
    assert "host name" in why(socket.gaierror(-2, "x"))
    assert why(ValueError("odd")) == "odd"
