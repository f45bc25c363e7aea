"""Writes what docs can take from the code: `python -m tests.house.write_docs`.

`docs/errors.md` is written whole; in `docs/operating.md` the table of settings between its two
marks. `test_reference.py` fails when either is not what this would write.
"""

from itertools import groupby
from pathlib import Path

from meshnode.config.settings import keys
from meshnode.errors import BY_CODE

DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"
RANGES = {
    "0": "Environment",
    "1": "Network and join",
    "2": "Trust",
    "3": "Input",
    "4": "Module run",
    "5": "Placement",
    "6": "Store",
    "7": "Configuration",
}


def errors_page() -> str:
    """Return `docs/errors.md`: every code with what it means and what it becomes at each door."""
    lines = [
        "# Errors",
        "",
        "Written from `meshnode/errors/` by `python -m tests.house.write_docs`. A code means the",
        "same at every door: the command line ends with the exit status, HTTP answers with the",
        "status, Python raises the class. *Elsewhere* says whether the node that placed a request",
        "tries another node.",
    ]
    for digit, codes in groupby(sorted(BY_CODE), key=lambda code: code[3]):
        lines += ["", f"## {digit}xx {RANGES[digit]}", ""]
        lines += [
            "| code | class | exit | HTTP | elsewhere | meaning |",
            "|---|---|---|---|---|---|",
        ]
        for code in codes:
            kind = BY_CODE[code]
            meaning = " ".join((kind.__doc__ or "").split())
            elsewhere = "yes" if kind.retry_elsewhere else ""
            lines.append(
                f"| {code} | `{kind.__name__}` | {kind.exit_status} | {kind.http_status} "
                f"| {elsewhere} | {meaning} |"
            )
    return "\n".join(lines) + "\n"


def settings_table() -> str:
    """Return the table of every key, its default, what it may be and what it does."""
    lines = ["| key | default | may be | meaning |", "|---|---|---|---|"]
    for key in keys():
        allowed = key.kind.allowed.replace("|", "\\|")
        lines.append(f"| `{key.dotted}` | `{key.default}` | {allowed} | {key.meaning} |")
    return "\n".join(lines) + "\n"


def with_settings(page: str) -> str:
    """Return the page with the table between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{settings_table()}{END}{after}"


def main() -> None:
    """Write both."""
    (DOCS / "errors.md").write_text(errors_page())
    manual = DOCS / "operating.md"
    manual.write_text(with_settings(manual.read_text()))


if __name__ == "__main__":
    main()
