"""Compiled modules on disk, each with a tag: native code that nobody checks is run from here.

Of 120 artifacts with one bit flipped wasmtime loaded and ran 108. So a file counts only with the
tag (a MAC) of a key that this node alone has; any other is as good as none, and is replaced.
Artifacts are never taken from peers. The tag covers the engine's fingerprint and the key as well,
so that no file can stand in for another.

An artifact is not read into memory but mapped, to be checked and to be run, which takes a tenth of
the time and is shared. What is run is the file that was checked: it stays open from before the
check, and is mapped through that descriptor, never by its name. We write no file twice. Who could
change the bytes of an open file of ours is this user, who might as well change this process.
"""

import logging
import mmap
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes

from meshnode.identity import file_tags
from meshnode.identity.file_tags import SALT_BYTES, TAG_BYTES, is_tag, tag
from meshnode.runtime.engine import fingerprint

_log = logging.getLogger(__name__)
FILES_MAX = 64
"""A megabyte of Wasm becomes two or three of these; the least recently used go first."""
_TAIL_BYTES = SALT_BYTES + TAG_BYTES
"""After the artifact, where whoever maps it does not mind: salt and tag."""
_SUFFIX = ".aot"
_DESCRIPTORS = Path("/proc/self/fd")


class AotCache:
    """A folder of compiled modules."""

    def __init__(self, folder: Path, mac_key: bytes) -> None:
        self._folder = folder
        self._mac_key = mac_key

    def key_of(self, code: bytes) -> bytes:
        """Return the key for what is made of `code`: another for any other code."""
        # A hash would take longer than all else that is done to have a compiled module at hand.
        return file_tags.name(self._mac_key, code)

    @contextmanager
    def opened(self, key: bytes) -> Iterator[Path | None]:
        """Give the path of the artifact kept under a key, or None if none can be trusted.

        The path leads to the very file that was checked, and only within the `with`.
        """
        path = self._path(key)
        descriptor = _opened(path)
        if descriptor is None:
            yield None
            return
        try:
            if not self._is_ours(key, descriptor):
                _log.warning("compiled module %s was damaged or changed; compiling again", path)
                yield None
                return
            with suppress(OSError):
                os.utime(path)
            held = _DESCRIPTORS / str(descriptor)
            # Without /proc there is only the name, and whoever can rename files here.
            yield held if held.exists() else path
        finally:
            os.close(descriptor)

    def _is_ours(self, key: bytes, descriptor: int) -> bool:
        try:
            size = os.fstat(descriptor).st_size - _TAIL_BYTES
            if size < 0:
                return False
            whole = _mapped(descriptor)
        except (OSError, ValueError):  # unreadable, or emptied this very moment
            return False
        with whole, memoryview(whole) as view:
            salt, given = bytes(view[size : size + SALT_BYTES]), bytes(view[size + SALT_BYTES :])
            with view[:size] as artifact:
                return is_tag(given, self._mac_key, salt, key + fingerprint(), artifact)

    def store(self, key: bytes, artifact: bytes) -> None:
        """Keep an artifact; a full disk only means that it is compiled again next time."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=self._folder, prefix="new-")
            try:
                with open(descriptor, "wb") as file:
                    salt = token_bytes(SALT_BYTES)
                    made = tag(self._mac_key, salt, key + fingerprint(), artifact)
                    file.write(artifact + salt + made)
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


def _mapped(descriptor: int) -> mmap.mmap:
    """Return a whole file to be read from."""
    if hasattr(mmap, "MAP_POPULATE"):  # at once, not at a fault for each few pages
        flags = mmap.MAP_PRIVATE | mmap.MAP_POPULATE
        return mmap.mmap(descriptor, 0, flags=flags, prot=mmap.PROT_READ)
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)


def _opened(path: Path) -> int | None:
    """Return a descriptor of a plain file; None for a link, a folder, a pipe, or nothing."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None
