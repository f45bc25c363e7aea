"""When the routing table needs care: the timers, and the contacts worth trying again.

Decides when; the machine does it. Timers are jittered by a quarter, so that nodes which started
together do not ask together.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from enum import Enum

from meshnode.dht.settings import DhtSettings
from meshnode.dht.table import Table
from meshnode.ids import ID_BYTES, Contact, NodeId, distance
from meshnode.machine import Random


class Care(Enum):
    """What is due."""

    CHECK = 0
    """Ask the least recently seen contact whether it is there."""
    REFRESH = 1
    """Look something up in a bucket where we did not for an hour."""
    SETTLE = 2
    """Look ourselves up again, or opposite ourselves: others may have come since."""
    REJOIN = 3
    """Try bootstrap and lost contacts again."""
    SWEEP = 4
    """Forget expired records."""
    EXCHANGE = 5
    """Ask one of the nearest who is near us."""


SPREAD_MAX = 8
"""Distances explored after a join: all there are among 4,000 nodes."""
FAR_LOOKS = 2
"""Looks opposite ourselves after a join, in a mesh so small that this shows all there are."""
HURRIED_CHECKS = 4
"""Checks that follow the loss of a contact quickly. Where a third is dead one of them finds the
next loss, so a broken table heals in one go; after a single death they soon stop."""
CHURN_S = 200.0
"""Contacts that are likely dead when unheard for less than this: churn, and no single outage."""
REFRESH_LOOK_S = 60.0
"""How often we look for a lonely bucket; one is refreshed at a time."""


class Upkeep:
    """Timers of one table, and what it should not forget."""

    def __init__(self, table: Table, settings: DhtSettings, rng: Random) -> None:
        self._table = table
        self._settings = settings
        self._rng = rng
        self._due: dict[Care, float] = {}
        """Empty until the first input tells what time it is."""
        self._hurried = 0
        self._lonely_s = settings.rejoin_lonely_s
        self._settle_s = settings.settle_first_s
        self._far_looks = 0
        self._bootstrap: OrderedDict[NodeId, Contact] = OrderedDict()
        self._lost: OrderedDict[NodeId, Contact] = OrderedDict()
        self._targets: deque[bytes] = deque(maxlen=64)

    def start(self, now: float) -> None:
        """Arm the timers, once."""
        if not self._due:
            for care in (Care.CHECK, Care.EXCHANGE, Care.REFRESH, Care.REJOIN, Care.SWEEP):
                self._arm(care, now)  # SETTLE waits until a join has found somebody

    def due(self, now: float) -> list[Care]:
        """Return what is due, in a fixed order, and arm it anew."""
        ready = [care for care, when in self._due.items() if when <= now]
        for care in ready:
            self._arm(care, now)
        if Care.SETTLE in ready and not self._unsettled:
            del self._due[Care.SETTLE]
            ready.remove(Care.SETTLE)
        return ready

    def next_timer(self) -> float | None:
        """Return when something is next due, None before the first input."""
        return min(self._due.values(), default=None)

    # ------------------------------------------------------------ contacts worth trying again

    def remember(self, contacts: Iterable[Contact], now: float) -> None:
        """Note contacts we were told to bootstrap from; while alone, try again soon."""
        for contact in contacts:
            self._bootstrap[contact.node_id] = contact
            while len(self._bootstrap) > self._settings.bootstrap_max:
                self._bootstrap.popitem(last=False)
        self._lonely_s = self._settings.rejoin_lonely_s
        self._arm(Care.REJOIN, now)

    def lose(self, contact: Contact, now: float) -> None:
        """Note a contact that left the table because it failed; look soon whether more are dead.

        Not under churn: there the dead are not handed out, and chasing them would never end.
        """
        if self._table.stale_after_s > CHURN_S:
            self._hurried = HURRIED_CHECKS
            self._arm(Care.CHECK, now)
        self._lost[contact.node_id] = contact
        while len(self._lost) > self._settings.lost_max:
            self._lost.popitem(last=False)

    def found(self, contact: Contact) -> None:
        """Note that a contact answered."""
        self._lost.pop(contact.node_id, None)

    def has_lost(self, node_id: NodeId) -> bool:
        """Return whether a contact was in the table, failed, and has not answered since."""
        return node_id in self._lost

    @property
    def lost(self) -> tuple[Contact, ...]:
        """Contacts that failed, the last one first."""
        return tuple(reversed(self._lost.values()))

    def to_try(self) -> list[Contact]:
        """Return some remembered contacts that are not in the table, at random."""
        known = {**self._lost, **self._bootstrap}
        missing = [c for i, c in known.items() if self._table.get(i) is None]
        s = self._settings
        count = s.rejoin_sample if len(self._table) else s.rejoin_sample_lonely
        return self._rng.sample(missing, min(count, len(missing)))

    def settle(self, now: float) -> None:
        """After a join: look ourselves up again soon, and again, while few are known."""
        self._settle_s = self._settings.settle_first_s
        self._far_looks = 0
        self._arm(Care.SETTLE, now)

    @property
    def _unsettled(self) -> bool:
        """Whether few are known, or the mesh is so small that everybody should know everybody."""
        return len(self._table) < self._settings.k or (self._far_looks < FAR_LOOKS and self.small)

    @property
    def small(self) -> bool:
        """Whether the mesh seems so small that everybody should know everybody."""
        s, size = self._settings, len(self._table)
        all_max = s.k * s.paths
        return size < s.k or (size <= all_max and self.crowd() <= all_max)

    def crowd(self) -> float:
        """Return how many nodes the mesh has, judged by how near our k nearest are."""
        own_id, k = self._table.node.id, self._settings.k
        return (
            k * 2.0 ** (8 * ID_BYTES) / distance(self._table.closest(own_id, k)[-1].node_id, own_id)
        )

    def settle_target(self) -> bytes:
        """Return what to look up while the mesh is forming: ourselves, then the far end of it."""
        own_id: bytes = self._table.node.id
        if len(self._table) < self._settings.k:
            return own_id
        self._far_looks += 1
        return bytes(byte ^ 0xFF for byte in own_id)

    # ------------------------------------------------------------ targets worth a lookup

    def neighbour(self) -> Contact | None:
        """Return one of our k nearest at random, None if nobody is known."""
        near = self._table.closest(self._table.node.id, self._settings.k)
        return self._rng.choice(near) if near else None

    def spread(self, own_id: NodeId) -> list[bytes]:
        """After a join: return one random target at each distance beyond our nearest contacts.

        The paper's section 2.3 refreshes "all buckets further away than its closest neighbor". A
        lookup for each would cost more than all else in a short life; one question to one contact
        brings enough to find the way with.
        """
        if len(self._table) < self._settings.k:
            return []  # everybody known fits one bucket: there is nothing beyond
        own = int.from_bytes(own_id, "big")
        targets: list[bytes] = []
        nearest = self._table.closest(own_id, self._settings.k)
        width = distance(nearest[-1].node_id, own_id).bit_length()
        for depth in range(min(SPREAD_MAX, 8 * ID_BYTES - width)):
            flipped = own ^ (1 << (8 * ID_BYTES - 1 - depth))
            below = self._rng.getrandbits(8 * ID_BYTES - 1 - depth)
            targets.append((flipped ^ below).to_bytes(ID_BYTES, "big"))
        return targets

    def look_up(self, target: bytes) -> None:
        """Note something to be looked up."""
        self._targets.append(target)

    def next_target(self, now: float) -> bytes | None:
        """Return what to look up to keep the table full, None if nothing needs it."""
        while self._targets:
            target = self._targets.popleft()
            if target != self._table.node.id or self._unsettled:
                return target  # else enough became known while it waited in line
        for bucket in self._table.lonely_buckets(now, self._settings.refresh_after_s):
            return self._rng.randint(*bucket.range).to_bytes(ID_BYTES, "big")
        return None

    def _arm(self, care: Care, now: float) -> None:
        self._due[care] = now + self._wait(care) * self._rng.uniform(0.75, 1.25)

    def _wait(self, care: Care) -> float:
        match care:
            case Care.CHECK:
                if self._hurried:
                    self._hurried -= 1
                    return self._settings.check_after_loss_s
                return self._settings.check_every_s
            case Care.EXCHANGE:
                return self._settings.exchange_every_s
            case Care.REFRESH:
                return REFRESH_LOOK_S
            case Care.SETTLE:
                wait = self._settle_s
                self._settle_s = min(2 * wait, self._settings.settle_last_s)
                return wait
            case Care.REJOIN:
                return self._rejoin_wait()
            case Care.SWEEP:
                return self._settings.sweep_every_s

    def _rejoin_wait(self) -> float:
        longest = self._settings.rejoin_every_s
        if len(self._table):
            self._lonely_s = self._settings.rejoin_lonely_s
            return longest
        wait = min(self._lonely_s, longest)
        self._lonely_s = 2 * wait
        return wait
