"""One call that sets up logging: human lines, JSON lines, or bare lines for a journal."""

import json
import logging
import sys
from typing import Literal

LogFormat = Literal["human", "json", "journal"]


def setup(*, form: LogFormat, level: str) -> None:
    """Configure the package's logger to write to stderr. Called once, by the command line."""
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        handler.setFormatter(_JsonLines())
    elif form == "journal":
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    else:
        human = logging.Formatter("%(asctime)s %(levelname).1s %(message)s", "%H:%M:%S")
        handler.setFormatter(human)
    root = logging.getLogger("meshnode")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False


class _JsonLines(logging.Formatter):
    """One JSON object a line, for collectors."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
