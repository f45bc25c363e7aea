"""A load record as one byte string: it rides on most messages, so it is some 40 bytes.

    tag 8 (not in calls) || sequence || age_ms || wait || wait_mean || wait_sigma || speed || busy
    and of a whole record, for each module  tag 8 || first * 4 + waits * 2 + warm || unit || each
    of an excerpt  listed * 8 + at || warm + waits * 256
    and for each module that is told  tag 8 || first || unit || each

`busy` is in_flight * 4 + draining * 2 + 1 if it is an excerpt. An excerpt has two numbers on all
modules of its node's list (`excerpts.py`), and tells those from place `at` on.

`each` is a byte. Other numbers are LEB128 in the fewest bytes (the Dwarf and Wasm specifications,
unsigned): seven bits a byte, the low ones first, the high bit while more follow. A list in CBOR
takes a quarter more.
"""

from meshnode.ids import NodeTag
from meshnode.wire.cbor import Plain
from meshnode.wire.excerpts import LISTED_BITS
from meshnode.wire.limits import MODULES_PER_LOAD_MAX
from meshnode.wire.membership import UNNAMED, LoadRecord, ModuleLoad, Rest
from meshnode.wire.schema import Misfit, Value

TAG_BYTES = 8
U8_BITS, U16_BITS, U32_BITS, U64_BITS = 8, 16, 32, 64
HEAD_BITS = (U64_BITS, U32_BITS, U32_BITS, U32_BITS, U32_BITS, U32_BITS, U16_BITS + 2)
"""Of sequence, age, wait, mean, sigma, speed, and in flight with its flags."""
PLACE_BITS = 3
PLACES = (1 << MODULES_PER_LOAD_MAX) - 1
REST_BITS = (LISTED_BITS + PLACE_BITS, 2 * MODULES_PER_LOAD_MAX)
BYTES_MAX = TAG_BYTES + 10 + 5 * 5 + 3 + MODULES_PER_LOAD_MAX * (TAG_BYTES + 5 + 5 + 1)


class LoadField:
    """A `LoadRecord` as bytes."""

    def pack(self, value: Value) -> Plain:
        """Return the bytes; Misfit names the number that is out of bounds."""
        record: LoadRecord = value
        rest = record.rest
        busy = record.in_flight * 4 + record.draining * 2 + (rest is not None)
        numbers = (
            record.sequence,
            record.age_ms,
            record.wait,
            record.wait_mean,
            record.wait_sigma,
            record.speed,
            busy,
        )
        if len(record.modules) > MODULES_PER_LOAD_MAX:
            raise Misfit(f"has more than {MODULES_PER_LOAD_MAX} modules")
        done = bytearray(_tag(record.node))
        for number, bits in zip(numbers, HEAD_BITS, strict=True):
            _put(done, number, bits)
        if rest is not None:
            _put_rest(done, rest, len(record.modules))
        for each in record.modules:
            done += _tag(each.module)
            if rest is None:
                _put(done, each.first * 4 + each.waits * 2 + each.warm, U32_BITS + 2)
            else:
                _put(done, each.first, U32_BITS)
            _put(done, each.unit, U32_BITS)
            if not 0 <= each.each < 1 << U8_BITS:
                raise Misfit("has a step that is not a byte")
            done.append(each.each)
        return bytes(done)

    def unpack(self, plain: Plain) -> Value:
        """Return the record, or raise Misfit."""
        if type(plain) is not bytes or not TAG_BYTES < len(plain) <= BYTES_MAX:
            raise Misfit(f"is not a byte string of {TAG_BYTES + 1} to {BYTES_MAX} bytes")
        at = TAG_BYTES
        head: list[int] = []
        for bits in HEAD_BITS:
            number, at = _take(plain, at, bits)
            head.append(number)
        sequence, age_ms, wait, mean, sigma, speed, busy = head
        if busy & 1:
            rest, modules = _take_excerpt(plain, at)
        else:
            rest, modules = None, _take_modules(plain, at)
        return LoadRecord(
            node=NodeTag(plain[:TAG_BYTES]),
            sequence=sequence,
            age_ms=age_ms,
            wait=wait,
            wait_mean=mean,
            wait_sigma=sigma,
            in_flight=busy >> 2,
            draining=bool(busy & 2),
            speed=speed,
            modules=modules,
            rest=rest,
        )


