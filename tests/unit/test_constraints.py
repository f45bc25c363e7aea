"""Constraints of several sides hold together, the stricter first."""

import pytest

from meshnode.constraints import UNCONSTRAINED, Constraints, Scope, scope_of

EDGE = Constraints((("tier", "edge"),), Scope.MESH)
SITE = Constraints((("site", "b"),), Scope.SITE)


def test_the_strictest_policy_and_every_label_hold() -> None:
    assert EDGE.joined(SITE) == Constraints((("site", "b"), ("tier", "edge")), Scope.SITE)
    assert EDGE.joined(SITE) == SITE.joined(EDGE)
    assert SITE.joined(Constraints(data=Scope.NODE)).data is Scope.NODE
    assert EDGE.joined(UNCONSTRAINED) is EDGE
    contrary = EDGE.joined(Constraints((("tier", "cloud"),)))
    assert contrary.labels == (("tier", "cloud"), ("tier", "edge"))


def test_what_asks_nothing_is_false() -> None:
    assert not UNCONSTRAINED
    assert EDGE
    assert Constraints(data=Scope.SITE)


def test_a_policy_has_a_word() -> None:
    assert [scope_of(s.word) for s in Scope] == list(Scope)
    with pytest.raises(ValueError, match="'planet' is no data policy: node, site, mesh"):
        scope_of("planet")
