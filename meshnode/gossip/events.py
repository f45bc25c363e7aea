"""What goes into SwimMachine and what comes out of it, beside the datagrams themselves."""

from dataclasses import dataclass
from typing import TypeAlias

from meshnode.caps import Caps
from meshnode.gossip.member import Member
from meshnode.ids import Contact, NodeId, NodeTag
from meshnode.labels import Labels
from meshnode.wire.messages import LoadRecord, Received, Send


@dataclass(frozen=True, slots=True)
class Join:
    """Command: introduce ourselves to these contacts."""

    contacts: tuple[Contact, ...]


@dataclass(frozen=True, slots=True)
class SetLoad:
    """Command: this is our load from now on."""

    load: LoadRecord


@dataclass(frozen=True, slots=True)
class HearLoad:
    """Command: this record of a member came with its answer."""

    load: LoadRecord


@dataclass(frozen=True, slots=True)
class WantLoads:
    """Command: this node gives away work of this module; it needs the loads of who can do it."""

    module: NodeTag
    required: Caps
    labels: Labels = ()
    """What those who can do it must have."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """Command: a call found this member unreachable; probe it now."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class Expel:
    """Command: this member was revoked; it counts as one that left, though it did not say so."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class Leave:
    """Command: tell everyone we are going. The machine is silent afterwards."""


@dataclass(frozen=True, slots=True)
class MemberChanged:
    """Effect: a member appeared, or its state, address, name or capabilities changed."""

    member: Member


@dataclass(frozen=True, slots=True)
class LoadHeard:
    """Effect: a newer load record of a member; its age is as of `heard_at`."""

    record: LoadRecord
    heard_at: float
    late: bool = False
    """It is older than one that was heard before, but tells of a module."""


SwimCommand: TypeAlias = Join | SetLoad | HearLoad | WantLoads | Suspect | Expel
SwimInput: TypeAlias = Received | SwimCommand | Leave
SwimEffect: TypeAlias = Send | MemberChanged | LoadHeard
