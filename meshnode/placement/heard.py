"""HeardModules: what one node has said of its modules, put together from excerpts of its records.

Each record says of all modules who is warm and of whom requests wait, by their places in the node's
list, and of few how long they run (`wire/excerpts.py`). Freshness is kept for each part: a module's
numbers give way only to those of a record with a higher sequence, and so do the flags. A record
that was overtaken on its way may therefore still bring the numbers of a module, and nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from meshnode.wire.excerpts import rest_of
from meshnode.wire.messages import LoadRecord, ModuleLoad, Rest

UNCONFIRMED_S_MAX = 30.0
"""A module told in another list than the node has now may be gone from it: so long it is believed
to be as it was. Who is told each second has heard all of the new list by then."""


@dataclass(slots=True)
class _Part:
    """One module, as of the record that told it last."""

    load: ModuleLoad
    sequence: int
    listed: int
    told_at: float


class HeardModules:
    """The modules of one node, by their places; as many as a record has places."""

    __slots__ = ("_flags_at", "_parts", "_rest", "_whole")

    def __init__(self) -> None:
        self._whole: tuple[LoadRecord, float] | None = None
        """The newest of all, if that was a whole record, and when it was written: most nodes have
        one module, and nothing is put together for them."""
        self._parts: dict[int, _Part] = {}
        self._rest: Rest | None = None
        """The flags in force; None before the first record."""
        self._flags_at = -1
        """Sequence of the record that they are from."""

    def hear(self, record: LoadRecord, written_at: float) -> bool:
        """Take what a record says of modules; return whether anything is otherwise now.

        `written_at` is when its node wrote it, in seconds.
        """
        rest, sequence = record.rest, record.sequence
        newest = sequence > self._flags_at
        if rest is None and newest:  # older parts are all of older records
            self._whole, self._flags_at = (record, written_at), sequence
            return True
        self._take_apart()
        said = rest_of(record.modules, 0) if rest is None else rest
        changed = newest
        for place, told in enumerate(record.modules, said.at):
            part = _Part(told, sequence, said.listed, written_at)
            changed = self._put(place, part) or changed
        if rest is None:
            changed = self._drop(lambda part: part.sequence < sequence) or changed
        elif newest:
            if self._rest is not None and self._rest.listed != said.listed:
                old_at = written_at - UNCONFIRMED_S_MAX
                self._drop(lambda part: part.listed != said.listed and part.told_at < old_at)
            self._rest, self._flags_at = said, sequence
        return changed

    def disbelieve(self, sequence: int) -> None:
        """Forget what came in records with a higher sequence: somebody else invented them."""
        self._take_apart()
        self._drop(lambda part: part.sequence > sequence)
        self._flags_at = min(self._flags_at, sequence - 1)

    def loads(self) -> tuple[ModuleLoad, ...]:
        """Return all modules that are known, in the order of their places."""
        if self._whole is not None:
            return self._whole[0].modules
        rest = self._rest
        assert rest is not None, "asked only after a record was heard"
        found: list[ModuleLoad] = []
        for place in sorted(self._parts):
            part = self._parts[place]
            load, warm, waits = part.load, part.load.warm, False
            if part.listed == rest.listed:
                warm, waits = rest.warm >> place & 1 == 1, rest.waits >> place & 1 == 1
            if load.warm is not warm or load.waits is not waits:
                load = part.load = replace(load, warm=warm, waits=waits)
            found.append(load)
        return tuple(found)

    def _take_apart(self) -> None:
        """Turn the whole record that was heard last into parts, now that another one joins it."""
        if self._whole is None:
            return
        record, written_at = self._whole
        self._whole, self._rest = None, rest_of(record.modules, 0)
        self._parts = {
            place: _Part(told, record.sequence, self._rest.listed, written_at)
            for place, told in enumerate(record.modules)
        }

    def _put(self, place: int, part: _Part) -> bool:
        """Keep a module that was told, unless its place or itself was told later."""
        module, here = part.load.module, self._parts.get(place)
        if here is None or here.load.module != module:
            for other, held in self._parts.items():
                same = other == place or held.load.module == module
                if same and held.sequence >= part.sequence:
                    return False
            self._drop(lambda held: held.load.module == module)
        elif here.sequence >= part.sequence:
            return False
        self._parts[place] = part
        return True

    def _drop(self, gone: Callable[[_Part], bool]) -> bool:
        places = [place for place, part in self._parts.items() if gone(part)]
        for place in places:
            del self._parts[place]
        return bool(places)
