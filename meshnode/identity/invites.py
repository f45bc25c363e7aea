"""Invites: one string that admits a device, and the sponsor's account of those it gave out.

The string carries the mesh's fingerprint, a secret, expiry, uses and up to three addresses. The
secret keys the joiner's handshake, so a sponsor answers nobody who does not hold one.
"""

import ipaddress
from base64 import b32decode, b32encode
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from meshnode.errors import (
    InviteExpired,
    InviteUsed,
    InviteWrong,
    LocalProtocolError,
    TooManyInvites,
    UsageError,
)
from meshnode.identity.certificates import ALL_ROLES, Role
from meshnode.identity.keys import random_bytes
from meshnode.ids import Address, NetworkId, PublicKey

PREFIX = "mesh1"
SECRET_BYTES = 16
PSK_BYTES = 32
CHECK_BYTES = 4
"""A mistyped string passes with probability 2^-32."""
GROUP_CHARS = 7
TEXT_CHARS_MAX = 512
"""Three host names of 63 characters make 389; more than this is not looked at."""
NETWORK_BYTES = 16
INVITE_ADDRESSES_MAX = 3
HOST_CHARS_MAX = 63
OPEN_MAX = 64
"""Invites out at once: each costs a stranger's first message one trial decryption (50 us)."""
USES_MAX = 1000
"""Joiners of one invite: 64 full invites are 0.6 MB on the sponsor's disk."""
KEPT_S = 86_400
"""An invite that is over is remembered this long, so its holder is told which it is."""
_ID_BYTES = 8
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_DASHES = dict.fromkeys(map(ord, "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212"))
"""Chat programs turn a dash into one of its relatives."""
_HOST_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")
_IPV4, _IPV6 = 0, 255
"""Kinds of address; any other number is the length of a host name."""


@dataclass(frozen=True, slots=True)
class Invite:
    """What the string says. The secret is not shown by repr."""

    network: NetworkId
    """What the sponsor's root key must hash to."""
    secret: bytes
    addresses: tuple[Address, ...]
    """One to three places where the sponsor may be reached, the likeliest first."""
    expires_at: int
    """Unix seconds; the sponsor's word counts, this copy serves a friendly early answer."""
    uses: int

    def __repr__(self) -> str:
        return f"Invite({self.network.hex()[:8]}, {', '.join(map(str, self.addresses))})"


def new_secret() -> bytes:
    """Return a fresh invite secret."""
    return random_bytes(SECRET_BYTES)


def psk_of(secret: bytes) -> bytes:
    """Return the 32-byte handshake key of an invite's secret."""
    return blake2b(secret, digest_size=32, person=b"meshnode-invite").digest()


def encode(invite: Invite) -> str:
    """Return the string: `mesh1-` and base32 in dashed groups of seven.

    Raises LocalProtocolError for what the string cannot say.
    """
    if len(invite.secret) != SECRET_BYTES or len(invite.network) != NETWORK_BYTES:
        raise LocalProtocolError("an invite's secret and network id have 16 bytes each")
    if not 1 <= len(invite.addresses) <= INVITE_ADDRESSES_MAX:
        raise LocalProtocolError(f"an invite has 1 to {INVITE_ADDRESSES_MAX} addresses")
    if not 0 <= invite.expires_at < 2**32 or not 0 < invite.uses < 2**16:
        raise LocalProtocolError("an invite's expiry or number of uses is out of range")
    plain = (
        invite.network
        + invite.secret
        + invite.expires_at.to_bytes(4, "big")
        + invite.uses.to_bytes(2, "big")
        + b"".join(_address_bytes(a) for a in invite.addresses)
    )
    text = b32encode(plain + _check(plain)).decode().rstrip("=").lower()
    return "-".join(
        [PREFIX, *(text[i : i + GROUP_CHARS] for i in range(0, len(text), GROUP_CHARS))]
    )


