"""The numbers of this DHT, under their names from the Kademlia paper where it has them.

Not in the configuration file: two nodes with different numbers would disagree on who stores what.
"""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class DhtSettings:
    """How one node takes part. Times in seconds."""

    k: int = 16
    """Contacts in a k-bucket, in an answer, and holders of a record: 16 IPv6 contacts fit 1,280 B
    (discv5's number and reason)."""

    alpha: int = 3
    """Queries of one lookup that have a slot. Rolling: an answer frees its slot at once."""

    alpha_first: int = 2
    alpha_next: int = 4
    """The same of a lookup of records, until somebody has answered and from then on. Any one answer
    shows the way, and three of those it names are wanted: with many dead, the spare question is
    worth more there."""

    replacement_factor: int = 1
    """A bucket's replacement cache holds this many times k."""

    # ---------------------------------------------------------------- one RPC

    retry_after_min_s: float = 0.025
    """The first retry comes after max(this, RTT + 4 deviations), as RFC 6298 has it. It only frees
    the slot: were silence to count as an answer, fast attackers could cut slow honest nodes off by
    lowering the estimate."""

    hedge_after_min_s: float = 0.01
    """A lookup of records asks the next contact after max(this, RTT + 2 deviations) of silence,
    or after 3 quick RTTs if that is sooner. Like the retry, that only frees the slot."""

    retry_after_max_s: float = 0.7
    """Half the timeout, so that a lost datagram is always asked for again."""

    retries_max: int = 2
    """At 1 % loss each way 2 % of exchanges fail; with two retries 8 in a million."""

    upkeep_retries_max: int = 1
    """The same for what nobody waits for: under churn most silence is of the dead."""

    acquainted_s: float = 240.0
    """A contact heard within this time has our cookie still (five minutes): it is asked at once.
    Where no records are looked for others are asked for a few contacts first: a padded first
    question to the dead costs four times as much."""

    rtt_initial_s: float = 0.1
    rpc_timeout_s: float = 1.5
    """A contact that is silent for so long has failed."""

    # ---------------------------------------------------------------- one lookup

    told_max: int = 8
    """Contacts that a lookup of nodes wants of each it asks, beside those it knows: nobody has to
    name all k where three answers do."""

    told_by_strangers_max: int = 2
    """The same of one whose cookie we lack: the question need not be padded for it, and near the
    end of a lookup there is seldom more to tell. Who names so many is asked again."""

    full_enough: int = 2
    """After so many answers in full from the nearest, along each of its paths, a lookup of keepers
    wants only two contacts more of each it asks: near the key everybody names the same."""

    rpcs_max: int = 64
    """Contacts asked in one lookup, or along one path; what ends a lookup that is fed ever closer
    contacts."""

    paths: int = 4
    """Disjoint paths of a publication, and of a second look after a miss or a contradiction. With
    rpcs_max 256 contacts at most; 60 nodes of one attacker around a key cannot close all four."""

    candidates_max: int = 128
    """Contacts remembered in one lookup (8 k); the farthest are dropped."""

    candidates_per_address_max: int = 4
    """Candidates with the very same host and port in one lookup, so that a liar's contacts do not
    turn us against one victim."""

    lookups_max: int = 64
    """Lookups under way at once; more wait in line."""

    lookups_waiting_max: int = 1024
    """Lookups in line; one more is answered at once from what is known here."""

    patience_s: float = 0.5
    """A lookup that has found records does not wait longer than this for a contact (discv5's
    timeout). Fixed, never adaptive, and never used where nothing was found."""

    answers_enough: int = 3
    """A single-valued record is believed after so many nodes answered with one."""

    repeats_enough: int = 2
    """A lookup of provider records also stops when this many answers in a row brought nothing new,
    and `answers_enough` nodes brought something."""

    providers_enough: int = 16
    """A lookup of provider records stops when it has so many that are not withdrawn."""

    subsets_max: int = 3
    """How often one node that has more records than fit is asked for another random subset."""

    # ---------------------------------------------------------------- upkeep

    refresh_after_s: float = 3600.0
    """A bucket in which we looked nothing up for so long is refreshed (the paper's hour)."""

    check_every_s: float = 10.0
    """How often the least recently seen contact is checked; with its answer 33 B/s."""

    exchange_every_s: float = 60.0
    """How often one of our k nearest is asked for those near us, so that we hear of newcomers;
    those that are new to us are verified."""

    verified_of_answer_max: int = 8
    """Of the contacts that such an answer brings, and that after a join one contact at each
    distance brings, so many are verified: enough to find the way, lookups bring the rest."""

    check_after_loss_s: float = 2.0
    """How soon the next few checks follow the loss of a contact: deaths come together."""

    check_age_s: float = 60.0
    """A contact seen within this time is not checked."""

    failures_max: int = 2
    """A contact leaves the table after so many failed RPCs, one after the other: one lost
    datagram says nothing."""

    verifying_max: int = 32
    """Contacts being asked at once whether they are who and where they say."""

    verify_again_s: float = 30.0
    """A contact that was asked is not asked again within this time."""

    settle_first_s: float = 0.5
    settle_last_s: float = 600.0
    """While fewer than k contacts are known we look ourselves up again, after the first interval
    and then at doubled ones up to the last: nodes that joined together know only their sponsor."""

    rejoin_every_s: float = 300.0
    """How often bootstrap contacts and lost contacts that are not in the table are tried again, so
    that two halves of a mesh find each other."""

    rejoin_lonely_s: float = 5.0
    """The same while the table is empty; doubles with each attempt."""

    rejoin_sample: int = 8
    rejoin_sample_lonely: int = 32
    """How many of them are tried at once, chosen at random."""

    bootstrap_max: int = 64
    lost_max: int = 128
    """Bootstrap contacts, and contacts that failed, remembered for that. A mesh whose nodes forget
    each other in an outage never finds together again."""

    # ---------------------------------------------------------------- records kept for others

    records_max: int = 20_000
    record_bytes_max: int = 64 * MIB
    """Bounds of the whole store; what comes after is refused until something expires."""

    records_per_sender_max: int = 1024
    """One member's records here, so that no single key can fill the store."""

    records_per_signer_max: int = 1024
    """Records signed by one key, whoever brought them: anybody may announce a name again."""

    records_per_group_max: int = 2048
    """Records from one public /24 or /48: keys cost nothing, networks do."""

    providers_per_key_max: int = 64
    providers_per_group_max: int = 2
    """Provider records of one key from one public /24 or /48."""

    provider_ttl_max_s: float = 2 * 3600.0
    name_ttl_max_s: float = 24 * 3600.0
    node_ttl_max_s: float = 3600.0
    sweep_every_s: float = 60.0
    """How often expired records are looked for; they are never handed out meanwhile."""
