from dataclasses import replace

import pytest

from meshnode.errors import BadMetadata, MalformedModule, TooLarge
from meshnode.modules import layout, metadata
from meshnode.modules.layout import delimiter_of, head_of, is_reserved, read_head, read_module
from meshnode.modules.sections import HEADER, encode_custom
from tests.unit.modules.samples import (
    GUEST,
    MANIFEST,
    PUBLISHER,
    WEIGHTS,
    WITH_MODEL,
    packed,
    signed,
)

DESCRIBED = encode_custom("meshnode", metadata.encode(MANIFEST))
DELIMITER = encode_custom("signature_delimiter", delimiter_of(metadata.encode(MANIFEST)))


def test_the_parts_of_a_module_are_found() -> None:
    module = read_module(signed())
    assert replace(module.head.manifest, models=()) == WITH_MODEL
    assert module.head.publisher == PUBLISHER.public_key
    assert module.head.signature is not None
    assert [s.name or s.id for s in module.guest] == [1, 2, 3, 10, "name"]
    assert {name: bytes(data) for name, data in module.weights.items()} == WEIGHTS


def test_the_head_alone_is_enough_to_know_a_module() -> None:
    head = head_of(signed())
    assert read_head(head) == read_head(signed())
    assert head == head_of(head)
    assert len(head) < 800


def test_an_unsigned_module_names_nobody() -> None:
    head = read_head(packed())
    assert (head.signature, head.publisher) == (None, None)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (HEADER + DELIMITER + DESCRIBED, "not in order"),
        (HEADER + DESCRIBED + GUEST[8:], "not in order"),
        (HEADER + DESCRIBED + DESCRIBED + DELIMITER, "not in order"),
        (
            HEADER + encode_custom("signature", b"") + encode_custom("signature", b""),
            "not in order",
        ),
        (HEADER + encode_custom("meshnode.x", b""), "not in order"),
        (HEADER + DESCRIBED + encode_custom("signature_delimiter", bytes(16)), "does not belong"),
        (HEADER + DESCRIBED + encode_custom("signature_delimiter", b""), "does not belong"),
        (
            HEADER + encode_custom("meshnode.publisher", b"short") + DESCRIBED + DELIMITER,
            "key has 5 bytes",
        ),
        (HEADER + b"\x00\x8b\x80\x00\x09signature" + b"x" + DESCRIBED + DELIMITER, "padded"),
        (HEADER + encode_custom("signature", bytes(70_000)), "exceeds"),
    ],
)
def test_a_head_out_of_order_is_refused(module: bytes, reason: str) -> None:
    with pytest.raises(MalformedModule, match=reason):
        read_head(module)


@pytest.mark.parametrize("module", [GUEST, HEADER, HEADER + encode_custom("name", b"")])
def test_a_module_without_metadata_is_told_to_be_packed(module: bytes) -> None:
    with pytest.raises(BadMetadata) as caught:
        read_head(module)
    assert caught.value.try_ == "meshnode pack"


WEIGHT = encode_custom("meshnode.weights.model", WEIGHTS["model"])


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (packed() + DESCRIBED, "section meshnode is in the wrong place"),
        (packed() + encode_custom("signature", b""), "signature is in the wrong place"),
        (packed() + encode_custom("meshnode.new", b""), "meshnode.new is in the wrong place"),
        (packed() + encode_custom("other", b""), "after embedded weights"),
        (packed() + WEIGHT, "two sections"),
        (packed(embed=False) + WEIGHT, "differ: model"),
        (packed()[: -len(WEIGHT)], "differ: model"),
        (packed()[:-1] + b"x", "not what the manifest names"),
    ],
)
def test_weights_and_manifest_must_agree(module: bytes, reason: str) -> None:
    with pytest.raises(MalformedModule, match=reason):
        read_module(module)


def test_a_module_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MODULE_BYTES_MAX", 100)
    with pytest.raises(TooLarge):
        read_module(packed())


def test_names_that_belong_to_packing_are_known() -> None:
    assert all(map(is_reserved, ("signature", "signature_delimiter", "meshnode", "meshnode.x")))
    assert not any(map(is_reserved, ("", "name", "meshnodes", "signatures", "producers")))
