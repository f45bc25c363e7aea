"""The routing table and a lookup's heap: the kademlia package's, widened and mended.

The only file that imports the package (17-31 ms and 1.6 MB after trio). `Node`, `NodeHeap`,
`KBucket` and `RoutingTable` are reused by subclass. What is overridden, and why:

- ids have 256 bits; a bucket's bounds are inclusive everywhere; `get_bucket_for` bisects.
- `KBucket.depth` counts the bucket's range, not the ids inside: crafted ids that share a prefix
  would otherwise shut honest nodes out, or force endless splits.
- `split` keeps the replacement cache's size; `add_contact` loops, sends nothing and needs no
  event loop: liveness is checked on a timer of its own (`upkeep.py`).
- `find_neighbors` is exactly the k nearest by XOR. Ranges of different buckets are disjoint in
  XOR distance too, so whole buckets are taken in order of distance until there are enough.
- `last_updated` is set by our own lookups only, so a peer cannot suppress a refresh.
- a contact is removed after `failures_max` failures, not after one lost datagram.
- time is an argument; nothing here reads a clock.
- NodeHeap is bounded, knows its members by a dict, and stays sorted.

Only contacts that answered us are added, and at most 2 per /24 (/48) in a bucket and 10 in the
table where addresses are public (Kademlia paper section 4; discv5; `addresses.py`).
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from math import inf

from kademlia.node import Node, NodeHeap
from kademlia.routing import KBucket, RoutingTable

from meshnode.dht.addresses import group_of
from meshnode.dht.mortality import Mortality
from meshnode.ids import ID_BYTES, Contact, NodeId

ID_BITS = 8 * ID_BYTES
PER_GROUP_BUCKET_MAX = 2
PER_GROUP_TABLE_MAX = 10
SPLIT_BITS = 5
"""b of the paper's section 4.2: buckets off our own path split until a depth divisible by b."""
DEPTH_MAX = 64
"""No bucket splits beyond this: no honest mesh has 2^64 nodes."""


class TableNode(Node):  # type: ignore[misc]  # the package is untyped
    """A contact with what the table knows of it. Also a bare point of the keyspace."""

    def __init__(self, node_id: bytes, contact: Contact | None = None, now: float = 0.0) -> None:
        address = contact.address if contact else None
        super().__init__(node_id, address.host if address else None, address and address.port)
        self.id: bytes
        self.long_id: int
        self._contact = contact
        self.group = group_of(contact.address.host) if contact else None
        self.last_seen = now
        self.failures = 0
        self.failed_at = 0.0

    @property
    def contact(self) -> Contact:
        """The contact; asking a bare point for it is a bug."""
        assert self._contact is not None, "a point of the keyspace has no contact"
        return self._contact


class Bucket(KBucket):  # type: ignore[misc]  # the package is untyped
    """A k-bucket: nodes least recently seen first, and a replacement cache."""

    def __init__(self, lower: int, upper: int, ksize: int, factor: int, now: float) -> None:
        self.last_updated = now
        super().__init__(lower, upper, ksize, factor)
        self.range: tuple[int, int]
        self.nodes: dict[bytes, TableNode]
        self.replacement_nodes: dict[bytes, TableNode]
        self.factor = factor

    def touch_last_updated(self, now: float | None = None) -> None:
        """Note that we looked something up here; the package's own calls change nothing."""
        if now is not None:
            self.last_updated = now

    def split(self) -> tuple["Bucket", "Bucket"]:
        """Return the two halves, each with its nodes in the same order."""
        lower, upper = self.range
        middle = (lower + upper) // 2
        one = Bucket(lower, middle, self.ksize, self.factor, self.last_updated)
        two = Bucket(middle + 1, upper, self.ksize, self.factor, self.last_updated)
        for node in self.nodes.values():
            (one if node.long_id <= middle else two).nodes[node.id] = node
        for node in self.replacement_nodes.values():
            (one if node.long_id <= middle else two).replacement_nodes[node.id] = node
        return one, two

    def depth(self) -> int:
        """Return how many leading bits the bucket's range fixes."""
        lower, upper = self.range
        return ID_BITS - (upper - lower).bit_length()

    def nearness(self, target: int) -> int:
        """Return the least XOR distance to `target` that an id in this range can have."""
        width = (self.range[1] - self.range[0]).bit_length()
        return ((self.range[0] ^ target) >> width) << width


