"""Writes `tests/vectors/*.json` and the hex blocks of `docs/protocol.md` from the examples.

Run by `just generate`; the difference is the review. A test compares both with the codec.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from textwrap import wrap

from meshnode.caps import Caps
from meshnode.ids import Contact
from meshnode.wire import codec, table
from tests.vectors import examples

FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[1] / "docs" / "protocol.md"
BLOCK = re.compile(r"(```text vector: (?P<name>[\w-]+)\n)[^`]*(```\n)")
HEX_COLUMNS = 96


def readable(value: object) -> object:
    """Return a message as JSON for people: bytes as hex, a contact as KEY@ADDRESS."""
    match value:
        case bytes():
            return value.hex()
        case Contact():
            return f"{value.public_key.hex()}@{value.address}"
        case Caps():
            return int(value)
        case tuple():
            return [readable(item) for item in value]
        case _ if is_dataclass(value):
            return {f.name: readable(getattr(value, f.name)) for f in fields(value)}
        case _:
            return value


def datagram_vector(envelope: codec.Envelope) -> dict[str, object]:
    """Return one datagram's vector."""
    message = envelope.message
    return {
        "message": type(message).__name__,
        "number": table.DATAGRAM_NUMBERS[type(message)],
        "envelope": {
            "network": envelope.network.hex(),
            "issued": envelope.issued.hex(),
            "returned": envelope.returned.hex(),
        },
        "fields": readable(message),
        "hex": codec.encode_datagram(envelope).hex(),
    }


def call_vector(message: object) -> dict[str, object]:
    """Return one call's vector: header and body apart, as they travel."""
    header, body = codec.encode_call(message)
    shown = readable(message)
    assert isinstance(shown, dict)
    shown.pop("body", None)
    return {
        "message": type(message).__name__,
        "number": table.CALL_NUMBERS[type(message)],
        "fields": shown,
        "hex": header.hex(),
        "body": b"".join(body).hex(),
    }


def families() -> dict[str, dict[str, object]]:
    """Return what each file holds."""
    found: dict[str, dict[str, object]] = {}
    for family, datagrams in examples.DATAGRAMS.items():
        found[family] = {name: datagram_vector(e) for name, e in datagrams.items()}
    for family, calls in examples.CALLS.items():
        found[family] = {name: call_vector(message) for name, message in calls.items()}
    found["lan"] = {name: {"hex": data.hex()} for name, data in examples.LAN.items()}
    found["refused"] = {
        "datagrams": {
            name: {"hex": data} for name, (data, _) in examples.REFUSED_DATAGRAMS.items()
        },
        "calls": {
            name: {"hex": header, "body": body}
            for name, (header, body, _) in examples.REFUSED_CALLS.items()
        },
    }
    return found


def as_json(family: Mapping[str, object]) -> str:
    """Return a file's text."""
    return json.dumps(family, indent=2, ensure_ascii=False) + "\n"


def block_of(vector: Mapping[str, object]) -> str:
    """Return the hex lines of a block on the page; a call's body follows after a `+` line."""
    lines = wrap(str(vector["hex"]), HEX_COLUMNS)
    if vector.get("body"):
        lines += ["+ body", *wrap(str(vector["body"]), HEX_COLUMNS)]
    return "".join(line + "\n" for line in lines)


def with_blocks(page: str) -> str:
    """Return the page with every block as it should be."""
    vectors = {name: v for family in families().values() for name, v in family.items()}

    def replaced(found: re.Match[str]) -> str:
        vector = vectors[found["name"]]
        assert isinstance(vector, dict)
        return found[1] + block_of(vector) + found[3]

    return BLOCK.sub(replaced, page)


def main() -> None:
    """Write all files."""
    for family, vectors in families().items():
        (FOLDER / f"{family}.json").write_text(as_json(vectors), encoding="utf-8")
    PAGE.write_text(with_blocks(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
