"""The command line keeps its promises: quick help, light verbs, every verb with a file."""

import subprocess
import sys
from pathlib import Path

import pytest

from meshnode.cli.main import VERBS, build_parser

ROOT = Path(__file__).parents[2]
HEAVY = ("trio", "numpy", "onnxruntime", "wasmtime", "nacl", "cbor2", "kademlia", "cryptography")
CLIENT_VERBS = (
    "invite",
    "predict",
    "peers",
    "modules",
    "status",
    "doctor",
    "trust",
    "revoke",
    "rotate",
    "stop",
    "version",
)


def imported_by(code: str) -> set[str]:
    """Return the packages a fresh interpreter has imported after running `code`."""
    script = f"{code}\nimport sys\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return {line.partition(".")[0] for line in done.stderr.splitlines()} | set(
        done.stderr.splitlines()
    )


def test_help_imports_no_verb_and_nothing_foreign() -> None:
    found = imported_by("from meshnode.cli.main import main; main(['--help'])")
    assert not found & {*HEAVY, "argparse", "meshnode.client.client", "meshnode.cli.predict"}


def test_client_verbs_import_nothing_heavy() -> None:
    verbs = "; ".join(f"import meshnode.cli.{VERBS[verb][0]}" for verb in CLIENT_VERBS)
    assert not imported_by(verbs) & set(HEAVY)
    assert not imported_by("import meshnode; meshnode.connect") & set(HEAVY)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_file_that_explains_itself(verb: str) -> None:
    text = build_parser(verb).parse_known_args([verb])[0] if verb == "version" else None
    assert text is None or text.run
    assert (ROOT / "meshnode" / "cli" / f"{VERBS[verb][0]}.py").exists()


def test_every_verb_is_in_the_manual() -> None:
    manual = (ROOT / "docs" / "operating.md").read_text()
    assert [verb for verb in VERBS if f"meshnode {verb}" not in manual] == []
