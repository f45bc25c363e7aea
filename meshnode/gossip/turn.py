"""Turn: which module of our own load is told next, where a record cannot tell all of them."""

from meshnode.wire.excerpts import excerpt
from meshnode.wire.messages import LoadRecord


class Turn:
    """One module after the other, so that all are told in as many rounds as there are modules."""

    __slots__ = ("_round",)

    def __init__(self) -> None:
        self._round = 0

    def next(self) -> None:
        """Another round begins."""
        self._round += 1

    def excerpt(self, load: LoadRecord) -> LoadRecord:
        """Return what is told of ourselves in this round; a record of one module is told whole."""
        return excerpt(load, self._round % max(1, len(load.modules)))
