"""Trust: which publishers' modules this node runs. Files: `trust.cbor`.

A publisher is trusted when the operator listed its key here, or (policy "mesh", the default)
when a certificate chain from the mesh's root names it as a publisher. The chain travels with
the module, so a node learns of a new publisher the moment it meets its first module.
"""

import logging
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from meshnode.errors import NotAMember, RemoteProtocolError, StoreError, UntrustedPublisher
from meshnode.identity.certificates import Role, verify_chain
from meshnode.identity.mesh import Mesh
from meshnode.ids import PublicKey, short, to_text
from meshnode.node.trust_log import TrustLog
from meshnode.storage.state import read_state, write_state

_log = logging.getLogger(__name__)
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Publisher:
    """A publisher that is trusted, and on whose word."""

    key: PublicKey
    name: str
    by: str
    """"listed" by the operator here, or "mesh" by a certificate."""


class Trust:
    """The publishers this node trusts."""

    def __init__(
        self,
        path: Path,
        mesh: Mesh,
        *,
        accept_mesh: bool,
        unix_now: Callable[[], float],
        revoked: Callable[[], Container[PublicKey]] = frozenset,
        log: TrustLog | None = None,
    ) -> None:
        """`revoked` gives the keys that are expelled from the mesh, and the chains below them."""
        self._path = path
        self._mesh = mesh
        self._accept_mesh = accept_mesh
        self._unix_now = unix_now
        self._revoked = revoked
        self._trust_log = log
        self._listed: dict[PublicKey, str] = {}
        self._chains: dict[PublicKey, tuple[bytes, ...]] = {}
        self._load()

    def check(self, publisher: PublicKey, chain: Sequence[bytes]) -> Publisher:
        """Return the trusted publisher behind a key, or raise UntrustedPublisher.

        `chain` is what came along with the module; a valid one is remembered.
        """
        revoked = self._revoked()
        if publisher in revoked:
            raise UntrustedPublisher(
                f"publisher {short(publisher)} is not trusted here",
                because=["an admin of the mesh has revoked it"],
            )
        if publisher in self._listed:
            return Publisher(publisher, self._listed[publisher], "listed")
        known = tuple(chain) or self._chains.get(publisher, ())
        reason = "no certificate of this mesh names it, and it is not listed here"
        if self._accept_mesh and known:
            try:
                leaf = verify_chain(
                    known,
                    root_key=self._mesh.root_key,
                    network=self._mesh.network,
                    now_unix=self._unix_now(),
                    revoked=revoked,
                )
                if leaf.subject == publisher and leaf.roles & Role.PUBLISH:
                    self._remember(publisher, known)
                    return Publisher(publisher, leaf.name, "mesh")
                reason = "its certificate names another key, or lacks the role publish"
            except (NotAMember, RemoteProtocolError) as error:
                reason = f"its certificate is refused: {error}"
        raise UntrustedPublisher(
            f"publisher {short(publisher)} is not trusted here",
            because=[reason],
            try_=f"meshnode trust add {to_text(publisher)} --name NAME   (only if you know it)",
        )

    def chain_of(self, publisher: PublicKey) -> tuple[bytes, ...]:
        """Return the remembered certificate chain of a publisher, or an empty one."""
        return self._chains.get(publisher, ())

    def add(self, publisher: PublicKey, name: str) -> None:
        """Trust a publisher by hand, from now on and after a restart."""
        self._listed[publisher] = name
        self._save()
        if self._trust_log is not None:
            self._trust_log.note("trusted", name=name, key=short(publisher))

    def add_chain(self, publisher: PublicKey, chain: tuple[bytes, ...]) -> None:
        """Remember a publisher's certificate chain that this node issued itself."""
        self._remember(publisher, chain)
        if self._trust_log is not None:
            self._trust_log.note("certified", publisher=short(publisher))

    def publishers(self) -> list[Publisher]:
        """Return every publisher known to be trusted."""
        found = [Publisher(key, name, "listed") for key, name in self._listed.items()]
        for key, chain in self._chains.items():
            if key not in self._listed:
                try:
                    found.append(self.check(key, chain))
                except UntrustedPublisher:
                    continue
        return found

    def _remember(self, publisher: PublicKey, chain: tuple[bytes, ...]) -> None:
        if self._chains.get(publisher) != chain:
            self._chains[publisher] = chain
            try:
                self._save()
            except StoreError as error:  # it comes again with each of the publisher's modules
                _log.warning("a publisher's certificate is not kept: %s", error)

    def _load(self) -> None:
        saved = read_state(self._path)
        if not isinstance(saved, dict) or saved.get("format") != _FORMAT:
            return
        try:
            self._listed = {PublicKey(bytes(k)): str(n) for k, n in saved["listed"]}
            self._chains = {PublicKey(bytes(k)): tuple(map(bytes, c)) for k, c in saved["chains"]}
        except (KeyError, TypeError, ValueError):
            # Whom we trust is the operator's word: half of a damaged list is worse than none.
            self._listed, self._chains = {}, {}
            _log.warning("%s is damaged: no publisher is listed here any more", self._path)

    def _save(self) -> None:
        write_state(
            self._path,
            {
                "format": _FORMAT,
                "listed": [[k, n] for k, n in self._listed.items()],
                "chains": [[k, list(c)] for k, c in self._chains.items()],
            },
        )
