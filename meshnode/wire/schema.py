"""The pieces a message's layout is made of: each checks one kind of field, in both directions.

`pack` turns a field's value into plain CBOR values, `unpack` turns plain values into the field's.
Both apply the same bounds, so that what we send is what we would accept. A value out of bounds
raises `Misfit`, which gathers the path of the field while it rises; `codec` turns it into
`LocalProtocolError` or `RemoteProtocolError`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from operator import attrgetter, index
from typing import Any, Protocol

from meshnode.caps import Caps
from meshnode.ids import Address, Contact, PublicKey
from meshnode.wire.cbor import Plain

_HOST = re.compile(r"[0-9A-Za-z_]([0-9A-Za-z._-]{0,251}[0-9A-Za-z_])?")
"""A name of the DNS, 253 characters at most (RFC 1035 section 2.3.4, without the last dot)."""
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Controls, line and paragraph separators, and marks that reorder text: a peer's words are shown
in terminals and logs. Spelled out and not `isprintable()`, which differs between versions."""

_new = object.__new__
Value = Any
"""A message's field: its type is the dataclass's, which mypy checks at both ends."""


class Misfit(Exception):
    """A value that breaks its field's bounds; raised and caught inside `wire` only."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = ""

    def within(self, step: str) -> "Misfit":
        """Put one more step before the path, and return self to be raised again."""
        dot = "." if self.path and not self.path.startswith("[") else ""
        self.path = f"{step}{dot}{self.path}"
        return self

    def __str__(self) -> str:
        return f"{self.path} {self.reason}" if self.path else self.reason


class Field(Protocol):
    """One kind of field."""

    def pack(self, value: Value) -> Plain:
        """Return the plain form of a value, or raise Misfit."""
        ...

    def unpack(self, plain: Plain) -> Value:
        """Return the value that a plain form stands for, or raise Misfit."""
        ...


@dataclass(frozen=True, slots=True)
class Uint:
    """A whole number from 0 to `most`."""

    most: int

    def pack(self, value: Value) -> Plain:
        """Enums and flags become plain numbers."""
        return value if type(value) is int and 0 <= value <= self.most else self._number(value)

    def _number(self, value: Value) -> Plain:
        return self.unpack(index(value))

    def unpack(self, plain: Plain) -> Value:
        """`True` is no number here, though Python says so."""
        if type(plain) is not int or not 0 <= plain <= self.most:
            raise Misfit(f"is not a whole number up to {self.most}")
        return plain


U16, U32, U64 = Uint(2**16 - 1), Uint(2**32 - 1), Uint(2**64 - 1)


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    def unpack(self, plain: Plain) -> Value:
        """As it is."""
        if type(plain) is not bool:
            raise Misfit("is not true or false")
        return plain

    pack = unpack


@dataclass(frozen=True, slots=True)
class CapsField:
    """Capability bits. Bits unknown here are kept: a newer node may tell of them."""

    def pack(self, value: Value) -> Plain:
        """The bits as a number."""
        return U32.pack(value)

    def unpack(self, plain: Plain) -> Value:
        """The number's bits."""
        return _caps(U32.unpack(plain))


@dataclass(frozen=True, slots=True)
class Bytes:
    """A byte string of `least` to `most` bytes."""

    least: int
    most: int

    def unpack(self, plain: Plain) -> Value:
        """As it is."""
        if type(plain) is not bytes or not self.least <= len(plain) <= self.most:
            size = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
            raise Misfit(f"is not a byte string of {size} bytes")
        return plain

    pack = unpack


def exactly(size: int) -> Bytes:
    """Return the field for a byte string of one length: an id, a key, a hash."""
    return Bytes(size, size)


