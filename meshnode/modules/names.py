"""How people name modules: references, semantic versions, and the nearest known name.

Grammar (a module's identity is its hash; names are conveniences):

    detect   detect@1.2.0   detect@sha256:9f2c41   sha256:9f2c41   PUBLISHER/detect@1.2.0
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Protocol, TypeVar

from meshnode.errors import UsageError
from meshnode.wire.limits import NAME_CHARS_MAX

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""A module's or label's name: short, and the same on every file system and in URLs."""

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""A model's name within its module. Guests written for other runtimes ask for names of their own
choice, capital letters included; two that differ in nothing else are still refused."""

VERSION_CHARS_MAX = 64
_NUMBER = r"(?:0|[1-9]\d{0,9})"
_IDENTIFIER = r"(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
VERSION = re.compile(
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})"
    rf"(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?"
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?",
    re.ASCII,
)
"""Semantic Versioning 2.0.0, section "BNF grammar"; numbers are held to ten digits."""

HASH_CHARS_MIN = 6
"""24 bits: enough to tell apart the modules of one mesh; ambiguity is an error, not a guess."""
_HASH = re.compile(r"[0-9a-f]{6,64}")
_PUBLISHER = re.compile(r"[A-Za-z0-9-]{1,64}")
_FORMS = "write NAME, NAME@1.2.0 or NAME@sha256:9f2c41"


class Versioned(Protocol):
    """Whatever has a version."""

    @property
    def version(self) -> str:
        """The version's text."""
        ...


VersionedT = TypeVar("VersionedT", bound=Versioned)
VersionKey = tuple[int, int, int, int, tuple[tuple[int, int, str], ...], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Which module is meant."""

    name: str = ""
    """Empty if only a hash was given."""
    version: str | None = None
    """None means the highest one."""
    hash_prefix: str | None = None
    """Lower-case hex, at least 6 digits; None if no hash was given."""
    publisher: str | None = None
    """A publisher's name, or the start of its key's text form; None means any trusted one."""

    @property
    def full_hash(self) -> bytes | None:
        """The 32 bytes of the module's hash if all of it was given, else None."""
        whole = self.hash_prefix is not None and len(self.hash_prefix) == 64
        return bytes.fromhex(self.hash_prefix or "") if whole else None

    def __str__(self) -> str:
        """Return the text form, which parses to the same reference."""
        head = f"{self.publisher}/{self.name}" if self.publisher else self.name
        if self.hash_prefix is not None:
            return f"{head}@sha256:{self.hash_prefix}" if head else f"sha256:{self.hash_prefix}"
        return head if self.version is None else f"{head}@{self.version}"

    def matches(self, name: str, version: str, module: bytes) -> bool:
        """Return whether a module of this name, version and 32-byte hash is meant."""
        return (
            self.name in ("", name)
            and self.version in (None, version)
            and (self.hash_prefix is None or module.hex().startswith(self.hash_prefix))
        )


def parse_reference(text: str) -> Reference:
    """Return what `text` refers to, or raise UsageError saying which part is wrong."""
    if len(text) > 4 * NAME_CHARS_MAX:
        raise UsageError(f"a module's name is at most {NAME_CHARS_MAX} characters", try_=_FORMS)
    publisher, slash, rest = text.rpartition("/")
    if slash and not _PUBLISHER.fullmatch(publisher):
        raise UsageError(f"'{publisher}' before the / is not a publisher", try_=_FORMS)
    if rest.startswith("sha256:"):
        name, at, which = "", "@", rest
    else:
        name, at, which = rest.partition("@")
        _check_name(name)
    known = Reference(name=name, publisher=publisher or None)
    if not at:
        return known
    if which.startswith("sha256:"):
        digits = which.removeprefix("sha256:").rstrip("…").lower()
        if not _HASH.fullmatch(digits):
            raise UsageError(f"'{which}' is not sha256: and 6 to 64 hex digits", try_=_FORMS)
        return Reference(name=name, publisher=known.publisher, hash_prefix=digits)
    if not is_version(which):
        raise UsageError(f"'{which}' is not a version like 1.2.0", try_=_FORMS)
    return Reference(name=name, publisher=known.publisher, version=which)


def is_name(text: str) -> bool:
    """Return whether `text` may name a module."""
    return NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Return whether `text` is a semantic version."""
    return len(text) <= VERSION_CHARS_MAX and VERSION.fullmatch(text) is not None


def version_key(version: str) -> VersionKey:
    """Return a sort key: Semantic Versioning 2.0.0 section 11, then the text itself.

    The text at the end makes the order total where versions differ in build metadata only.
    Raises ValueError if `version` is not one.
    """
    found = VERSION.fullmatch(version)
    if found is None:
        raise ValueError(f"'{version}' is not a version like 1.2.0")
    major, minor, patch, pre, _ = found.groups()
    parts = tuple(_identifier_key(p) for p in pre.split(".")) if pre else ()
    return int(major), int(minor), int(patch), 0 if pre else 1, parts, version


def newest(found: Iterable[VersionedT], reference: Reference) -> VersionedT | None:
    """Return the highest version of what was found for a reference, or None if nothing was.

    A pre-release is chosen only if the reference names it, or there is nothing else. What peers
    said is not trusted to be a version: others are passed over.
    """
    known = [f for f in found if is_version(f.version)]
    if reference.version is None and reference.hash_prefix is None:
        known = [f for f in known if version_key(f.version)[3]] or known
    return max(known, key=lambda f: version_key(f.version), default=None)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most like `name`, or None if none is like it."""
    by_lower = {k.lower(): k for k in sorted(known, reverse=True)}
    close = get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.55)
    return by_lower[close[0]] if close else None


def hint(name: str, known: Iterable[str]) -> str:
    """Return ", did you mean 'x'?" for the nearest known name, or nothing."""
    near = nearest(name, known)
    return f", did you mean '{near}'?" if near is not None else ""


def _check_name(name: str) -> None:
    if is_name(name):
        return
    if ":" in name:
        raise UsageError(f"'{name}': there are no channels, only versions", try_=_FORMS)
    raise UsageError(
        f"'{name}' is not a module's name (lower-case letters, digits, '.', '_', '-')", try_=_FORMS
    )


def _identifier_key(identifier: str) -> tuple[int, int, str]:
    """Numbers sort as numbers and before words."""
    return (0, int(identifier), "") if identifier.isdigit() else (1, 0, identifier)
