"""Models whose bytes a guest brings itself: `load` of wasi-nn, within a quota for each instance."""

from collections.abc import Collection
from contextlib import ExitStack
from hashlib import sha256

from meshnode.ids import ContentHash
from meshnode.modules.manifest import ModelRef
from meshnode.runtime.sessions import ModelSession, SessionCache


class Loader:
    """Opens such models as every other is opened, and gives them back when it is closed."""

    def __init__(
        self, sessions: SessionCache, *, bytes_max: int, encodings: Collection[int]
    ) -> None:
        self._sessions = sessions
        self._held = ExitStack()
        self.encodings = encodings
        """The numbers that may stand for ONNX."""
        self.bytes_left = bytes_max
        """What further models may have together."""

    def open(self, model: bytes) -> ModelSession:
        """Return a session for a model within `bytes_left`.

        Raises UnreadableModel or ModelFailed; a model that was refused counts too, since looking
        at it took time.
        """
        self.bytes_left -= len(model)
        digest = ContentHash(sha256(model).digest())
        ref = ModelRef(name="loaded", sha256=digest, size=len(model), embedded=False)
        session = self._sessions.acquire(ref, model)
        self._held.callback(self._sessions.release, digest)
        return session

    def close(self) -> None:
        """Let go of them. Twice is harmless."""
        self._held.close()
