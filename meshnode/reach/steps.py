"""The ways to a node, in the order in which they are tried, and which of them worked last.

The order: its addresses, the nearest first; then it is asked to connect to us; then both connect
at once; then a relay. Each
way starts a little after the one before, or at once when all before have failed (RFC 8305's idea),
so that an address that swallows packets costs a fraction of a second and not a timeout.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from meshnode.ids import Address, NodeId
from meshnode.reach.dialable import block_of, is_internal

ADDRESS_EVERY_S = 0.25
"""RFC 8305's pause between two addresses."""
CALL_BACK_AFTER_S = 1.0
"""After the last address: a packet may have been lost, and TCP says it again after a second."""
HALF_WAY_AFTER_S = 1.5
"""After the call back, which takes three ways through the net and a handshake."""
CIRCUIT_AFTER_S = 2.5
"""After that: five ways through the net, and one repetition of a first packet."""
ADDRESSES_MAX = 6
REMEMBERED_MAX = 1024
REMEMBERED_S = 600.0
"""So long the way that worked is tried first; then the better ways get another chance."""


class Way(Enum):
    """How a connection comes about."""

    DIRECT = "direct"
    CALL_BACK = "called back"
    HALF_WAY = "met half-way"
    """Both connect at the same moment, each from a port that the other was told."""
    CIRCUIT = "relayed"


@dataclass(frozen=True, slots=True)
class Step:
    """One attempt: what to try, and how long after the beginning."""

    way: Way
    address: Address | None
    """Where to connect to; None unless the way is direct."""
    after_s: float


@dataclass(frozen=True, slots=True)
class Worked:
    """What led to a node."""

    way: Way
    address: Address | None
    at: float


class WayMemory:
    """The way that worked last, for each node."""

    def __init__(self) -> None:
        self._worked: OrderedDict[NodeId, Worked] = OrderedDict()

    def note(self, node_id: NodeId, step: Step, now: float) -> None:
        """This one worked."""
        self._worked.pop(node_id, None)
        self._worked[node_id] = Worked(step.way, step.address, now)
        if len(self._worked) > REMEMBERED_MAX:
            self._worked.popitem(last=False)

    def forget(self, node_id: NodeId) -> None:
        """Nothing works any more."""
        self._worked.pop(node_id, None)

    def of(self, node_id: NodeId, now: float) -> Worked | None:
        """Return what worked, unless it is too long ago."""
        worked = self._worked.get(node_id)
        return worked if worked is not None and now - worked.at < REMEMBERED_S else None


def plan(
    addresses: Sequence[Address],
    *,
    near: Sequence[str],
    detours: bool,
    call_back: bool = True,
    worked: Worked | None = None,
) -> tuple[Step, ...]:
    """Return the steps to a node that may be at any of `addresses`.

    `near` are our own hosts: an address in the block of one is a LAN's and comes first. With
    `detours` there is a rendezvous to ask; being called back needs a node that can be connected to,
    which we are unless `call_back` is False. What `worked` last time comes before everything else.
    """
    chosen = sorted(dict.fromkeys(addresses), key=lambda a: _rank(a, near))[:ADDRESSES_MAX]
    ways: list[tuple[Way, Address | None]] = [(Way.DIRECT, address) for address in chosen]
    if detours:
        ways += [(Way.CALL_BACK, None)] if call_back else []
        ways += [(Way.HALF_WAY, None), (Way.CIRCUIT, None)]
    if worked is not None and (worked.way, worked.address) in ways:
        ways.remove((worked.way, worked.address))
        ways.insert(0, (worked.way, worked.address))
    steps: list[Step] = []
    at = 0.0
    for index, (way, address) in enumerate(ways):
        if index:
            at += _pause(way)
        steps.append(Step(way, address, at))
    return tuple(steps)


def _pause(way: Way) -> float:
    match way:
        case Way.DIRECT:
            return ADDRESS_EVERY_S
        case Way.CALL_BACK:
            return CALL_BACK_AFTER_S
        case Way.HALF_WAY:
            return HALF_WAY_AFTER_S
        case Way.CIRCUIT:
            return CIRCUIT_AFTER_S


def _rank(address: Address, near: Sequence[str]) -> int:
    """Return 0 for the same LAN, 1 for a public address, 2 for a private one of somewhere else."""
    if block_of(address.host) in {block_of(host) for host in near}:
        return 0
    return 2 if is_internal(address.host) else 1
