"""Compiled modules on disk, each with a MAC: native code that nobody checks is run from here.

Of 120 artifacts with one bit flipped wasmtime loaded and ran 108. So a file counts only with the
HMAC-SHA256 of a key that this node alone has; any other is as good as none, and is replaced.
Artifacts are never taken from peers. The MAC covers the engine's fingerprint and the key as well,
so that no file can stand in for another.
"""

import hmac
import logging
import os
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from meshnode.runtime.engine import fingerprint

_log = logging.getLogger(__name__)
FILES_MAX = 64
"""A megabyte of Wasm becomes two or three of these; the least recently used go first."""
_MAC_BYTES = 32
_SUFFIX = ".aot"


class AotCache:
    """A folder of compiled modules."""

    def __init__(self, folder: Path, mac_key: bytes) -> None:
        self._folder = folder
        self._mac_key = mac_key

    def load(self, key: bytes) -> bytes | None:
        """Return the artifact kept under a key, or None if there is none that can be trusted."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        artifact = data[_MAC_BYTES:]
        if not hmac.compare_digest(data[:_MAC_BYTES], self._mac(key, artifact)):
            _log.warning("compiled module %s was damaged or changed; compiling again", path.name)
            return None
        with suppress(OSError):
            os.utime(path)
        return artifact

    def store(self, key: bytes, artifact: bytes) -> None:
        """Keep an artifact; a full disk only means that it is compiled again next time."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=self._folder, prefix="new-")
            try:
                with open(descriptor, "wb") as file:
                    file.write(self._mac(key, artifact) + artifact)
                os.replace(temporary, self._path(key))
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
            self._prune()
        except OSError as error:
            _log.warning("a compiled module is not kept: %s", error)

    def _prune(self) -> None:
        files = sorted(self._folder.glob(f"*{_SUFFIX}"), key=lambda p: p.stat().st_mtime)
        for path in files[:-FILES_MAX]:
            path.unlink(missing_ok=True)

    def _path(self, key: bytes) -> Path:
        return self._folder / (sha256(key + fingerprint()).hexdigest()[:40] + _SUFFIX)

    def _mac(self, key: bytes, artifact: bytes) -> bytes:
        return hmac.new(self._mac_key, key + fingerprint() + artifact, sha256).digest()
