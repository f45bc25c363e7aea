"""Who may speak HTTP to this node.

Beyond loopback a token is required. On loopback there is none by default, so a web page must not
be able to speak in the user's name: the Host header (DNS rebinding) and the Origin header (a
form posted across sites) must name this machine.
"""

import hmac
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from meshnode.errors import ConfigError, UsageError
from meshnode.gateway.http import Refused, RequestHead
from meshnode.ids import Address

TOKEN_CHARS_MIN = 16
TOKEN_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Access:
    """The rule for one listening address."""

    loopback: bool
    token: str = ""

    def check(self, head: RequestHead) -> None:
        """Raise Refused unless this request may be answered."""
        host = head.headers.get("host")
        if host is None:
            raise Refused(400, UsageError("the request names no Host"))
        if self.loopback and not is_loopback(_hostname(host)):
            raise Refused(403, UsageError(f"Host '{host[:80]}' is not this machine"))
        origin = head.headers.get("origin")
        if origin is not None and _hostname(origin.partition("://")[2]) != _hostname(host):
            raise Refused(403, UsageError(f"a page of '{origin[:80]}' may not use this node"))
        if self.token and head.path != "/healthz":
            self._check_token(head.headers.get("authorization", ""))

    def _check_token(self, given: str) -> None:
        scheme, _, token = given.partition(" ")
        same = hmac.compare_digest(token.strip().encode(), self.token.encode())
        if scheme.lower() != "bearer" or not same:
            error = UsageError("a token is needed", try_="send Authorization: Bearer TOKEN")
            raise Refused(401, error, WWW_Authenticate="Bearer")


def access_for(listen: Address, token_file: str) -> Access:
    """Return the rule for an address, or raise ConfigError if it would let anyone in."""
    loopback = is_loopback(listen.host)
    if not token_file and not loopback:
        raise ConfigError(
            f"api.listen = {listen} reaches beyond this machine, so it needs a token",
            because=["anyone who can reach it could use this mesh"],
            try_='set api.token_file, or listen on "127.0.0.1:6180"',
        )
    return Access(loopback, read_token(Path(token_file)) if token_file else "")


def read_token(path: Path) -> str:
    """Return the token in a file, or raise ConfigError if it is unreadable, weak or not private."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(TOKEN_BYTES_MAX)
        token = raw.decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"api.token_file {path} cannot be read", because=[str(error)]) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"api.token_file {path} is open to others", try_=f"chmod 600 {path}")
    if len(token) < TOKEN_CHARS_MIN or not token.isprintable():
        raise ConfigError(f"api.token_file {path} needs {TOKEN_CHARS_MIN} characters on one line")
    return token


def is_loopback(host: str) -> bool:
    """Return whether a host name or literal can only mean this machine."""
    if host.lower() == "localhost" or host in ("::1", "[::1]"):
        return True
    parts = host.split(".")
    return len(parts) == 4 and parts[0] == "127" and all(p.isascii() and p.isdigit() for p in parts)


def _hostname(host: str) -> str:
    """Return the host of `host[:port]`, an IPv6 literal without its brackets, lower-case."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
