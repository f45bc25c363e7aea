"""Churn: a simulated DHT whose nodes come and go, look records up and publish, with its bytes."""

from collections import Counter
from math import log

from meshnode.dht.machine import FindRecords, Join, LookupFinished, Publish
from meshnode.dht.records import ProviderRecord, key_of, sign
from tests.sim.dht_mesh import Mesh, Report, formed
from tests.sim.dht_metering import Meter
from tests.sim.network import Link

MEDIAN_S = 84.0
"""1.4 min, Bamboo's harshest (Rhea and others, USENIX 2004). Sessions are exponential."""
LOOKUP_EVERY_S = 120.0
"""Of each node: once in a session."""
PUBLISH_PART = 0.1
"""Of the sessions publish one record."""
SETTLED_S = 5.0
"""A node asks, and is asked for what it provides, so long after it started."""


class Churn:
    """Runs the mesh and counts what is found."""

    def __init__(self, count: int, *, seed: int, link: Link) -> None:
        self.mesh: Mesh = formed(count, seed=seed, link=link, check=False)
        self.meter = Meter(self.mesh.network)
        self.report = Report()
        self.asked = self.found = 0
        self._count = count
        self._mean_s = MEDIAN_S / log(2)
        self._born = dict.fromkeys(self.mesh.live, float("-inf"))
        self._records: list[tuple[int, ProviderRecord]] = []
        self._waiting: list[tuple[int, int, ProviderRecord, float]] = []
        now = self.mesh.world.now
        self._next = {self._replace: now, self._look_up: now, self._publish: now}
        self.begin()

    def begin(self) -> None:
        """Count from here."""
        self.report, self.asked, self.found = Report(), 0, 0
        self._began = self.mesh.world.now
        self._before: Counter[str] = Counter(self.meter.by_kind)

    @property
    def bytes_per_node_s(self) -> float:
        """Bytes sent for the DHT, headers included, by one node in one second."""
        return sum(rate for _, rate in self.rates())

    def rates(self) -> list[tuple[str, float]]:
        """Return the same by kind of message."""
        seconds = self.mesh.world.now - self._began
        sent = self.meter.by_kind - self._before
        return [(kind, total / seconds / self._count) for kind, total in sent.most_common()]

    def run(self, seconds: float) -> None:
        """Let so much virtual time pass; then wait for the lookups under way."""
        ends = self.mesh.world.now + seconds
        rates = {
            self._replace: self._count / self._mean_s,
            self._look_up: self._count / LOOKUP_EVERY_S,
            self._publish: self._count / self._mean_s * PUBLISH_PART,
        }
        while (step := min(self._next, key=self._next.__getitem__)) and self._next[step] < ends:
            self.mesh.run(self._next[step] - self.mesh.world.now)
            step()
            self._next[step] += self.mesh.rng.expovariate(rates[step])
            self._collect()
        self.mesh.run(ends - self.mesh.world.now)
        self._collect()

    def _replace(self) -> None:
        """One node dies without a word, another starts: it knows the seed and three others."""
        mesh = self.mesh
        mesh.kill([mesh.pick()])
        fresh = mesh.start()
        self._born[fresh] = mesh.world.now
        known = [mesh.contacts[i] for i in mesh.rng.sample(sorted(mesh.live - {0, fresh}), 3)]
        mesh.network.tell(mesh.contacts[fresh], Join((mesh.contacts[0], *known)))

    def _look_up(self) -> None:
        mesh, asker = self.mesh, self.mesh.pick()
        self._records = [r for r in self._records if r[0] in mesh.live]
        if not self._records or not self._settled(asker):
            return
        _, record = mesh.rng.choice(self._records)
        ticket = mesh.ticket()
        mesh.network.tell(mesh.contacts[asker], FindRecords(ticket, key_of(record), True))
        self._waiting.append((asker, ticket, record, mesh.world.now))

    def _publish(self) -> None:
        mesh, owner = self.mesh, self.mesh.pick()
        if not self._settled(owner):
            return
        record = mesh.provider(owner, mesh.rng.randbytes(32))
        data = sign(mesh.identities[owner], record)
        mesh.network.tell(mesh.contacts[owner], Publish(mesh.ticket(), key_of(record), data))
        self._records.append((owner, record))

    def _settled(self, index: int) -> bool:
        return self.mesh.world.now - self._born[index] >= SETTLED_S

    def _collect(self) -> None:
        still = []
        for asker, ticket, record, began in self._waiting:
            done = self.mesh.done.pop((asker, ticket), None)
            if done is None:
                if asker in self.mesh.live:
                    assert self.mesh.world.now - began < 30.0, "a lookup never ended"
                    still.append((asker, ticket, record, began))
                continue
            when, effect = done
            assert isinstance(effect, LookupFinished)
            self.asked += 1
            self.found += record in effect.records
            self.report.rpcs.append(effect.rpcs)
            self.report.seconds.append(when - began)
        self._waiting = still
