"""The ack timeout follows the round trip between its two bounds."""

from meshnode.gossip.settings import GossipSettings


def test_the_ack_timeout_is_a_few_round_trips_within_bounds() -> None:
    settings = GossipSettings()
    assert settings.ack_timeout_s(None) == 0.5
    assert settings.ack_timeout_s(0.3) == 0.2
    assert settings.ack_timeout_s(60.0) == 0.3
    assert settings.ack_timeout_s(400.0) == 0.5
