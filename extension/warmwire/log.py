"""Logging: one event, one line on stdout, flushed at once (a frozen process keeps its buffer).

In Lambda the lines are JSON with the keys that Lambda's own runtimes use (``timestamp`` in RFC 3339 and ``level`` make
CloudWatch's level filter work); elsewhere they are plain text. Never logged: passwords, SQL text, row data.
"""

import json
import logging
import sys
import time

_LEVEL_NAMES = {"WARNING": "WARN", "CRITICAL": "FATAL"}
_EXTRA = ("requestId", "upstream", "reason", "seconds")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, object] = {
            "timestamp": f"{seconds}.{int(record.msecs):03d}Z",
            "level": _LEVEL_NAMES.get(record.levelname, record.levelname),
            "message": record.getMessage(),
            "logger": record.name,
        }
        for name in _EXTRA:
            if name in record.__dict__:
                entry[name] = record.__dict__[name]
        if record.exc_info:
            entry["stackTrace"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class _TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")


def configure(level: str, *, as_json: bool) -> logging.Logger:
    """Send the ``warmwire`` loggers to stdout.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        as_json: one JSON object a line, as under Lambda; otherwise text.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JsonFormatter() if as_json else _TextFormatter())
    logger = logging.getLogger("warmwire")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())
    return logger
