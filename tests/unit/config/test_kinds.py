"""The kinds of value that text and TOML are read as."""

import pytest

from meshnode.config import kinds
from meshnode.ids import Address


def test_lists_are_read_from_toml_and_from_text() -> None:
    wanted = (Address("a", 1), Address("b", 2))
    for raw in (["a:1", "b:2"], "a:1,b:2", '["a:1", "b:2"]'):
        assert kinds.ADDRESSES.read(raw) == wanted
    assert kinds.ADDRESSES.read([]) == kinds.ADDRESSES.read("") == ()


@pytest.mark.parametrize("raw", [["a:1", 2], 3, {"a": 1}, "a:b"])
def test_what_is_not_a_list_of_addresses_is_refused(raw: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        kinds.ADDRESSES.read(raw)


def test_whole_numbers_keep_their_range() -> None:
    kind = kinds.whole(1, 10)
    assert [kind.read(1), kind.read("10")] == [1, 10]
    for raw in (0, 11, "x", 1.5, True):
        with pytest.raises((ValueError, TypeError)):
            kind.read(raw)
