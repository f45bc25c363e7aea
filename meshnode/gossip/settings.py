"""The numbers of the failure detector, under their names from the SWIM and Lifeguard papers.

Defaults follow memberlist's LAN profile where it has the setting, and say so where they differ.
"""

from dataclasses import dataclass, replace
from math import log2

from meshnode.gossip.member import INCARNATION_JUMP_MAX


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

    local_health: bool = True
    """Lifeguard: a node that is slow itself gives others more time. Off: time is the clock's, and
    every silence is the other's fault."""

    shrinking_suspicion: bool = True
    """Lifeguard: a suspicion is long until independent accusers confirm it. Off: shortest."""

    buddy_system: bool = True
    """Lifeguard: a suspect is told so, first of all, by whoever pings it or hears from it."""

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

    dead_probe_every_s: float = 2.5
    """One dead member is probed this often at most, so that a partition heals."""

    dead_probes_per_s: float = 4.0
    """All members together probe one dead member this often, however many they are."""

    bytes_per_s: float = 8000.0
    """Output of all gossip in any one second, as `sizes.datagram_bytes` counts it: a budget that a
    camera gateway can spare."""

    small_mesh_max: int = 32
    """Up to so many members everybody's load goes to everybody. Above, loads are subscribed to,
    others are only glimpsed, and one member is probed in each period instead of two."""

    exchange_every_s: float = 30.0
    """Push-pull with one member this often; above 32 members times log2(n) - log2(32) + 1, as in
    memberlist, and each second while the last one found a difference."""

    glimpse_every_s: float = 1.0
    """How often one packet of the wide view goes to a few members."""

    glimpse_fanout: int = 2

    glimpse_age_s_max: float = 30.0
    """Glimpses older than this count for nothing."""

    candidates_max: int = 32
    """Members whose load is subscribed to for one kind of work; placement.md section 9: flat from
    16 to 48."""

    interest_s: float = 120.0
    """A kind of work that was not asked for so long is forgotten."""

    subscribers_max: int = 64
    """Members that are told our load; those above are refused until a lease of 30 s ends."""

    push_every_s: float = 1.0
    """A subscriber hears our load so often, and at once when it changes by a tenth."""

    push_bytes_per_s: float = 4500.0
    """Pushes are spaced so as to take no more: 32 subscribers cost 5 kB each round."""

    accuser_burst: int = 4
    """Accusations by one member that may prove false; then it is not believed for a while. A node
    that cries wolf, from malice or for want of its own CPU, can make no storm."""

    accuser_refill_s: float = 10.0
    """It regains one in this time."""

    word_burst: int = 4
    """New words of one member that nobody had asked for: restarts, and flapping."""

    word_refill_s: float = 10.0

    incarnation_jump_max: int = INCARNATION_JUMP_MAX

    dead_kept_s: float = 3600.0
    """A dead member is remembered this long: late claims that it lives do not resurrect it."""

    left_kept_s: float = 600.0
    """The same for one that left."""

    members_max: int = 4096
    """Bound of the member table, dead ones included; those make room first."""

    welcome_max: int = 32
    """Members told to a newcomer at once; push-pull brings the rest, from many sides."""

    def ack_timeout_s(self, rtt_ms: float | None) -> float:
        """Return how long to wait for a direct ack before others are asked."""
        if rtt_ms is None:
            return self.probe_timeout_s
        wanted_s = rtt_ms / 1000 * self.probe_timeout_rtts
        return min(self.probe_timeout_s, max(self.probe_timeout_s_min, wanted_s))

    def exchange_s(self, members: int) -> float:
        """Return the time between two push-pulls in a mesh of so many."""
        return self.exchange_every_s * max(1.0, log2(max(2, members)) - log2(32) + 1)

    def dead_probe_s(self, present: int, dead: int) -> float:
        """Return the time between two probes of dead members."""
        return max(self.dead_probe_every_s, present / (self.dead_probes_per_s * max(1, dead)))


def without_lifeguard(settings: GossipSettings) -> GossipSettings:
    """Return the same with plain SWIM's detector, to be measured against."""
    return replace(settings, local_health=False, shrinking_suspicion=False, buddy_system=False)
