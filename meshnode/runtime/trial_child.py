"""`python -m meshnode.runtime.trial_child`: tries one module out, as it is told on stdin.

A process of its own, with rlimits: whoever tries a file out does not trust it yet, and neither a
model that takes all memory nor one operator that runs for ever may reach the machine, or the one
who asked. What is said and answered is in `trial_apart`.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, TextIO

from meshnode.caps import Caps
from meshnode.errors import MeshnodeError
from meshnode.modules.layout import read_module
from meshnode.runtime import rlimits
from meshnode.runtime.trial import Examiner
from meshnode.wire.control import error_fields


def main() -> int:
    """Try the module out; see above."""
    # What onnxruntime or a driver prints must not get between our lines.
    with os.fdopen(os.dup(1), "w", encoding="ascii") as out:
        os.dup2(2, 1)
        _examine(sys.stdin.buffer, out)
    return 0


def _examine(given: BinaryIO, out: TextIO) -> None:
    about = json.loads(given.readline())
    rlimits.lower(about["limits"])
    wasm = given.read(about["wasm"])
    models = {name: given.read(size) for name, size in about["models"]}

    def progress(done: int, of: int) -> None:
        _say(out, {"progress": [done, of]})

    try:
        examiner = Examiner(
            wasm,
            read_module(wasm).head.manifest,
            models,
            caps=Caps(about["caps"]),
            folder=Path(about["folder"]),
        )
        trial = examiner.run(**about["hard"], progress=progress)
    except MeshnodeError as error:
        _say(out, {"error": error_fields(error)})
        return
    found = {**asdict(trial), "failures": [error_fields(error) for error in trial.failures]}
    _say(out, {"trial": found})


def _say(out: TextIO, fact: dict[str, object]) -> None:
    out.write(json.dumps(fact) + "\n")
    out.flush()


if __name__ == "__main__":
    sys.exit(main())
