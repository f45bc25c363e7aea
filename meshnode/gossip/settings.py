"""The numbers of the failure detector, under their names from the SWIM and Lifeguard papers.

Defaults follow memberlist's LAN profile where it has the setting, and say so where they differ.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GossipSettings:
    """How members are probed, suspected, forgotten, and how news and loads travel."""

    probe_every_s: float = 1.0
    """The protocol period, in which suspicions are measured."""

    probes_per_period: int = 2
    """Members probed in each, in shuffled rounds. SWIM's one leaves a death in a small mesh
    unnoticed for 3.6 s at worst, two for 2.1 s (120 simulated deaths among 2 to 6 nodes)."""

    probe_timeout_s: float = 0.5
    """The longest wait for a direct ack before others are asked to probe too."""

    probe_timeout_s_min: float = 0.2
    """The shortest: a peer that runs a model answers late, though its round trip is short."""

    probe_timeout_rtts: float = 5.0
    """The wait in round trips, between those two."""

    probe_fails_s: float = 0.8
    """After this a probe has failed. SWIM waits for the whole period; a LAN need not."""

    hint_fails_s: float = 0.5
    """The same for a probe asked for by `Suspect`: a call has found the member silent already."""

    indirect_probes: int = 3
    """k: members asked to probe in our place."""

    suspicion_mult: int = 4
    """Shortest suspicion in periods: mult * log10(n), at least mult."""

    suspicion_max_mult: int = 6
    """Longest suspicion in shortest ones, while nobody confirms it (Lifeguard)."""

    awareness_max: int = 8
    """Lifeguard's local health: timeouts grow up to this many times plus one."""

    late_s: float = 0.1
    """A timer served this late means that we are slow, not those we wait for."""

    gossip_every_s: float = 1.0
    """Loads go out this often (placement.md: the period hardly matters between 0.1 and 5 s)."""

    gossip_jitter: float = 0.1
    """Each period varies by this share, or all nodes would speak at once."""

    gossip_fanout: int = 3
    """Members told in each round, drawn at random."""

    news_every_s: float = 0.2
    """While there is news of members, it goes out this often, as memberlist's gossip does."""

    retransmit_mult: int = 4
    """An update is sent mult * ceil(log10(n + 1)) times."""

    loads_forwarded: int = 8
    """The freshest records of others that ride with our own."""

    load_age_s_max: float = 30.0
    """Older records are dropped."""

    dead_probe_every_s: float = 30.0
    """One dead member is probed this often, so that a partition heals."""

    dead_kept_s: float = 3600.0
    """A dead member is remembered this long: late claims that it lives do not resurrect it."""

    left_kept_s: float = 600.0
    """The same for one that left."""

    members_max: int = 4096
    """Bound of the member table, dead ones included; those make room first."""

    welcome_max: int = 256
    """Members told to a newcomer at once; gossip's reminders bring the rest."""

    def ack_timeout_s(self, rtt_ms: float | None) -> float:
        """Return how long to wait for a direct ack before others are asked."""
        if rtt_ms is None:
            return self.probe_timeout_s
        wanted_s = rtt_ms / 1000 * self.probe_timeout_rtts
        return min(self.probe_timeout_s, max(self.probe_timeout_s_min, wanted_s))