class SpokenLoadField(LoadField):
    """The same without the tag, in a call: a node speaks there for itself only."""

    def pack(self, value: Value) -> Plain:
        """Return the bytes, of a record by whatever name."""
        packed = super().pack(value)
        assert isinstance(packed, bytes), "a load record is a byte string"
        return packed[TAG_BYTES:]

    def unpack(self, plain: Plain) -> Value:
        """Return the record, which is `UNNAMED`."""
        if type(plain) is not bytes:
            raise Misfit("is not a byte string")
        return super().unpack(UNNAMED + plain)


def _put_rest(done: bytearray, rest: Rest, told: int) -> None:
    if rest.at + told > MODULES_PER_LOAD_MAX or not 0 <= rest.at < MODULES_PER_LOAD_MAX:
        raise Misfit(f"tells a module at a place that is not from 0 to {MODULES_PER_LOAD_MAX - 1}")
    if not 0 <= rest.warm <= PLACES or not 0 <= rest.waits <= PLACES:
        raise Misfit(f"says something of a place beyond {MODULES_PER_LOAD_MAX - 1}")
    _put(done, (rest.listed << PLACE_BITS) + rest.at, REST_BITS[0])
    _put(done, rest.warm + (rest.waits << MODULES_PER_LOAD_MAX), REST_BITS[1])


def _take_excerpt(plain: bytes, start: int) -> tuple[Rest, tuple[ModuleLoad, ...]]:
    """Return what an excerpt says of all modules, and those it tells."""
    listed, at = _take(plain, start, REST_BITS[0])
    flags, at = _take(plain, at, REST_BITS[1])
    rest = Rest(
        listed=listed >> PLACE_BITS,
        at=listed & ((1 << PLACE_BITS) - 1),
        warm=flags & PLACES,
        waits=flags >> MODULES_PER_LOAD_MAX,
    )
    modules: list[ModuleLoad] = []
    place = rest.at
    while at < len(plain):
        start = at
        first, at = _take(plain, start + TAG_BYTES, U32_BITS)
        flags = (rest.waits >> place & 1) * 2 + (rest.warm >> place & 1)
        module, at = _take_module(plain, start, first, flags, at)
        modules.append(module)
        place += 1
    if place > MODULES_PER_LOAD_MAX:
        raise Misfit(f"tells a module at a place that is not from 0 to {MODULES_PER_LOAD_MAX - 1}")
    return rest, tuple(modules)


def _take_modules(plain: bytes, at: int) -> tuple[ModuleLoad, ...]:
    """Return the modules of a whole record."""
    modules: list[ModuleLoad] = []
    while at < len(plain):
        start = at
        first, at = _take(plain, start + TAG_BYTES, U32_BITS + 2)
        module, at = _take_module(plain, start, first >> 2, first & 3, at)
        modules.append(module)
    if len(modules) > MODULES_PER_LOAD_MAX:
        raise Misfit(f"has more than {MODULES_PER_LOAD_MAX} modules")
    return tuple(modules)


def _take_module(
    plain: bytes, start: int, first: int, flags: int, at: int
) -> tuple[ModuleLoad, int]:
    """Return the module whose tag is at `start`, and where the next one begins."""
    unit, at = _take(plain, at, U32_BITS)
    if at == len(plain):
        raise Misfit("ends within a module")
    load = ModuleLoad(
        module=NodeTag(plain[start : start + TAG_BYTES]),
        warm=bool(flags & 1),
        first=first,
        unit=unit,
        each=plain[at],
        waits=bool(flags & 2),
    )
    return load, at + 1


def _tag(tag: NodeTag) -> bytes:
    if len(tag) != TAG_BYTES:
        raise Misfit(f"has a tag that is not of {TAG_BYTES} bytes")
    return tag


def _put(done: bytearray, number: int, bits: int) -> None:
    if not 0 <= number < 1 << bits:
        raise Misfit(f"has a number that is not from 0 to 2^{bits} - 1")
    while number > 127:
        done.append(number & 127 | 128)
        number >>= 7
    done.append(number)


def _take(plain: bytes, at: int, bits: int) -> tuple[int, int]:
    """Return a number and where the next one begins; there is one way to write each."""
    number = shift = 0
    end = len(plain)
    while at < end:
        byte = plain[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            if number >> bits or (not byte and shift):
                raise Misfit("has a number that is too large or too long")
            return number, at
        shift += 7
        if shift > bits:
            break
    raise Misfit("ends within a number, or has one without end")
