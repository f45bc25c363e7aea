"""Errors as replies, and replies as errors: what of a failure crosses the wire."""

import logging

from meshnode import errors
from meshnode.errors import MeshnodeError
from meshnode.ids import NodeTag
from meshnode.wire.limits import TEXT_CHARS_MAX
from meshnode.wire.messages import Failure, LoadRecord

_log = logging.getLogger(__name__)
BECAUSE_LINES_MAX = 16


def failure_of(error: Exception) -> Failure:
    """Return the reply for what a handler raised.

    Only errors of the house cross the wire; anything else is a bug of this node, is logged here,
    and shows the peer nothing of our insides.
    """
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if not isinstance(error, MeshnodeError):
        _log.error("a call failed inside this node", exc_info=error)
        return Failure(code=MeshnodeError.code, message="internal error")
    load = error.load
    return Failure(
        code=error.code,
        message=error.message[:TEXT_CHARS_MAX],
        because=tuple(line[:TEXT_CHARS_MAX] for line in error.because[:BECAUSE_LINES_MAX]),
        try_=error.try_[:TEXT_CHARS_MAX],
        load=load if isinstance(load, LoadRecord) else None,
        instead=None if error.instead is None else NodeTag(error.instead),
        retry_after_ms=error.retry_after_ms,
    )


def error_of(failure: Failure) -> MeshnodeError:
    """Return the error that a Failure reports, with the failing node's load attached."""
    error = errors.from_wire(failure.code, failure.message, failure.because, failure.try_)
    error.load = failure.load
    error.instead = failure.instead
    error.retry_after_ms = failure.retry_after_ms
    return error
