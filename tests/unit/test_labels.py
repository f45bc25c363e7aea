"""Labels: bounded words in one order."""

import pytest

from meshnode.labels import labels_from_texts, labels_of, labels_text, value_of


def test_labels_are_in_the_order_of_their_keys() -> None:
    labels = labels_of({"tier": "edge", "site": "hall-3"})
    assert labels == (("site", "hall-3"), ("tier", "edge"))
    assert labels == labels_from_texts(["tier=edge", " site = hall-3 "])
    assert labels_text(labels) == "site=hall-3, tier=edge"


def test_a_label_that_is_not_given_is_empty() -> None:
    assert value_of((("site", "b"),), "site") == "b"
    assert value_of((), "site") == ""


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([(str(i), "x") for i in range(9)], "9 labels, at most 8"),
        ([("Site", "b")], "'Site' is no label's name"),
        ([("", "b")], "'' is no label's name"),
        ([("s" * 33, "b")], "is no label's name"),
        ([("site", "")], "label site: the value"),
        ([("site", "a b")], "label site: the value"),
        ([("site", "x" * 65)], "label site: the value"),
        ([("site", "a"), ("site", "b")], "given twice"),
        ([(f"key{i}", "x" * 60) for i in range(4)], "have 256 bytes, at most 192"),
    ],
)
def test_every_bound_says_what_is_wrong(pairs: list[tuple[str, str]], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        labels_of(pairs)


def test_a_text_without_an_equals_sign_is_no_label() -> None:
    with pytest.raises(ValueError, match="'hall-3' is not key=value"):
        labels_from_texts(["hall-3"])
