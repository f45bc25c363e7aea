"""What goes into SwimMachine and what comes out of it, beside the datagrams themselves."""

from dataclasses import dataclass
from typing import TypeAlias

from meshnode.gossip.member import Member
from meshnode.ids import Contact, NodeId
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
    """Command: this record of a member came with an answer."""

    load: LoadRecord


@dataclass(frozen=True, slots=True)
class Suspect:
    """Command: a call found this member unreachable; probe it now."""

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


SwimInput: TypeAlias = Received | Join | SetLoad | HearLoad | Suspect | Leave
SwimEffect: TypeAlias = Send | MemberChanged | LoadHeard
