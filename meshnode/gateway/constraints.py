"""What a client asks of whoever runs its request, as every door takes it: texts in, a value out."""

from collections.abc import Sequence

from meshnode.constraints import Constraints, Scope, scope_of
from meshnode.errors import UsageError
from meshnode.labels import TIER, labels_from_texts


def read_constraints(require: Sequence[str], tier: str, data: str) -> Constraints:
    """Return constraints from `key=value` texts, a tier and a data policy, or raise UsageError.

    An empty text asks for nothing.
    """
    texts = [*require, *([f"{TIER}={tier}"] if tier else [])]
    try:
        labels = labels_from_texts(dict.fromkeys(texts))
    except ValueError as error:
        raise UsageError(
            f"no such constraint: {error}", try_="require=site=hall-3 asks for a label"
        ) from error
    try:
        return Constraints(labels, scope_of(data) if data else Scope.MESH)
    except ValueError as error:
        raise UsageError(str(error)) from error
