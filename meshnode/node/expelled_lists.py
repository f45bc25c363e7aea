"""Expelled lists: what a seed knows of who was revoked, for each mesh that it serves.

A seed is in no mesh, so members bring it their mesh's revocations, and it gives them back to those
that lack some. Each is verified as a member does: signed by an admin, whose certificates lead to
the root that the network's id is the hash of. A mesh's word counts for that mesh alone. Files:
`expelled.cbor`, so that a seed that restarts does not serve the expelled until it is told anew.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from meshnode.errors import MeshnodeError, Overloaded, RemoteProtocolError, StoreError
from meshnode.identity.certificates import network_of, read
from meshnode.identity.orders import MeshRules
from meshnode.identity.revocations import Revocations
from meshnode.ids import NetworkId, PublicKey
from meshnode.reach.rate import AskRate
from meshnode.storage.state import STATE_BYTES_MAX, read_state, write_state
from meshnode.wire import cbor
from meshnode.wire.limits import REVOKED_BYTES_MAX

_log = logging.getLogger(__name__)
_FORMAT = 1
LISTS_MAX = 64
"""As many as the meshes that a seed serves."""
REVOCATIONS_MAX = 4096
"""Of all meshes together, some 6 MB. Beyond that the mesh with the most makes room."""
BYTES_MAX = STATE_BYTES_MAX // 2
READ_EVERY_S, READ_BURST = 2.0, 16
"""Lists read, all meshes together: one of 1,024 strangers' revocations costs up to 0.3 s."""
READ_EACH_EVERY_S, READ_EACH_BURST = 10.0, 4
"""Of one mesh, so that it does not use up what all have."""


@dataclass(slots=True)
class ExpelledLists:
    """The revocations of every mesh that a seed was told some of."""

    file: Path
    unix_now: Callable[[], float]
    on_expelled: Callable[[NetworkId], None] = lambda network: None
    """Called when a mesh has expelled somebody more."""
    _known: "OrderedDict[NetworkId, Revocations]" = field(default_factory=OrderedDict)
    _reads: AskRate = field(default_factory=lambda: AskRate(every_s=READ_EVERY_S, burst=READ_BURST))
    _reads_each: AskRate = field(
        default_factory=lambda: AskRate(every_s=READ_EACH_EVERY_S, burst=READ_EACH_BURST)
    )

    def __len__(self) -> int:
        return sum(map(len, self._known.values()))

    def keys(self, network: NetworkId) -> frozenset[PublicKey]:
        """Return the keys that are expelled from a mesh."""
        known = self._known.get(network)
        return known.keys if known is not None else frozenset()

    def digest(self, network: NetworkId) -> bytes:
        """Return what is compared with a member's."""
        return (self._known.get(network) or Revocations()).digest()

    def plain(self, network: NetworkId) -> bytes:
        """Return a mesh's revocations as one sends them."""
        return cbor.dumps((self._known.get(network) or Revocations()).plain())

    def take(self, network: NetworkId, data: bytes, now: float) -> None:
        """Take what a member of this mesh brought, and keep it.

        Raises RemoteProtocolError or NotAMember if something in it is not genuine, Overloaded if
        too much is brought; then nothing is taken.
        """
        if not self._reads_each.allows(network, now) or not self._reads.allows("all", now):
            raise Overloaded("too many lists of the expelled; try again in some seconds")
        if not self._take(network, cbor.loads(data, bytes_max=REVOKED_BYTES_MAX)):
            return
        try:
            self._save()
        except StoreError as error:
            _log.warning("who is expelled is not kept over a restart: %s", error)
        self.on_expelled(network)

    def load(self) -> None:
        """Read the file, verified as if a member had brought it; a damaged part is told anew."""
        saved = read_state(self.file)
        if not isinstance(saved, dict) or saved.get("format") != _FORMAT:
            return
        lists = saved.get("lists")
        for each in lists if isinstance(lists, list) else []:
            try:
                match each:
                    case [bytes() as network, list() as plain]:
                        self._take(NetworkId(network), plain)
                    case _:
                        raise RemoteProtocolError("not a list of the expelled")
            except MeshnodeError as error:
                _log.warning("a part of %s is damaged: %s", self.file, error)

    def _take(self, network: NetworkId, plain: cbor.Plain) -> bool:
        known = self._known.get(network) or Revocations()
        rules = MeshRules(
            root_key=_root_of(plain, network), network=network, now_unix=self.unix_now()
        )
        if not known.add(known.read_new(plain, rules)):
            return False
        self._known[network] = known
        self._known.move_to_end(network)
        if len(self._known) > LISTS_MAX:
            self._known.popitem(last=False)
        while len(self) > REVOCATIONS_MAX or self._bytes() > BYTES_MAX:
            del self._known[max(self._known, key=lambda each: len(self._known[each]))]
        return True

    def _bytes(self) -> int:
        return sum(len(self.plain(network)) for network in self._known)

    def _save(self) -> None:
        lists: list[cbor.Plain] = [[n, known.plain()] for n, known in self._known.items()]
        write_state(self.file, {"format": _FORMAT, "lists": lists})


def _root_of(plain: cbor.Plain, network: NetworkId) -> PublicKey:
    """Return the root key that a list's first certificate names, if the network is its hash."""
    match plain:
        case [[[bytes() as certificate, *_], list()], *_]:
            root = read(certificate).issuer
            if network_of(root) == network:
                return root
        case _:
            pass
    raise RemoteProtocolError("a list of the expelled that is not of this mesh")
