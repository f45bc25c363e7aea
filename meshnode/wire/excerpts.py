"""Excerpts of a load record: all that changes by the moment, and the slow numbers of few modules.

Most messages carry a record. What its node's queue and its modules' readiness are is worth knowing
each time; how long a module runs hardly moves, and is 12 bytes for each of eight modules. So a node
keeps its modules in a list, a bit for each place says whether it is warm, and who knows the list
from records before needs no more. `placement/heard.py` puts it together again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from zlib import crc32

from meshnode.ids import NodeTag
from meshnode.wire.membership import LoadRecord, ModuleLoad, Rest

LISTED_BITS = 11
"""Of the checksum: with a place in two bytes. If two lists have the same one, what is believed warm
may not be, until its node refuses a request and says so."""


def listed(tags: Iterable[NodeTag]) -> int:
    """Return the checksum of a list of modules."""
    return crc32(b"".join(tags)) & ((1 << LISTED_BITS) - 1)


def bits(flags: Sequence[bool]) -> int:
    """Return a number whose bit i is the ith flag."""
    number = 0
    for flag in reversed(flags):
        number = number << 1 | flag
    return number


def excerpt(record: LoadRecord, at: int, count: int = 1) -> LoadRecord:
    """Return a whole record with only `count` modules told, from place `at` on.

    It is returned as it is where nothing would be left out.
    """
    modules = record.modules
    if record.rest is not None or len(modules) <= count:
        return record
    return replace(record, modules=modules[at : at + count], rest=rest_of(modules, at))


def rest_of(modules: Sequence[ModuleLoad], at: int) -> Rest:
    """Return what an excerpt that begins at a place says of all."""
    return Rest(
        listed=listed(m.module for m in modules),
        at=at,
        warm=bits([m.warm for m in modules]),
        waits=bits([m.waits for m in modules]),
    )
