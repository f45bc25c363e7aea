"""Reads the test vectors that `docs/protocol-security.md` shows."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "protocol-security.md"


def text_of(box: str) -> str:
    """Return the text inside the box with this heading."""
    found = re.findall(rf"^```text {re.escape(box)}\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert len(found) == 1, f"the page has {len(found)} boxes '{box}'"
    return found[0]


def vector(name: str) -> dict[str, bytes]:
    """Return the values of a box `vector: NAME`."""
    fields: dict[str, bytes] = {}
    for entry in re.split(r"\n(?! )", text_of(f"vector: {name}").strip()):
        key, _, value = entry.partition("=")
        fields[key.strip()] = bytes.fromhex(value)
    return fields
