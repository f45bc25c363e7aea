import pytest

from meshnode.dht.addresses import group_of, is_usable
from meshnode.ids import Address


def test_public_addresses_of_one_block_are_one_group() -> None:
    assert group_of("8.8.8.8") == group_of("8.8.8.200") != group_of("8.8.9.8")
    assert group_of("2606:4700:0:1::1") == group_of("2606:4700:0:ffff::2")
    assert group_of("2606:4700:1::1") != group_of("2606:4700:0::1")
    assert group_of("::ffff:8.8.8.8") == group_of("8.8.8.1")


@pytest.mark.parametrize("host", ["10.0.0.1", "127.0.0.1", "192.168.1.9", "fe80::1", "::1", "lan"])
def test_private_addresses_have_no_group(host: str) -> None:
    assert group_of(host) is None


@pytest.mark.parametrize(
    ("host", "port", "usable"),
    [
        ("10.0.0.1", 6174, True),
        ("127.0.0.1", 1, True),
        ("2001:db8::1", 65535, True),
        ("example.org", 6174, False),
        ("10.0.0.1", 0, False),
        ("10.0.0.1", 70000, False),
        ("0.0.0.0", 6174, False),
        ("::", 6174, False),
        ("224.0.0.1", 6174, False),
        ("ff02::1", 6174, False),
        ("255.255.255.255", 6174, False),
    ],
)
def test_a_told_address_is_usable_only_if_it_names_one_host(
    host: str, port: int, usable: bool
) -> None:
    assert is_usable(Address(host, port)) is usable
