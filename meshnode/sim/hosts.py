"""Host: one address on the simulated network, who listens there, and the cookies it was given."""

from array import array
from dataclasses import dataclass, field
from math import inf
from typing import Any

from meshnode.identity.sealing import COOKIE_EPOCH_S
from meshnode.ids import Address, Contact
from meshnode.sim.nat import Nat
from meshnode.sim.world import Slot

COOKIE_S = COOKIE_EPOCH_S
"""How long a cookie proves an address at least (`identity.sealing.Cookies`)."""
OWN_MESH = b""


@dataclass(slots=True, eq=False)
class Host:
    """One address where machines listen."""

    contact: Contact
    number: int
    mesh: bytes = OWN_MESH
    """Which mesh's secrets it holds: packets of another do not open."""
    alive: bool = True
    side: int = 0
    """Hosts on different sides of a partition do not reach each other."""
    nat: Nat | None = None
    slots: list[Slot[Any, Any]] = field(default_factory=list)
    hears: dict[type, Slot[Any, Any]] = field(default_factory=dict)
    """Who takes a kind of message; without an entry the first machine does."""
    cookies: "array[float]" = field(default_factory=lambda: array("d"))
    """By the number of a peer: when its last cookie came here."""
    cookies_for: dict[int, Address] = field(default_factory=dict)
    """Behind a NAT, by the number of a peer: the address that its cookie proves."""
    sent: int = 0
    bytes: int = 0

    def holds_cookie(self, issuer: int | None, now: float) -> bool:
        """Return whether it has a cookie of a peer; None is a peer that never was here."""
        if issuer is None or issuer >= len(self.cookies):
            return False
        issued = self.cookies[issuer]
        return issued <= now < issued + COOKIE_S

    def shows(self, address: Address, issuer: int) -> bool:
        """Return whether the address it is seen at is the one that a peer's cookie is for."""
        return self.nat is None or self.cookies_for.get(issuer) == address

    def take_cookie(self, issuer: int, at: Address, when: float, *, count: int) -> None:
        """Every packet brings its recipient a cookie of its sender; there are `count` peers."""
        cookies = self.cookies
        if issuer >= len(cookies):
            cookies.extend([-inf] * (count - len(cookies)))
        moved = self.nat is not None and self.cookies_for.get(issuer) != at
        # One that is on its way, or fresh, is not put off by a later one.
        before = cookies[issuer]
        if moved or before + COOKIE_S / 2 < when or before > when:
            cookies[issuer] = when
        if moved:
            self.cookies_for[issuer] = at
