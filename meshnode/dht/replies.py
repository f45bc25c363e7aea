"""Replies: whether what came is an answer to what was asked, and how much it tells."""

from meshnode.dht.calls import Call
from meshnode.dht.errands import Errand, Search
from meshnode.wire.messages import (
    FindNode,
    FoundNodes,
    FoundRecords,
    GetRecords,
    PutRecord,
    PutReply,
)


def fits(call: Call[Errand], message: FoundNodes | FoundRecords | PutReply) -> bool:
    """Return whether an answer has the type that its question asks for."""
    match call.question:
        case FindNode():
            if isinstance(message, FoundRecords):  # to what was asked before the greeting
                return isinstance(call.owner, Search) and call.owner.findings is not None
            return isinstance(message, FoundNodes)
        case GetRecords():
            return isinstance(message, FoundRecords)
        case PutRecord():
            return isinstance(message, PutReply)


def greets(call: Call[Errand]) -> bool:
    """Return whether no contacts were asked for, so that none named says nothing."""
    return isinstance(call.question, FindNode) and not call.question.count


def may_be_cut(call: Call[Errand], message: FoundNodes | FoundRecords) -> bool:
    """Return whether who answered may know more nodes there than had room in his answer."""
    if isinstance(message, FoundRecords):
        return message.more
    return isinstance(call.question, FindNode) and len(message.contacts) >= call.question.count
