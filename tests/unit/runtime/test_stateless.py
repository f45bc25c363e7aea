"""Known by their code: only guests shipped here, byte for byte."""

import pytest

from meshnode.modules.sections import encode_custom
from meshnode.runtime.preflight import read_guest
from meshnode.runtime.stateless import STATELESS, keeps_nothing
from tests.unit.runtime.support import dist, seed_guest


@pytest.mark.parametrize("name", STATELESS)
def test_a_shipped_guest_is_known_whatever_it_is_packed_with(name: str) -> None:
    assert keeps_nothing(read_guest(dist(name)))
    assert keeps_nothing(read_guest(dist(name) + encode_custom("anything", b"more")))


def test_any_other_guest_is_a_strangers() -> None:
    assert not keeps_nothing(read_guest(seed_guest("i32.const 0")))
    assert not keeps_nothing(read_guest(dist("hostile-stray")))


def test_a_guest_that_differs_in_one_constant_is_a_strangers() -> None:
    changed = bytearray(dist("linear"))
    at = changed.rindex(b"\x00\x00\x80\x3f")  # 1.0, one of its weights
    changed[at] ^= 1
    assert not keeps_nothing(read_guest(bytes(changed)))
