"""What this node asks others for: each RPC under way belongs to one of these errands."""

from dataclasses import dataclass, field
from enum import Enum

from meshnode.dht.findings import Findings
from meshnode.dht.lookup import Lookup
from meshnode.dht.paths import Paths
from meshnode.dht.records import Record
from meshnode.ids import Contact, NodeId
from meshnode.wire.messages import FindNode, GetRecords, PutRecord


@dataclass(slots=True, eq=False, kw_only=True)
class Search:
    """A lookup with its purpose."""

    lookup: Lookup | Paths
    ticket: int | None = None
    """Who asked; None when it is our own upkeep."""
    findings: Findings | None = None
    """Where records go, if records are looked for; else only nodes are."""
    rpcs_before: int = 0
    """Contacts asked by the plain lookup that this search looks a second time for."""
    publication: "Publication | None" = None
    """What shall be stored at the nodes found, those left out that keep it already."""
    joins: bool = False
    """It looks for ourselves: afterwards the rest of the keyspace is looked at."""
    blind: bool = False
    """It joins and began knowing nobody: what we are asked to look up waits for it."""
    over: bool = False
    """It has reported; answers still to come only feed the routing table."""

    @property
    def question(self) -> FindNode | GetRecords:
        """What each contact is asked."""
        if self.findings is not None:
            return GetRecords(rpc=0, key=self.lookup.target)
        return FindNode(rpc=0, target=self.lookup.target)

    @property
    def done(self) -> bool:
        """Whether there is nothing to wait for: the end, or enough was found."""
        if self.lookup.finished:
            return True
        found = self.findings
        if found is None:
            return False
        return found.enough or (found.some and self.lookup.nearly_finished)


@dataclass(slots=True, eq=False, kw_only=True)
class Publication:
    """A record on its way to the nodes that shall keep it."""

    ticket: int
    key: bytes
    record: Record
    question: PutRecord
    enough: int | None
    """How many must keep it before that is reported; None: all that are asked must have answered,
    for somebody may hold a newer one. Where it is reported early the rest goes on."""
    asked: set[NodeId] = field(default_factory=set)
    strangers: set[NodeId] = field(default_factory=set)
    """Of those asked, whom we have not heard lately: they refuse until they have seen our address
    proved, and their refusal brings what proves it."""
    looks_on: bool = False
    """There may be keepers whom we do not know: they are looked for once this is reported."""
    waiting: int = 0
    """Nodes that have neither answered nor failed."""
    reported: bool = False
    stored: int = 0
    conflicts: int = 0
    """Nodes that refused it for what they hold: a newer one, or not the one to be replaced."""
    seq_held: int = 0
    """The highest sequence number that any of them holds."""

    @property
    def over(self) -> bool:
        """Whether every node has answered or failed."""
        return self.waiting == 0


class Purpose(Enum):
    """What a probe is for."""

    VERIFY = 0
    """Whether a stranger is who and where it is said that he is."""
    CHECK = 1
    """Whether a contact of the table is there still."""
    EXPLORE = 2
    """Who is near a point of the keyspace."""


@dataclass(slots=True, eq=False, kw_only=True)
class Probe:
    """A question whose only purpose is to see whether a contact answers."""

    contact: Contact
    purpose: Purpose
    follow_max: int = 0
    """How many of the contacts that the answer brings are verified in turn. None where they came
    that way themselves, or a liar could lead us on for ever."""
    over: bool = False
    """Never: a probe is worth its retries."""


Errand = Search | Publication | Probe
