"""Constraints: what a request, a module or a node asks of whoever is given an input.

They come from three sides and hold together: every label must match, and of the data policies the
strictest counts. `placement/constraints.py` judges by them.
"""

from dataclasses import dataclass
from enum import IntEnum

from meshnode.labels import Labels


class Scope(IntEnum):
    """How far inputs may travel; the lower is the stricter."""

    NODE = 0
    """Nowhere: only the node at whose door they came in sees them."""
    SITE = 1
    """To nodes with the same label `site`; a node without one is a site by itself."""
    MESH = 2
    """To every member."""

    @property
    def word(self) -> str:
        """As it is written in files and requests."""
        return self.name.lower()


SCOPES = tuple(scope.word for scope in Scope)


def scope_of(word: str) -> Scope:
    """Return the scope of a word, or raise ValueError naming those there are."""
    if word not in SCOPES:
        raise ValueError(f"'{word}' is no data policy: {', '.join(SCOPES)}")
    return Scope[word.upper()]


@dataclass(frozen=True, slots=True)
class Constraints:
    """Labels that a node must have, and how far the data may go."""

    labels: Labels = ()
    data: Scope = Scope.MESH

    def __bool__(self) -> bool:
        """Return whether they constrain anything."""
        return bool(self.labels) or self.data is not Scope.MESH

    def joined(self, other: "Constraints") -> "Constraints":
        """Return both together. Labels that contradict each other stay, and nobody matches."""
        if not other:
            return self
        labels = tuple(sorted({*self.labels, *other.labels}))
        return Constraints(labels, min(self.data, other.data))


UNCONSTRAINED = Constraints()
