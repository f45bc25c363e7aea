"""A load record as one byte string: it rides on most messages, so it is 39 bytes with one module.

    tag 8 || sequence || age_ms || wait || wait_mean || wait_sigma || speed || busy
    and for each module  tag 8 || first * 2 + warm || unit || each

`busy` is in_flight * 2 + draining.

Numbers are LEB128 in the fewest bytes (the Dwarf and Wasm specifications, unsigned): seven bits a
byte, the low ones first, the high bit while more follow. A list in CBOR takes a quarter more.
"""

from meshnode.ids import NodeTag
from meshnode.wire.cbor import Plain
from meshnode.wire.limits import MODULES_PER_LOAD_MAX
from meshnode.wire.membership import LoadRecord, ModuleLoad
from meshnode.wire.schema import Misfit, Value

TAG_BYTES = 8
U8_BITS, U16_BITS, U32_BITS, U64_BITS = 8, 16, 32, 64
HEAD_BITS = (U64_BITS, U32_BITS, U32_BITS, U32_BITS, U32_BITS, U32_BITS, U16_BITS + 1)
"""Of sequence, age, wait, mean, sigma, speed, and in flight with its flag."""
MODULE_BITS = (U32_BITS + 1, U32_BITS, U8_BITS)
BYTES_MAX = TAG_BYTES + 10 + 5 * 5 + 3 + MODULES_PER_LOAD_MAX * (TAG_BYTES + 5 + 5 + 2)


class LoadField:
    """A `LoadRecord` as bytes."""

    def pack(self, value: Value) -> Plain:
        """Return the bytes; Misfit names the number that is out of bounds."""
        record: LoadRecord = value
        busy = record.in_flight * 2 + record.draining
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
        for each in record.modules:
            done += _tag(each.module)
            _put(done, each.first * 2 + each.warm, MODULE_BITS[0])
            _put(done, each.unit, MODULE_BITS[1])
            _put(done, each.each, MODULE_BITS[2])
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
        modules: list[ModuleLoad] = []
        while at < len(plain):
            tag = NodeTag(plain[at : at + TAG_BYTES])
            first, at = _take(plain, at + TAG_BYTES, MODULE_BITS[0])
            unit, at = _take(plain, at, MODULE_BITS[1])
            more, at = _take(plain, at, MODULE_BITS[2])
            warm = bool(first & 1)
            modules.append(
                ModuleLoad(module=tag, warm=warm, first=first >> 1, unit=unit, each=more)
            )
        if len(modules) > MODULES_PER_LOAD_MAX:
            raise Misfit(f"has more than {MODULES_PER_LOAD_MAX} modules")
        sequence, age_ms, wait, mean, sigma, speed, busy = head
        return LoadRecord(
            node=NodeTag(plain[:TAG_BYTES]),
            sequence=sequence,
            age_ms=age_ms,
            wait=wait,
            wait_mean=mean,
            wait_sigma=sigma,
            in_flight=busy >> 1,
            draining=bool(busy & 1),
            speed=speed,
            modules=tuple(modules),
        )


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
