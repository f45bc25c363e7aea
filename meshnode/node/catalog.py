"""Catalog: from a reference a person writes (`detect`, `detect@1.2.0`) to one module's hash.

Three sources, nearest first: what lies here, the signed name records of trusted publishers in
the DHT, and the neighbours' own lists. Among versions the highest semver wins; a pre-release is
chosen only by name.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import trio

from meshnode.errors import DeadlineExceeded, MeshnodeError, ModuleNotFound, PeerUnreachable
from meshnode.gossip.member import Member
from meshnode.ids import ContentHash, PublicKey, short
from meshnode.modules.names import Reference, nearest, newest, parse_reference
from meshnode.net.pool import ConnectionPool
from meshnode.node.directory import Directory
from meshnode.node.library import Library
from meshnode.node.membership import Membership
from meshnode.node.trust import Trust
from meshnode.wire.messages import Catalog as CatalogReply
from meshnode.wire.messages import CatalogEntry, ListModules

_log = logging.getLogger(__name__)
FRESH_S = 5.0
"""How long an answer to "which hash is this name" is used again; a new version shows within it."""
NEIGHBOURS_MAX = 32
ASK_TIMEOUT_S = 1.5
ASK_AGAIN_S = 6.0
"""A first connection between two NATs takes some seconds, until a relay is the only way left."""


@dataclass(frozen=True, slots=True)
class Named:
    """One version of one name, and where it was seen."""

    module: ContentHash
    name: str
    version: str
    publisher: PublicKey
    size: int
    holders: tuple[str, ...] = ()
    warm_at: tuple[str, ...] = ()
    yanked: bool = False


class Catalog:
    """Resolves names."""

    def __init__(
        self,
        *,
        library: Library,
        directory: Directory,
        membership: Membership,
        pool: ConnectionPool,
        trust: Trust,
        own_name: str,
    ) -> None:
        self._library = library
        self._directory = directory
        self._membership = membership
        self._pool = pool
        self._trust = trust
        self._own_name = own_name
        self._fresh: dict[str, tuple[float, ContentHash]] = {}

    async def resolve(self, text: str) -> ContentHash:
        """Return the module a reference means, or raise ModuleNotFound with the nearest name."""
        now = trio.current_time()
        fresh = self._fresh.get(text)
        if fresh is not None and now - fresh[0] < FRESH_S:
            return fresh[1]
        reference = parse_reference(text)
        if reference.full_hash is not None:
            return ContentHash(reference.full_hash)
        module = await self._look_up(reference, text)
        if len(self._fresh) > 1024:
            self._fresh.clear()
        self._fresh[text] = (now, module)
        return module

    def forget(self) -> None:
        """Look everything up anew: something was published here."""
        self._fresh.clear()

    async def everything(self) -> list[Named]:
        """Return every module that lies here or at a neighbour, by name and version."""
        listed, _ = await self._ask(self._neighbours(), ASK_TIMEOUT_S)
        return self._named([*self._own(), *listed])

    def _neighbours(self) -> list[Member]:
        return sorted(self._membership.alive(), key=lambda m: m.rtt_ms or 1e9)[:NEIGHBOURS_MAX]

    def _own(self) -> list[tuple[str, CatalogEntry]]:
        return [(self._own_name, entry) for entry in self._library.catalog().entries]

    def _named(self, listed: Iterable[tuple[str, CatalogEntry]]) -> list[Named]:
        """Return who holds what, of entries with their holders."""
        found: dict[ContentHash, Named] = {}
        for holder, entry in listed:
            before = found.get(entry.module)
            found[entry.module] = Named(
                module=entry.module,
                name=entry.name,
                version=entry.version,
                publisher=entry.publisher,
                size=entry.size,
                holders=(*(before.holders if before else ()), holder),
                warm_at=(*(before.warm_at if before else ()), *((holder,) if entry.warm else ())),
            )
        return sorted(found.values(), key=lambda n: (n.name, n.version))

    async def _look_up(self, reference: Reference, text: str) -> ContentHash:
        here = [n for n in self.named_here() if reference.matches(n.name, n.version, n.module)]
        signed = await self._signed(reference) if reference.name else []
        best = newest([n for n in (*here, *signed) if not n.yanked], reference)
        if best is not None:
            return best.module
        asked, listed = self._neighbours(), self._own()
        known: list[Named] = []
        for timeout_s in (ASK_TIMEOUT_S, ASK_AGAIN_S):
            heard, asked = await self._ask(asked, timeout_s)
            listed += heard
            known = self._named(listed)
            best = newest(
                [n for n in known if reference.matches(n.name, n.version, n.module)], reference
            )
            if best is not None:
                return best.module
        raise self._not_found(text, reference, known)

    def named_here(self) -> Iterable[Named]:
        """Yield what lies here whole."""
        for info in self._library.modules:
            m = info.manifest
            yield Named(info.module, m.name, m.version, info.publisher, info.size)

    async def _signed(self, reference: Reference) -> list[Named]:
        """Ask the DHT what each trusted publisher says of this name, all at once."""
        found: list[Named] = []

        async def ask(publisher: PublicKey) -> None:
            record = await self._directory.name(publisher, reference.name)
            for version, entry in record.versions.items() if record else ():
                named = Named(
                    ContentHash(entry.module),
                    reference.name,
                    version,
                    publisher,
                    entry.size,
                    yanked=entry.yanked,
                )
                if reference.matches(named.name, named.version, named.module):
                    found.append(named)

        async with trio.open_nursery() as nursery:
            for publisher in self._trust.publishers()[:16]:
                nursery.start_soon(ask, publisher.key)
        return found

    async def _ask(
        self, members: Sequence[Member], timeout_s: float
    ) -> tuple[list[tuple[str, CatalogEntry]], list[Member]]:
        """Return what members list, each entry with its holder, and who was silent."""
        answers: list[tuple[str, CatalogEntry]] = []
        silent: list[Member] = []

        async def ask(member: Member) -> None:
            try:
                reply = await self._pool.call(member.contact, ListModules(), timeout_s=timeout_s)
            except (DeadlineExceeded, PeerUnreachable) as error:
                _log.debug("%s did not list its modules: %s", member.name, error)
                silent.append(member)
                return
            except MeshnodeError as error:
                _log.debug("%s did not list its modules: %s", member.name, error)
                return
            if isinstance(reply, CatalogReply):
                answers.extend((member.name, entry) for entry in reply.entries)

        async with trio.open_nursery() as nursery:
            for member in members:
                nursery.start_soon(ask, member)
        return answers, silent

    def _not_found(self, text: str, reference: Reference, known: list[Named]) -> ModuleNotFound:
        same_name = [n for n in known if n.name == reference.name]
        if same_name:
            listed = ", ".join(f"{n.version} (sha256:{n.module.hex()[:8]})" for n in same_name[:5])
            return ModuleNotFound(
                f"no module matches '{text}'", because=[f"versions of {reference.name}: {listed}"]
            )
        close = nearest(reference.name, {n.name for n in known})
        return ModuleNotFound(
            f"no module named '{text}' is known in this mesh",
            because=[
                f"publishers trusted here: {len(self._trust.publishers())}",
                f"known modules: {', '.join(sorted({n.name for n in known})[:8]) or 'none'}",
            ],
            try_=f"did you mean '{close}'?" if close else "meshnode modules",
        )


def publisher_name(trust: Trust, key: PublicKey) -> str:
    """Return a trusted publisher's name, or its key's short form."""
    for publisher in trust.publishers():
        if publisher.key == key:
            return publisher.name
    return short(key)
