from collections.abc import Callable

import pytest

from meshnode.dht.fields import Reader
from meshnode.errors import RemoteProtocolError


def test_fields_are_read_in_order() -> None:
    reader = Reader([3, b"ab", "text", True, [[1], [2]]])
    assert (reader.whole(0, 3), reader.blob(2), reader.text(4), reader.flag()) == (
        3,
        b"ab",
        "text",
        True,
    )
    assert [item.whole(1, 2) for item in reader.lists(2)] == [1, 2]
    reader.end()


@pytest.mark.parametrize(
    ("plain", "read"),
    [
        ({}, lambda r: r.end()),
        ([], lambda r: r.flag()),
        ([1], lambda r: r.end()),
        ([True], lambda r: r.whole(0, 1)),
        ([4], lambda r: r.whole(0, 3)),
        ([-1], lambda r: r.whole(0, 3)),
        ([1.0], lambda r: r.whole(0, 3)),
        ([b"abc"], lambda r: r.blob(2)),
        (["ab"], lambda r: r.blob(2)),
        (["abc"], lambda r: r.text(2)),
        ([""], lambda r: r.text(2, chars_min=1)),
        (["a\n"], lambda r: r.text(2)),
        ([1], lambda r: r.flag()),
        ([[[], [], []]], lambda r: r.lists(2)),
        ([[1]], lambda r: list(r.lists(2))),
    ],
)
def test_what_does_not_fit_is_a_remote_protocol_error(
    plain: object, read: Callable[[Reader], object]
) -> None:
    with pytest.raises(RemoteProtocolError):
        read(Reader(plain))
