"""A node dials where its owner's network cannot be harmed by it."""

import pytest

from meshnode.reach.dialable import is_internal, may_dial

OWN, RELAY = "192.168.1.20", "10.9.0.1"


@pytest.mark.parametrize(
    "host",
    [
        *("10.0.0.1", "172.16.3.4", "192.168.9.9", "127.0.0.1", "169.254.1.1", "100.64.0.1"),
        *("0.0.0.0", "::1", "fe80::1", "fd00::1", "::ffff:10.0.0.1", "224.0.0.1"),
        *("255.255.255.255", "a.example"),
    ],
)
def test_what_is_behind_a_door_is_internal(host: str) -> None:
    assert is_internal(host)
    assert not may_dial(host, 6174, near=())


@pytest.mark.parametrize("host", ["8.8.8.8", "2606:4700::1", "203.0.113.7", "2001:db8::1"])
def test_a_public_address_may_be_dialled(host: str) -> None:
    assert not is_internal(host)
    assert may_dial(host, 6174, near=())
    assert not may_dial(host, 0, near=())


def test_an_internal_address_may_be_dialled_in_a_block_that_the_asker_can_reach_itself() -> None:
    assert may_dial("192.168.1.31", 6174, near=(OWN, RELAY))
    assert may_dial("10.9.0.44", 6174, near=(OWN, RELAY))
    assert not may_dial("192.168.2.31", 6174, near=(OWN, RELAY))
    assert not may_dial("10.9.1.44", 6174, near=(OWN, RELAY))
    assert not may_dial("printer.local", 6174, near=(OWN, RELAY))
