"""mDNS through `zeroconf`, where that package is installed (the extra `lan`): beside our beacon.

It runs in a thread of its own, with the event loop that the package brings. The service's name has
the mesh's fingerprint, its text the key and nothing else; whatever is wrong with it is a warning.
"""

import importlib.util
import logging
import threading
from collections.abc import Callable
from ipaddress import ip_address
from typing import Protocol

import trio

from meshnode.ids import Address, Contact, PublicKey, short
from meshnode.reach.beacon import Beacon

_log = logging.getLogger(__name__)
SERVICE = "_meshnode._udp.local."
KEY = b"key"
KEY_CHARS = 64
STOP_S = 0.25
"""How long the thread may go on after the node has ended."""
LOOKUP_MS = 2000
IPV4_BYTES = 4
FOUND_MAX = 256
"""Services that are looked at in the life of a node; the package keeps a cache of its own."""

Found = Callable[[Contact], None]


def is_installed() -> bool:
    """Return whether there is a `zeroconf` to use."""
    return importlib.util.find_spec("zeroconf") is not None


def service_name(beacon: Beacon) -> str:
    """Return the name of a node's service: the mesh's fingerprint, then the node's short id."""
    return f"{beacon.network.hex()[:12]}-{short(beacon.public_key)}.{SERVICE}"


async def announce_and_browse(own: Beacon, host: str, found: Found) -> None:
    """Announce a node and tell of others of its mesh until cancelled; never raises for mDNS's sake.

    `found` is called in the loop of trio. What it is told is nobody's word: greet, do not trust.
    """
    if not is_installed():
        return
    token = trio.lowlevel.current_trio_token()

    def tell(contact: Contact) -> None:
        trio.from_thread.run_sync(found, contact, trio_token=token)

    try:
        await trio.to_thread.run_sync(_serve, own, host, tell, abandon_on_cancel=False)
    except OSError as error:
        _log.warning("no mDNS on this LAN: %s", error)


def _serve(own: Beacon, host: str, tell: Found) -> None:
    """The thread: announce, browse, and look now and then whether the node has ended."""
    from zeroconf import Error, ServiceBrowser, ServiceInfo, Zeroconf

    info = ServiceInfo(
        SERVICE,
        service_name(own),
        addresses=[ip_address(host).packed],
        port=own.port,
        properties={KEY: own.public_key.hex().encode()},
        server=f"{short(own.public_key).lower()}.local.",
    )
    zeroconf = Zeroconf()
    try:
        browser = ServiceBrowser(zeroconf, SERVICE, _Listener(own, tell))
        zeroconf.register_service(info, allow_name_change=True)
        pause = threading.Event()
        while not pause.wait(STOP_S):
            trio.from_thread.check_cancelled()
        browser.cancel()
    except Error as error:
        _log.warning("no mDNS on this LAN: %s", type(error).__name__)
    finally:
        zeroconf.close()


class Lookup(Protocol):
    """What of a Zeroconf the listener uses."""

    def get_service_info(self, kind: str, name: str, timeout_ms: int, /) -> object:
        """Return a ServiceInfo, or None if nobody answers in time."""
        ...


class _Listener:
    """What `zeroconf` calls, in a thread of its own."""

    def __init__(self, own: Beacon, tell: Found) -> None:
        self._own = own
        self._tell = tell
        self._prefix = own.network.hex()[:12] + "-"
        self._seen: set[str] = set()

    def add_service(self, zeroconf: Lookup, kind: str, name: str) -> None:
        """A service has appeared."""
        new = name.startswith(self._prefix) and name not in self._seen
        if new and len(self._seen) < FOUND_MAX:
            self._seen.add(name)
            self.update_service(zeroconf, kind, name)

    def update_service(self, zeroconf: Lookup, kind: str, name: str) -> None:
        """A service has changed."""
        info = zeroconf.get_service_info(kind, name, LOOKUP_MS)
        contact = None if info is None else _contact_of(info)
        if contact is not None and contact.public_key != self._own.public_key:
            try:
                self._tell(contact)
            except (trio.RunFinishedError, trio.Cancelled):
                return

    def remove_service(self, zeroconf: Lookup, kind: str, name: str) -> None:
        """A service has gone; membership finds out by itself."""
        self._seen.discard(name)


def _contact_of(info: object) -> Contact | None:
    """Return where a service says its node is, or None if it does not say so properly."""
    properties = getattr(info, "properties", {})
    key, port = properties.get(KEY), getattr(info, "port", None)
    addresses = [a for a in getattr(info, "addresses", []) if len(a) == IPV4_BYTES]
    if not isinstance(key, bytes) or len(key) != KEY_CHARS or not addresses:
        return None
    try:
        public_key = PublicKey(bytes.fromhex(key.decode()))
    except (ValueError, UnicodeDecodeError):
        return None
    if not isinstance(port, int) or not 0 < port < 65536:
        return None
    return Contact(public_key, Address(str(ip_address(addresses[0])), port))
