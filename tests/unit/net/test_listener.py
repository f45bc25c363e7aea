"""How many connections a listener keeps at once."""

import trio

from meshnode.net.listener import Listener
from meshnode.net.settings import NetSettings
from tests.unit.net.mesh import ALICE, channel_of, says_yes


def test_established_connections_are_bounded() -> None:
    one = Listener(channel_of(ALICE), NetSettings(), says_yes)
    assert one._enter("127.0.0.1", trio.CancelScope()) is not None
    one._established = NetSettings().connections_max
    assert one._enter("127.0.0.1", trio.CancelScope()) is None
