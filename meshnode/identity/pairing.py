"""Pairing: two devices that know nothing of each other, and people who compare six digits.

A handshake with strangers gives a channel, and nobody knows with whom. Over it both sides fix a
code from the handshake's transcript and a random number of each: the device that asks commits to
its number, hears the other's, then reveals its own (Vaudenay, Crypto 2005; Bluetooth's numeric
comparison does the same). Somebody in the middle has a transcript with each side and must fix his
part of either code before he knows the honest part of it: whatever he computes, one attempt in a
million succeeds, and each is seen by a person. Nothing that was overheard helps to guess the code
later, for the code is no key.
"""

from dataclasses import dataclass, field
from hashlib import blake2b
from hmac import compare_digest

from meshnode.errors import RemoteProtocolError
from meshnode.identity.certificates import is_name
from meshnode.identity.keys import random_bytes
from meshnode.wire.limits import NAME_CHARS_MAX

PROLOGUE = b"meshnode/pairing/1\0"
PSK = blake2b(b"anybody", digest_size=32, person=b"meshnode-pairing").digest()
"""Known to everybody: the code is what keeps others out."""
NUMBER_BYTES = 32
COMMITMENT_BYTES = 32
CODE_DIGITS = 6


def code_of(transcript: bytes, asking: bytes, letting: bytes) -> str:
    """Return the digits for a handshake's hash and the numbers of both sides."""
    data = transcript + asking + letting
    digest = blake2b(data, digest_size=16, person=b"meshnode-code").digest()
    return str(int.from_bytes(digest, "big") % 10**CODE_DIGITS).zfill(CODE_DIGITS)


@dataclass(slots=True)
class Asking:
    """The device that wants to be let in."""

    transcript: bytes = field(repr=False)
    name: str
    _number: bytes = field(default_factory=lambda: random_bytes(NUMBER_BYTES), repr=False)
    code: str = field(default="", repr=False)
    """What people type at the other device; known after `reveal`."""

    def commit(self) -> bytes:
        """Return the first message."""
        return _commitment(self._number)

    def reveal(self, letting: bytes) -> bytes:
        """Take the other's number, and return ours and our name; raises RemoteProtocolError."""
        if len(letting) != NUMBER_BYTES:
            raise RemoteProtocolError("a pairing's number of the wrong length")
        self.code = code_of(self.transcript, self._number, letting)
        return self._number + self.name[:NAME_CHARS_MAX].encode()


@dataclass(slots=True)
class Letting:
    """The device at which somebody lets others in."""

    transcript: bytes = field(repr=False)
    _number: bytes = field(default_factory=lambda: random_bytes(NUMBER_BYTES), repr=False)
    _commitment: bytes = b""
    name: str = ""
    """What the other device calls itself; known after `check`, and believed by nobody."""
    code: str = field(default="", repr=False)

    def answer(self, commitment: bytes) -> bytes:
        """Take the first message, and return our number; raises RemoteProtocolError."""
        if len(commitment) != COMMITMENT_BYTES:
            raise RemoteProtocolError("a pairing's commitment of the wrong length")
        self._commitment = commitment
        return self._number

    def check(self, revealed: bytes) -> None:
        """Take the other's number and name; raises RemoteProtocolError if it is not the one."""
        number, name = revealed[:NUMBER_BYTES], revealed[NUMBER_BYTES:]
        if len(number) != NUMBER_BYTES or not _matches(self._commitment, number):
            raise RemoteProtocolError("a pairing's number is not the one that was promised")
        try:
            self.name = name.decode()
        except UnicodeDecodeError as error:
            raise RemoteProtocolError("a pairing's name is no text") from error
        if not self.name or not is_name(self.name):
            raise RemoteProtocolError("a pairing's name is not a short printable text")
        self.code = code_of(self.transcript, number, self._number)


def _commitment(number: bytes) -> bytes:
    return blake2b(number, digest_size=COMMITMENT_BYTES, person=b"meshnode-commit").digest()


def _matches(commitment: bytes, number: bytes) -> bool:
    return compare_digest(commitment, _commitment(number))
