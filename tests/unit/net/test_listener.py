"""How many strangers a listener entertains at once."""

from meshnode.net.listener import Listener
from meshnode.net.settings import NetSettings
from tests.unit.net.mesh import ALICE, channel_of, says_yes


def listener() -> Listener:
    return Listener(channel_of(ALICE), NetSettings(), says_yes)


def test_one_address_has_a_few_half_open_handshakes_and_loopback_more() -> None:
    one = listener()
    one._half_open.update({"8.8.8.8": 8, "127.0.0.1": 20})
    assert one._crowded("8.8.8.8")
    assert not one._crowded("8.8.4.4")
    assert not one._crowded("127.0.0.1")


def test_all_together_are_bounded() -> None:
    one = listener()
    one._half_open.update({f"9.9.9.{n}": 1 for n in range(64)})
    assert one._crowded("8.8.8.8")
    assert one._crowded("127.0.0.1")


def test_established_connections_are_bounded() -> None:
    one = listener()
    one._established = NetSettings().connections_max
    assert one._crowded("127.0.0.1")
