"""How a failure is shown: what failed with its code, what was observed, what to try."""

import json
import os
import sys

from meshnode.errors import MeshnodeError, MissingPart
from meshnode.wire.control import VERSION, error_fields

INTERRUPTED = 130
CODE_COLUMN_MAX = 100
WIDTH = 80
"""Where stderr is not a terminal."""


def report(error: BaseException, *, as_json: bool, debug: bool) -> int:
    """Print an error and return the exit status it stands for.

    For people it goes to stderr; with --json the object goes to stdout, where a script reads.
    """
    cause = unwrap(error)
    if debug:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    if isinstance(cause, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(cause, ModuleNotFoundError):
        cause = MissingPart(
            f"this needs the Python package '{cause.name}', which is not installed here",
            try_="pip install --force-reinstall meshnode",
        )
    if not isinstance(cause, MeshnodeError):
        cause = MeshnodeError(
            f"internal error: {type(cause).__name__}: {cause}",
            because=["this is a bug in meshnode"],
            try_="" if debug else "the same command with --debug shows where it happened",
        )
    if as_json:
        fields = {**error_fields(cause), "because": facts(cause), "exit": cause.exit_status}
        print(json.dumps({"v": VERSION, "error": fields}))
    else:
        print(render(cause, _width()), file=sys.stderr)
    return cause.exit_status


def render(error: MeshnodeError, width: int) -> str:
    """Return the lines for people, the code at the right of the first one if it fits."""
    first = f"meshnode: {error.message}"
    gap = max(2, width - len(first) - len(error.code))
    lines = [f"{first}{' ' * gap}{error.code}"]
    for index, fact in enumerate(facts(error)):
        lines.append(f"  {'because' if index == 0 else '':<8}{fact}")
    for index, line in enumerate(error.try_.splitlines()):
        lines.append(f"  {'try' if index == 0 else '':<8}{line}")
    if error.retry_after_ms is not None:
        again = f"again in {error.retry_after_ms / 1000:.3g} s"
        lines.append(f"  {'' if error.try_ else 'try':<8}{again}")
    return "\n".join(line.rstrip() for line in lines)


def facts(error: MeshnodeError) -> list[str]:
    """Return what was observed; an error without particulars says what its class stands for."""
    if error.because or error.try_:
        return list(error.because)
    return [" ".join((error.__doc__ or "").split())]


def unwrap(error: BaseException) -> BaseException:
    """Return the one failure inside nested groups that says most.

    Nurseries wrap what their tasks raise; a bug among several failures wins, because the others
    may be its consequences.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [unwrap(inner) for inner in error.exceptions]
    for kind in (KeyboardInterrupt, MeshnodeError):
        if all(isinstance(leaf, kind | MeshnodeError) for leaf in leaves):
            return next((leaf for leaf in leaves if isinstance(leaf, kind)), leaves[0])
    return next(leaf for leaf in leaves if not isinstance(leaf, MeshnodeError))


def _width() -> int:
    try:
        return min(os.get_terminal_size(sys.stderr.fileno()).columns, CODE_COLUMN_MAX)
    except (OSError, ValueError):
        return WIDTH