class Table(RoutingTable):  # type: ignore[misc]  # the package is untyped
    """Contacts that answered us, by XOR distance."""

    def __init__(
        self,
        own_id: NodeId,
        *,
        k: int,
        replacement_factor: int = 1,
        failures_max: int = 2,
        now: float = 0.0,
    ) -> None:
        self._factor = replacement_factor
        self._failures_max = failures_max
        self._now = now
        self._mortality = Mortality()
        self._groups: Counter[str] = Counter()
        self._index: dict[bytes, TableNode] = {}
        """Everything in the buckets' `nodes`, by id: a lookup asks 16 times for each answer."""
        self.buckets: list[Bucket]
        super().__init__(None, k, TableNode(own_id))

    def flush(self) -> None:
        """Forget everything."""
        self._groups.clear()
        self._index.clear()
        self.buckets = [Bucket(0, 2**ID_BITS - 1, self.ksize, self._factor, self._now)]

    def __len__(self) -> int:
        """Return how many contacts the table holds, replacements not counted."""
        return len(self._index)

    # ------------------------------------------------------------ what we learn

    def add(self, contact: Contact, now: float) -> bool:
        """Note a contact that just answered; return whether it is in the table now."""
        return self.add_contact(TableNode(contact.node_id, contact, now))

    def add_contact(self, node: TableNode) -> bool:
        """See `add`. Splits as often as the paper allows; never asks anybody anything."""
        if node.long_id == self.node.long_id:
            return False
        known = self._index.get(node.id)
        if known is not None:
            self._mortality.heard(node.last_seen - known.last_seen, node.last_seen)
        self._drop(node)
        while True:
            index = self.get_bucket_for(node)
            bucket = self.buckets[index]
            if len(bucket) < self.ksize:
                if self._admit(bucket, node):
                    return True
                self._keep_in_reserve(bucket, node)
                return False
            if not self._may_split(bucket):
                self._keep_in_reserve(bucket, node)
                return False
            self.split_bucket(index)

    def wants(self, contact: Contact) -> bool:
        """Return whether it is worth asking this contact for an answer, to add it then."""
        if contact.node_id == self.node.id:
            return False
        known = self._index.get(contact.node_id)
        if known is not None:
            return known.contact.address != contact.address
        bucket = self._bucket_of(contact.node_id)
        if contact.node_id in bucket.replacement_nodes:
            return False
        return (
            len(bucket) < self.ksize
            or self._may_split(bucket)
            or len(bucket.replacement_nodes) < bucket.max_replacement_nodes
        )

    def count_at(self, node_id: bytes) -> int:
        """Return how many contacts share a bucket with an id."""
        return len(self._bucket_of(node_id))

    def seen(self, contact: Contact, now: float) -> None:
        """Note a request from a contact at an address that is proved to be its own."""
        node = self._index.get(contact.node_id)
        if node is not None and node.contact.address == contact.address:
            self._mortality.heard(now - node.last_seen, now)
            node.last_seen = now
            bucket = self._bucket_of(node.id)
            bucket.nodes[node.id] = bucket.nodes.pop(node.id)

    def failed(self, contact: Contact, asked_at: float, now: float) -> Contact | None:
        """Note that a contact did not answer; return it if that was once too often.

        Once is enough where it is more likely dead than not after so long. Failures of questions
        that were under way together count once: they tell of one outage, perhaps our own. Silence
        at another address than the one we know says nothing: somebody may have lied about it.
        """
        node = self.get(contact.node_id)
        if node is None or node.contact.address != contact.address:
            return None
        if node.failures and asked_at < node.failed_at:
            return None
        node.failures += 1
        node.failed_at = now
        likely_dead = now - node.last_seen > self.stale_after_s
        if node.failures < self._failures_max and not likely_dead:
            return None
        self._mortality.died(asked_at - node.last_seen, now)
        self.remove_contact(node)
        return node.contact

    def remove_contact(self, node: TableNode) -> None:
        """Forget a contact; the replacement seen last takes its place."""
        bucket = self.buckets[self.get_bucket_for(node)]
        self._drop(node)
        self._refill(bucket)

    def split_bucket(self, index: int) -> None:
        """Cut a bucket in two; where that makes room, replacements move up."""
        halves = self.buckets[index].split()
        self.buckets[index : index + 1] = halves
        for half in halves:
            self._refill(half)

    # ------------------------------------------------------------ what we know

    def get(self, node_id: bytes) -> TableNode | None:
        """Return the table's entry of a node, if it has one."""
        return self._index.get(node_id)

    def contact_of(self, node_id: bytes) -> Contact | None:
        """Return a node's contact as we verified it, if it is in the table."""
        node = self.get(node_id)
        return node.contact if node is not None else None

    def closest(self, target: bytes, count: int) -> list[Contact]:
        """Return the `count` contacts nearest to `target`, nearest first."""
        return [node.contact for node in self._near(target, count, b"", False)]

    def closest_sound(
        self, target: bytes, count: int, now: float, *, exclude: bytes = b""
    ) -> list[Contact]:
        """Return contacts to hand out, nearest first, the likely dead last, none that failed."""
        oldest = now - self._mortality.stale_after_s
        near = self._near(target, count, exclude, True, oldest)
        if len(near) < count and oldest > 0:
            fresh = {node.id for node in near}
            rest = (n for n in self._near(target, count, exclude, True) if n.id not in fresh)
            near = [*near, *rest][:count]
        return [node.contact for node in near]

    @property
    def stale_after_s(self) -> float:
        """How long a contact may be unheard before it is more likely dead than alive."""
        return self._mortality.stale_after_s

    def find_neighbors(
        self, node: TableNode, k: int | None = None, exclude: TableNode | None = None
    ) -> list[TableNode]:
        """Return the exact k nearest to `node`, itself left out, as the package's method should."""
        near = self._near(node.id, (k or self.ksize) + 1, exclude.id if exclude else b"", False)
        return [n for n in near if n.id != node.id][: k or self.ksize]

    def get_bucket_for(self, node: TableNode) -> int:
        """Return the index of the one bucket whose range holds the node."""
        return self._index_of(node.long_id)

    def contacts(self) -> list[Contact]:
        """Return all contacts, nearest to us first."""
        return self.closest(self.node.id, len(self))

    def least_recently_seen(self) -> TableNode | None:
        """Return the contact of which we have not heard for the longest time."""
        heads = (next(iter(bucket.nodes.values())) for bucket in self.buckets if bucket.nodes)
        return min(heads, key=lambda node: (node.last_seen, node.long_id), default=None)

    def touch(self, target: bytes, now: float) -> None:
        """Note that we looked up `target` ourselves."""
        self._bucket_of(target).touch_last_updated(now)

    def lonely_buckets(self, now: float = 0.0, after_s: float = 3600.0) -> list[Bucket]:
        """Return the buckets in which we looked nothing up for `after_s` seconds."""
        return [bucket for bucket in self.buckets if bucket.last_updated + after_s <= now]

    # ------------------------------------------------------------ helpers

    def _near(
        self, target: bytes, count: int, exclude: bytes, only_sound: bool, oldest: float = -inf
    ) -> list[TableNode]:
        point = int.from_bytes(target, "big")
        found: list[TableNode] = []
        for bucket in sorted(self.buckets, key=lambda b: b.nearness(point)):
            if len(found) >= count:
                break
            nodes: Iterable[TableNode] = bucket.nodes.values()
            if only_sound:
                nodes = (n for n in nodes if not n.failures and n.last_seen >= oldest)
            found += sorted((n for n in nodes if n.id != exclude), key=lambda n: n.long_id ^ point)
        return found[:count]

    def _index_of(self, point: int) -> int:
        return bisect_left(self.buckets, point, key=lambda bucket: bucket.range[1])

    def _bucket_of(self, node_id: bytes) -> Bucket:
        return self.buckets[self._index_of(int.from_bytes(node_id, "big"))]

    def _may_split(self, bucket: Bucket) -> bool:
        depth = bucket.depth()
        own_path = bucket.has_in_range(self.node)
        return depth < DEPTH_MAX and (own_path or depth % SPLIT_BITS != 0)

    def _admit(self, bucket: Bucket, node: TableNode) -> bool:
        if node.group is not None:
            in_bucket = sum(1 for n in bucket.nodes.values() if n.group == node.group)
            if in_bucket >= PER_GROUP_BUCKET_MAX or self._groups[node.group] >= PER_GROUP_TABLE_MAX:
                return False
            self._groups[node.group] += 1
        bucket.nodes[node.id] = self._index[node.id] = node
        return True

    def _refill(self, bucket: Bucket) -> None:
        for spare_id in reversed(list(bucket.replacement_nodes)):
            if len(bucket) >= self.ksize:
                break
            if self._admit(bucket, bucket.replacement_nodes[spare_id]):
                del bucket.replacement_nodes[spare_id]

    def _keep_in_reserve(self, bucket: Bucket, node: TableNode) -> None:
        spares = bucket.replacement_nodes
        spares.pop(node.id, None)
        spares[node.id] = node
        while len(spares) > bucket.max_replacement_nodes:
            del spares[next(iter(spares))]

    def _drop(self, node: TableNode) -> None:
        bucket = self.buckets[self.get_bucket_for(node)]
        bucket.replacement_nodes.pop(node.id, None)
        old = bucket.nodes.pop(node.id, None)
        self._index.pop(node.id, None)
        if old is not None and old.group is not None:
            self._groups[old.group] -= 1
            if not self._groups[old.group]:
                del self._groups[old.group]


