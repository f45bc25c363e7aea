"""Bounds: who may be given which input, as this node sees it. Pairs with `placement/constraints`.

The dispatcher excludes whoever may not have an input before any of it leaves, and a server that is
given one refuses it all the same: the two are different people's machines.
"""

from collections.abc import Callable

from meshnode.caps import Caps, lacking
from meshnode.constraints import Constraints
from meshnode.errors import NotTakenHere
from meshnode.gossip.member import Member
from meshnode.ids import NodeId
from meshnode.labels import Labels, Traits
from meshnode.modules.manifest import Manifest
from meshnode.placement.constraints import reach_labels, too_large, unmet


class Bounds:
    """What this node's labels and memory mean for requests that come in here."""

    def __init__(self, caps: Caps, own: Traits, labels_of: Callable[[NodeId], Labels]) -> None:
        self.caps = caps
        self._own = own
        self._labels_of = labels_of

    def reason(self, member: Member, manifest: Manifest, wanted: Constraints) -> str:
        """Return why a member may not be given an input that came in here, or an empty string.

        `wanted` is all that holds for it: the request's, the module's and this node's.
        """
        labels = member.traits.labels
        if wanted and (
            reason := unmet(wanted, theirs=labels, origin=self._own.labels, at_origin=False)
        ):
            return reason
        return _too_large(manifest, member.traits)

    def own_reason(self, manifest: Manifest, wanted: Constraints) -> str:
        """Return why this node may not run what came in here, or an empty string."""
        mine = self._own.labels
        reason = unmet(wanted, theirs=mine, origin=mine, at_origin=True)
        return reason or _too_large(manifest, self._own)

    def labels_elsewhere(self, wanted: Constraints) -> Labels | None:
        """Return the labels that every other node must have; None: no other may be asked."""
        return reach_labels(wanted, self._own.labels)

    def check(self, manifest: Manifest, asked: Constraints, asker: NodeId) -> None:
        """Raise NotTakenHere if a peer may not give this node an input that came in at its door.

        A peer that membership does not know has no labels, so nothing bound to a site is taken.
        """
        wanted = asked.joined(manifest.constraints)
        if not wanted:
            return
        origin = self._labels_of(asker)
        reason = unmet(wanted, theirs=self._own.labels, origin=origin, at_origin=False)
        if reason:
            raise NotTakenHere(f"this node may not be given the input: {reason}")


def reason_of(bounds: Bounds, member: Member, manifest: Manifest, wanted: Constraints) -> str:
    """Return the first thing that stands against a member and does not change by the minute."""
    if missing := manifest.required & ~member.caps:
        return lacking(missing)
    return bounds.reason(member, manifest, wanted)


def _too_large(manifest: Manifest, traits: Traits) -> str:
    return too_large(manifest.need_bytes, manifest.limits.memory_bytes, traits)
