"""The numbers of the placement score, under their names from placement.md section 2."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementSettings:
    """How a node predicts, and whom it avoids. Times carry their unit in their name."""

    tau_ms: float = 200.0
    """How fast a record's waiting time decays to the node's own mean: exp(-age / tau)."""

    pessimism: float = 1.25
    """kappa: how many sigmas of a node's own variation are added to an infinitely old record. 1.25
    instead of 1 refuses a fifth less and keeps 0.4 % more of the frames within 100 ms."""

    crowd: float = 2.0
    """chi: what others are assumed to have sent there since, for each request of our own. 2 and not
    1: beside `bias_gain` it takes 2 % off p99 at 80 % load (220 nodes)."""

    horizon_s: float = 1.0
    """Own requests older than this are in every record that is still used."""

    sticky_ms: float = 2.0
    """Bonus for the last server of a source: what is as good stays. 5 ms keeps 26 % of the frames
    at their last server instead of 23 % and costs 0.4 ms of the mean, 20 ms costs 5 % of p99."""

    bias_gain: float = 0.05
    """How fast the learned difference between promise and observation moves: with 0.1 single
    batches' noise is learned."""

    broken_gain: float = 0.5
    """The same when a promise was broken so that the request was taken back: who lies is learned
    at once, or each exclusion's end would cost another request."""

    bias_half_life_s: float = 20.0
    """How fast it is forgotten while nobody is sent there; else one bad answer would shun a node
    for ever, as no better answer could follow."""

    refusals_max: int = 2
    """A request is refused on its price this often at most; the next server takes it."""

    refusal_margin_ms: float = 2.0
    """An alternative must be better by this much: a refusal costs its sender a decision."""

    cold_pause_s: float = 2.0
    """A node begins to load at most one module in this time."""

    cold_refusals_max: int = 11
    """A request that met so many closed gates is let through the next one. From all cold, 4 make
    twice the loads that an oracle needs and 8 half as much again, since in the first second most
    gates are closed though somebody near is loading the module: what it takes to drain is their
    time (decisions 22 and 26)."""

    idle_calls_max: int = 3
    """Neighbours that a dry node asks in one round, one after the other."""

    idle_gain_ms: float = 2.0
    idle_share: float = 0.88
    """A neighbour is asked only if the last request that waits there is believed to be done later
    than this share of a run here, and that gain. Less than all of a run, because beliefs are old
    and a call also says that this node is idle: at 80 % load, asking only where 8 ms would surely
    be gained gives p99 1.12 times the oracle's with 25 messages/s, this 1.06 with 46, and 0.75
    1.05 with 56."""

    idle_pause_s_min: float = 0.010
    idle_pause_s_max: float = 1.0
    """Between the rounds of a node that stays dry: doubled from the first to the last."""

    release_gain_ms: float = 2.0
    """A waiting request is given to a caller if it gains at least this much."""

    overdue_ms: float = 40.0
    """An answer this late over its promise is asked after; doubled with each further promise."""

    broken_max: int = 2
    """A node that lives and breaks so many promises for one request is avoided."""

    ping_slack_ms: float = 10.0
    """A pinged node has failed after two round trips and this: a busy event loop is not death."""

    admission_share: float = 0.9
    """A request is refused at the door when the best prediction exceeds this share of its time."""

    record_age_s_max: float = 4.0
    """A node not heard for max(3 s, 4 gossip periods) is not used."""

    record_keep_s: float = 30.0
    """A record older than this is as good as none."""

    exclude_s_min: float = 3.0
    """The first exclusion after a failure; it doubles with each further one in a row."""

    exclude_s_max: float = 180.0

    first_prior_ms: float = 20.0
    """s1 where nobody has measured the module yet, for a machine of the view's median speed."""

    load_ms: float = 300.0
    """Getting a module that is held ready: read, compile or load its compiled form, init."""

    fetch_ms: float = 200.0
    """Finding providers and the first round trips when a module is not held."""

    rtt_prior_ms: float = 5.0
    """Round trip to a node that has never acked a ping; LAN with an encrypting Python loop."""

    bytes_per_ms: float = 50_000.0
    """Estimated bandwidth of one connection: 50 MB/s, a quarter of what loopback gives."""

    sources_max: int = 10_000
    """Sources whose last server is remembered; the least recently served go first."""

    nodes_max: int = 4_096
    """Nodes whose records are kept; as many as gossip's member table."""