@dataclass(frozen=True, slots=True)
class Text:
    """Text of `least` to `most` code points that can be shown on a terminal."""

    most: int
    least: int = 0

    def unpack(self, plain: Plain) -> Value:
        """As it is."""
        if type(plain) is not str or not self.least <= len(plain) <= self.most:
            raise Misfit(f"is not a text of {self.least} to {self.most} characters")
        if _UNPRINTABLE.search(plain):
            raise Misfit("has characters that cannot be shown")
        return plain

    pack = unpack


@dataclass(frozen=True, slots=True)
class Words:
    """Text for people: the sender cuts and cleans it, since an error must not fail to be told."""

    most: int

    def pack(self, value: Value) -> Plain:
        """Shorten to `most` code points; what cannot be shown becomes a space."""
        text = _UNPRINTABLE.sub(" ", value)
        return text if len(text) <= self.most else text[: self.most - 3] + "..."

    def unpack(self, plain: Plain) -> Value:
        """What was not cut and cleaned is refused."""
        return Text(self.most).unpack(plain)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: frozenset[str]

    def unpack(self, plain: Plain) -> Value:
        """As it is."""
        if type(plain) is not str or plain not in self.words:
            raise Misfit(f"is none of {', '.join(sorted(self.words))}")
        return plain

    pack = unpack


@dataclass(frozen=True, slots=True)
class ListOf:
    """At most `most` values of one kind; a tuple on our side."""

    item: Field
    most: int

    def pack(self, value: Value) -> Plain:
        """Each item packed."""
        return self._each(self.item.pack, value) if value else []

    def unpack(self, plain: Plain) -> Value:
        """Each item unpacked."""
        if type(plain) is not list:
            raise Misfit("is not a list")
        return tuple(self._each(self.item.unpack, plain)) if plain else ()

    def _each(self, convert: Callable[[Value], Value], values: Value) -> list[Value]:
        """Convert every item; a Misfit gets the item's place into its path."""
        if len(values) > self.most:
            raise Misfit(f"has {len(values)} items, limit {self.most}")
        try:
            return [convert(value) for value in values]
        except Misfit:
            pass
        for place, value in enumerate(values):  # once more, to say which
            try:
                convert(value)
            except Misfit as misfit:
                raise misfit.within(f"[{place}]") from None
        raise AssertionError("a value that did not fit fits now")


@dataclass(frozen=True, slots=True)
class LinesOf:
    """Sentences for people, `most` of at most `chars` each; the sender cuts what is too much."""

    most: int
    chars: int

    def pack(self, value: Value) -> Plain:
        """Keep the first `most`; the last one then says how many are left out."""
        lines = [Words(self.chars).pack(line) for line in value[: self.most]]
        if len(value) > self.most:
            lines[-1] = f"and {len(value) - self.most + 1} more"
        return lines

    def unpack(self, plain: Plain) -> Value:
        """What was not cut is refused."""
        return ListOf(Text(self.chars), self.most).unpack(plain)