class Candidates(NodeHeap):  # type: ignore[misc]  # the package is untyped
    """The contacts of one lookup, nearest first: bounded, and a node is in it at most once."""

    def __init__(self, target: bytes, maxsize: int) -> None:
        super().__init__(TableNode(target), maxsize)
        self.heap: list[tuple[int, TableNode]]
        self._members: dict[bytes, TableNode] = {}

    def push(self, nodes: Iterable[TableNode]) -> None:
        """Add nodes; beyond `maxsize` the farthest that were not contacted yet are dropped."""
        for node in nodes:
            if node not in self:
                self._members[node.id] = node
                # Distances differ where ids do, so two nodes are never compared.
                insort(self.heap, (self.node.distance_to(node), node))
        for index in range(len(self.heap) - 1, -1, -1):
            if len(self.heap) <= self.maxsize:
                break
            node = self.heap[index][1]
            if node.id not in self.contacted:
                del self.heap[index]
                del self._members[node.id]

    def replace(self, node: TableNode) -> None:
        """Put `node` in the place of the member with its id, whose address has changed."""
        if node.id in self._members:
            self._members[node.id] = node
            index = bisect_left(self.heap, self.node.distance_to(node), key=lambda e: e[0])
            self.heap[index] = (self.heap[index][0], node)

    def remove(self, peers: Iterable[bytes]) -> None:
        """Remove nodes by id."""
        gone = {peer for peer in peers if self._members.pop(peer, None) is not None}
        self.heap = [entry for entry in self.heap if entry[1].id not in gone]

    def get_node(self, node_id: bytes) -> TableNode | None:
        """Return the member with this id."""
        return self._members.get(node_id)

    def popleft(self) -> TableNode | None:
        """Remove and return the nearest."""
        if not self.heap:
            return None
        node = self.heap.pop(0)[1]
        del self._members[node.id]
        return node

    def __len__(self) -> int:
        return len(self.heap)

    def __iter__(self) -> Iterator[TableNode]:
        return (node for _, node in self.heap)

    def __contains__(self, node: object) -> bool:
        return isinstance(node, TableNode) and node.id in self._members