def parse(text: str) -> Invite:
    """Return what an invite string says, or raise InviteWrong naming what is wrong with it.

    Case, spaces and the place of dashes do not matter.
    """
    raw = _raw_of(_tight(text))
    plain, check = raw[:-CHECK_BYTES], raw[-CHECK_BYTES:]
    at = NETWORK_BYTES + SECRET_BYTES
    fixed = at + 6
    if len(plain) <= fixed:
        raise _wrong("the invite is cut short")
    if _check(plain) != check:
        raise _wrong("the invite is mistyped or cut short: its check characters do not match")
    uses = int.from_bytes(plain[at + 4 : fixed], "big")
    if not uses:
        raise _wrong("the invite is good for no device")
    return Invite(
        network=NetworkId(plain[:NETWORK_BYTES]),
        secret=plain[NETWORK_BYTES:at],
        addresses=_addresses(plain[fixed:]),
        expires_at=int.from_bytes(plain[at : at + 4], "big"),
        uses=uses,
    )


@dataclass(frozen=True, slots=True)
class _Open:
    """One invite as its sponsor keeps it."""

    psk: bytes = field(repr=False)
    uses: int
    expires_at: int
    roles: Role
    joiners: tuple[bytes, ...] = ()
    """Hashes of who redeemed it; the same joiner may come again if an answer was lost."""

    def live(self, now_unix: float) -> bool:
        """Whether somebody new may still redeem it."""
        return now_unix <= self.expires_at and len(self.joiners) < self.uses


class Ledger:
    """The invites a sponsor has out. Pure; its repr shows no secret."""

    def __init__(self) -> None:
        self._open: dict[bytes, _Open] = {}

    def open(
        self, *, secret: bytes, uses: int, expires_at: int, roles: Role, now_unix: float
    ) -> None:
        """Enter a new invite; when there is no room, the oldest that is over makes some.

        Raises UsageError for a number of uses out of range, TooManyInvites if all are live.
        """
        if not 1 <= uses <= USES_MAX:
            raise UsageError(f"an invite is good for 1 to {USES_MAX} devices, not {uses}")
        self._clean(now_unix)
        psk = psk_of(secret)
        if len(self._open) >= OPEN_MAX:
            over = next((k for k, o in self._open.items() if not o.live(now_unix)), None)
            if over is None:
                soonest = min(o.expires_at for o in self._open.values()) - int(now_unix)
                raise TooManyInvites(
                    f"{OPEN_MAX} invites are out, and none is used up or expired",
                    try_=f"wait {soonest} s, or open one invite for several devices: --uses N",
                )
            del self._open[over]
        self._open[_psk_id(psk)] = _Open(psk, uses, expires_at, roles)

    def psks(self, now_unix: float) -> list[tuple[bytes, bytes]]:
        """Return (id, handshake key) of each invite, the live ones first."""
        self._clean(now_unix)
        line = sorted(self._open.items(), key=lambda pair: not pair[1].live(now_unix))
        return [(key, entry.psk) for key, entry in line]

    def redeem(self, psk: bytes, joiner: PublicKey, now_unix: float) -> Role:
        """Count one use for this joiner and return the roles it gets.

        Raises InviteWrong, InviteExpired or InviteUsed. A joiner that redeemed before is given
        the same again without costing a use, so a lost answer can be asked for again.
        """
        key = _psk_id(psk)
        entry = self._open.get(key)
        if entry is None:
            raise InviteWrong("this invite is unknown here")
        if now_unix > entry.expires_at:
            raise InviteExpired("this invite has expired", try_="ask for a new one")
        mark = _mark(psk, joiner)
        if mark in entry.joiners:
            return entry.roles
        if len(entry.joiners) >= entry.uses:
            raise InviteUsed(
                f"this invite was good for {entry.uses} device(s) and has been used",
                try_="ask for a new one",
            )
        self._open[key] = replace(entry, joiners=(*entry.joiners, mark))
        return entry.roles

    def to_plain(self) -> list[Any]:
        """Return the form kept on disk (secret)."""
        return [
            [e.psk, e.uses, e.expires_at, int(e.roles), list(e.joiners)]
            for e in self._open.values()
        ]

    @classmethod
    def from_plain(cls, plain: object) -> "Ledger":
        """Return the ledger that `to_plain` described; entries that do not fit are left out."""
        ledger = cls()
        for fields in plain[:OPEN_MAX] if isinstance(plain, list) else []:
            entry = _entry(fields)
            if entry is not None:
                ledger._open[_psk_id(entry.psk)] = entry
        return ledger

    def _clean(self, now_unix: float) -> None:
        self._open = {k: o for k, o in self._open.items() if now_unix <= o.expires_at + KEPT_S}

    def __repr__(self) -> str:
        return f"Ledger({len(self._open)} invites)"