@dataclass(frozen=True, slots=True)
class OptionalOf:
    """A value or null."""

    item: Field

    def pack(self, value: Value) -> Plain:
        """None stays null."""
        return None if value is None else self.item.pack(value)

    def unpack(self, plain: Plain) -> Value:
        """Null stays None."""
        return None if plain is None else self.item.unpack(plain)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two values of different kinds: a list of two."""

    first: Field
    second: Field

    def pack(self, value: Value) -> Plain:
        """Both packed."""
        return [self.first.pack(value[0]), self.second.pack(value[1])]

    def unpack(self, plain: Plain) -> Value:
        """Both unpacked, as a tuple."""
        if type(plain) is not list or len(plain) != 2:
            raise Misfit("is not a list of two")
        return self.first.unpack(plain[0]), self.second.unpack(plain[1])


class Record:
    """A dataclass as a positional list: its fields in the order given here, which never changes."""

    def __init__(
        self,
        kind: type[Value],
        check: Callable[[Value], None] | None = None,
        /,
        **fields: Field,
    ) -> None:
        self.kind = kind
        self.fields = fields
        self._check = check
        """Raises Misfit if fields contradict each other."""
        self._names = tuple(fields)
        self._packers = [(attrgetter(name), field.pack) for name, field in fields.items()]
        slots = vars(kind)
        self._unpackers = [(slots[name].__set__, field.unpack) for name, field in fields.items()]
        """How each field is set and unpacked. The values go straight into the slots of a new
        instance: a frozen dataclass's `__init__` takes as long as unpacking them, and a gossip
        has thirty of those."""
        self._beside = [
            (slots[each.name].__set__, each.default)
            for each in dataclass_fields(kind)
            if each.name not in fields
        ]
        """What travels beside the list, and its value if nothing came: only `body`."""
        self.has_beside = bool(self._beside)

    def pack(self, value: Value) -> Plain:
        """Return the list of the fields' plain forms."""
        done: list[Plain] = []
        try:
            for fetch, pack in self._packers:
                done.append(pack(fetch(value)))
        except Misfit as misfit:
            raise misfit.within(self._names[len(done)]) from None
        if self._check is not None:
            self._check(value)
        return done

    def unpack(self, plain: Plain, body: tuple[memoryview, ...] = ()) -> Value:
        """Return the dataclass; a body that came beside the list is put in as it is."""
        if type(plain) is not list or len(plain) != len(self._names):
            raise Misfit(f"is not a list of {len(self._names)} fields")
        value = _new(self.kind)
        count = 0
        try:
            for (put, unpack), item in zip(self._unpackers, plain, strict=True):
                put(value, unpack(item))
                count += 1
        except Misfit as misfit:
            raise misfit.within(self._names[count]) from None
        for put, default in self._beside:
            put(value, body or default)
        if self._check is not None:
            self._check(value)
        return value


class ContactField:
    """A contact as [key, host, port]; the host as 4 or 16 bytes if it is an IP literal.

    One flat list: 43 bytes of CBOR with IPv4, 55 with IPv6. Whether the key is a point of the
    curve is the sealer's business.
    """

    _key = exactly(32)

    def pack(self, value: Value) -> Plain:
        """Key, packed host, port."""
        address = value.address
        return [
            self._key.pack(value.public_key),
            _pack_host(address.host),
            _check_port(address.port),
        ]

    def unpack(self, plain: Plain) -> Value:
        """Return the contact, its host as text."""
        if type(plain) is not list or len(plain) != 3:
            raise Misfit("is not a list of key, host and port")
        host = plain[1]
        if type(host) is not bytes and type(host) is not str:
            raise Misfit("has a host that is neither bytes nor text")
        return _contact(PublicKey(self._key.unpack(plain[0])), host, _check_port(plain[2]))


@lru_cache(maxsize=8192)
def _contact(key: PublicKey, host: bytes | str, port: int) -> Contact:
    """Return a contact. The same few thousand come again and again, so each is made once."""
    return Contact(key, Address(_unpack_host(host), port))


@lru_cache(maxsize=1024)
def _caps(bits: int) -> Caps:
    return Caps(bits)


def _check_port(port: object) -> int:
    if type(port) is not int or not 0 < port < 2**16:
        raise Misfit("has a port that is not 1 to 65535")
    return port


@lru_cache(maxsize=8192)
def _pack_host(host: str) -> bytes | str:
    """Return an IP literal as bytes (its zone left out: it means nothing elsewhere), else text."""
    try:
        ip = ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host):
            raise Misfit("has a host that is no name of the DNS") from None
        return host
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped.packed
    return ip.packed


@lru_cache(maxsize=8192)
def _unpack_host(host: bytes | str) -> str:
    """Return the host as text; each address has one form only, so that none passes for two."""
    if isinstance(host, str):
        if _pack_host(host) != host:
            raise Misfit("has an IP literal as text")
        return host
    if len(host) not in (4, 16):
        raise Misfit("has a host of neither 4 nor 16 bytes")
    ip = ip_address(host)
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        raise Misfit("has an IPv4 address in the form of IPv6")
    return str(ip)
