"""A folder for what a fuzzer or a benchmark keeps while its process lives."""

import atexit
import shutil
import tempfile
from pathlib import Path


def scratch(name: str) -> Path:
    """Return a new folder that goes with the process."""
    folder = tempfile.mkdtemp(prefix=f"meshnode-{name}-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