def _entry(fields: object) -> _Open | None:
    match fields:
        case [bytes() as psk, int() as uses, int() as expires_at, int() as roles, list() as marks]:
            if len(psk) == PSK_BYTES and all(isinstance(m, bytes) for m in marks):
                roles_known = Role(roles & int(ALL_ROLES))
                return _Open(psk, uses, expires_at, roles_known, tuple(marks))
        case _:
            pass
    return None


def _psk_id(psk: bytes) -> bytes:
    return blake2b(psk, digest_size=_ID_BYTES).digest()


def _mark(psk: bytes, joiner: PublicKey) -> bytes:
    return blake2b(joiner, key=psk, digest_size=_ID_BYTES).digest()


def _tight(text: str) -> str:
    """Return the base32 letters of an invite, lower case, or raise InviteWrong."""
    tight = "".join(text[: 4 * TEXT_CHARS_MAX].split()).translate(_DASHES).lower()
    if not tight.startswith(PREFIX):
        raise _wrong(f"this is no invite: an invite starts with {PREFIX}-")
    letters = tight.removeprefix(PREFIX)
    if len(letters) > TEXT_CHARS_MAX:
        raise _wrong("this is too long for an invite")
    strange = next((c for c in letters if c not in _ALPHABET), None)
    if strange is not None:
        raise _wrong(
            f"the invite is mistyped: {strange!r} is not among its characters, a-z and 2-7"
        )
    return letters


def _raw_of(letters: str) -> bytes:
    try:
        raw = b32decode(letters.upper() + "=" * (-len(letters) % 8))
    except ValueError as error:
        raise _wrong("the invite has a length that it cannot have: it is cut short") from error
    if b32encode(raw).decode().rstrip("=").lower() != letters:
        raise _wrong("the invite is mistyped or cut short: its last character cannot be the last")
    return raw


def _wrong(message: str) -> InviteWrong:
    return InviteWrong(message, try_="copy the whole string again, from mesh1- to its end")


def _check(plain: bytes) -> bytes:
    return blake2b(plain, digest_size=CHECK_BYTES, person=b"meshnode-check").digest()


def _address_bytes(address: Address) -> bytes:
    if not 0 < address.port < 2**16:
        raise LocalProtocolError(f"an invite cannot hold port {address.port}")
    port = address.port.to_bytes(2, "big")
    try:
        ip = ipaddress.ip_address(address.host)
    except ValueError:
        if not _is_host(address.host):
            raise LocalProtocolError(f"an invite cannot hold host '{address.host}'") from None
        return bytes([len(address.host)]) + address.host.encode() + port
    if isinstance(ip, ipaddress.IPv6Address) and ip.scope_id:
        raise LocalProtocolError(f"{address.host} means nothing on another device")
    return bytes([_IPV4 if ip.version == 4 else _IPV6]) + ip.packed + port


def _addresses(data: bytes) -> tuple[Address, ...]:
    found: list[Address] = []
    while data:
        kind = data[0]
        size = {_IPV4: 4, _IPV6: 16}.get(kind, kind)
        packed, port, rest = data[1 : 1 + size], data[1 + size : 3 + size], data[3 + size :]
        if len(packed) != size or len(port) != 2:
            raise InviteWrong("the invite's addresses are cut short")
        found.append(Address(_host(kind, packed), int.from_bytes(port, "big")))
        data = rest
    if not 1 <= len(found) <= INVITE_ADDRESSES_MAX or not all(a.port for a in found):
        raise InviteWrong("the invite's addresses are not ones that it can have")
    return tuple(found)


def _host(kind: int, packed: bytes) -> str:
    if kind in (_IPV4, _IPV6):
        return str(ipaddress.ip_address(packed))
    host = packed.decode("latin-1")
    if not _is_host(host) or _is_literal(host):
        raise InviteWrong("the invite's host name is not one that it can have")
    return host


def _is_host(host: str) -> bool:
    return 1 <= len(host) <= HOST_CHARS_MAX and _HOST_CHARS.issuperset(host)


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
