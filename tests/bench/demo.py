"""How long `meshnode demo` takes, and each of its acts."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from time import perf_counter

from meshnode.bench.rows import Row

DEMO_S_MAX = 120


def rows() -> Iterator[Row]:
    """Yield the wall time of a whole and of a fast demo."""
    for what, arguments in (("meshnode demo", ()), ("meshnode demo --fast", ("--fast",))):
        with tempfile.TemporaryDirectory(prefix="meshnode-bench-") as elsewhere:
            started = perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "meshnode", "demo", "--json", *arguments],
                capture_output=True,
                text=True,
                timeout=DEMO_S_MAX,
                cwd=elsewhere,
                env={**os.environ, "TMPDIR": elsewhere},  # the logs of a failed demo go too
                check=False,
            )
            took_s = perf_counter() - started
        if done.returncode:
            raise RuntimeError(f"{what} exited {done.returncode}: {done.stdout}{done.stderr}")
        acts = "  ".join(f"{a['name']} {a['s']:.1f}" for a in json.loads(done.stdout)["acts"])
        yield Row(what=what, unit="s", samples=[took_s], note=acts)
