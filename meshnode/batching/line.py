"""Line: the requests that wait for one module, in the order in which they should run.

Oldest first, by when they came into the mesh and not to this node: one that was refused elsewhere
does not start at the end again. A priority is a handicap in that order and no class of its own: a
request of a lower one waits at most so much longer than one that came with it, so nothing starves
and a liar gains no more than that.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from math import inf

from meshnode.batching.events import Offer
from meshnode.batching.fairness import Flow, Shares
from meshnode.ids import RequestId

HANDICAP_S = (0.0, 0.25, 2.5)
"""By priority: interactive, normal, batch."""
WEIGHT = (1.0, 1.0, 4.0)
"""What a second of run time costs its flow, by priority. Interactive costs no less than normal:
else everybody would be interactive."""
AGE_S_MAX = 2.0
"""An older request is not told from one so old; nobody gets further ahead by saying so."""


class Line:
    """What waits, by age, by flow and by id. The shares learn which flows have something here."""

    def __init__(self, shares: Shares | None = None) -> None:
        self._shares = Shares() if shares is None else shares
        self._places: dict[RequestId, tuple[float, int, RequestId]] = {}
        self._offers: dict[RequestId, Offer] = {}
        self._since: dict[RequestId, float] = {}
        self._order: list[tuple[float, int, RequestId]] = []
        self._flows: dict[Flow, list[tuple[float, int, RequestId]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, request_id: RequestId) -> bool:
        return request_id in self._places

    def __iter__(self) -> Iterator[Offer]:
        """Yield what waits, the oldest first; do not change the line meanwhile."""
        return (self._offers[place[2]] for place in self._order)

    @property
    def head(self) -> Offer:
        """The oldest."""
        return self._offers[self._order[0][2]]

    @property
    def flows(self) -> Mapping[Flow, int]:
        """How many of each flow wait, whose oldest came first."""
        return {flow: len(places) for flow, places in self._flows.items()}

    @property
    def mixed(self) -> bool:
        """Whether more than one flow waits."""
        return len(self._flows) > 1

    @property
    def run_by(self) -> float:
        """When the first of them has to run; infinite if nothing waits."""
        return min((offer.run_by for offer in self._offers.values()), default=inf)

    def since(self, request_id: RequestId) -> float:
        """Return since when a request waits here."""
        return self._since[request_id]

    def add(self, offer: Offer, now: float) -> None:
        """Put a request where its age and priority belong."""
        age_s = min(max(0.0, offer.age_s), AGE_S_MAX, max(0.0, offer.run_by - now))
        place = (now - age_s + HANDICAP_S[offer.priority], self._count, offer.request_id)
        self._count += 1
        self._places[offer.request_id] = place
        self._offers[offer.request_id] = offer
        self._since[offer.request_id] = now
        insort(self._order, place)
        places = self._flows.get(offer.flow)
        if places is None:
            self._flows[offer.flow] = [place]
            self._shares.joined(offer.flow)
        else:
            insort(places, place)

    def take(self, request_id: RequestId) -> Offer:
        """Take a request out."""
        place = self._places.pop(request_id)
        offer = self._offers.pop(request_id)
        del self._since[request_id]
        del self._order[bisect_left(self._order, place)]
        places = self._flows[offer.flow]
        del places[bisect_left(places, place)]
        if not places:
            del self._flows[offer.flow]
            self._shares.left(offer.flow)
        return offer

    def fair(self, each_s: float) -> Iterator[Offer]:
        """Yield what waits in the order of shares; within a flow by age."""
        taken: dict[Flow, int] = {}
        for flow in self._shares.order(self.flows, each_s):
            index = taken.get(flow, 0)
            taken[flow] = index + 1
            yield self._offers[self._flows[flow][index][2]]

    def crowder(self, flow: Flow) -> RequestId | None:
        """Return whom a full line lets go for a request of this flow; None: rather not take it.

        The newest of the source that has the most here, of the peer that has the most, if that is
        clearly more than the flow that asks has.
        """
        peers: dict[object, int] = {}
        for (peer, _), places in self._flows.items():
            peers[peer] = peers.get(peer, 0) + len(places)
        own = flow[0]
        largest = max(peers, key=lambda p: peers[p])
        if peers[largest] <= peers.get(own, 0) + 1:
            largest = own
        sources = [f for f in self._flows if f[0] == largest]
        source = max(sources, key=lambda f: len(self._flows[f]), default=flow)
        if (
            largest == own
            and len(self._flows.get(source, ())) <= len(self._flows.get(flow, ())) + 1
        ):
            return None
        return self._flows[source][-1][2]
