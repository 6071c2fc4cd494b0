"""Logs that can be searched and shown around: JSON lines, no secrets, no user text.

An exception is logged by its type and where it was raised, without its message: messages of
parsers and encoders quote what they choked on.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import IO

from router.keys.ring import PREFIX

HIDDEN = "[hidden]"
FIELDS = (
    "request_id", "task", "bundle", "method", "path", "status", "duration_ms", "route", "reason",
    "body_bytes",
)  # fmt: skip
"""What a log call may say with `extra`, where it is known."""
_MIN_SECRET_CHARS = 6
_LOOKS_SECRET = re.compile(
    rf"(?i)(?:\bbearer\s+\S+|\b(?:{re.escape(PREFIX)}|sk-)[A-Za-z0-9_-]{{8,}}|://[^\s/@]+:[^\s/@]+@)"
)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, what is known of the request.

    Of an exception its origin is written.

    Args:
        secrets: values that must never be written, wherever they turn up.
        worker: which worker of the router writes; None where there is one alone.
    """

    def __init__(self, secrets: Iterable[str] = (), worker: int | None = None) -> None:
        super().__init__()
        self._worker: dict[str, object] = {} if worker is None else {"worker": worker}
        known = sorted({s for s in secrets if len(s) >= _MIN_SECRET_CHARS}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; control characters are escaped, so that no message can forge one."""
        document: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._clean(record.getMessage()),
        } | self._worker
        for name in FIELDS:
            value = getattr(record, name, None)
            if value is not None:
                document[name] = self._clean(value) if isinstance(value, str) else value
        if record.exc_info and record.exc_info[1] is not None:
            document["exception"] = _origin(record.exc_info[1])
        return json.dumps(document)

    def _clean(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        return _LOOKS_SECRET.sub(HIDDEN, text)


def configure_logs(
    secrets: Iterable[str] = (),
    level: int = logging.INFO,
    stream: IO[str] | None = None,
    *,
    worker: int | None = None,
) -> None:
    """Send every log of this process, uvicorn's too, as JSON lines to `stream` (stderr)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(secrets, worker))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)


def _origin(error: BaseException) -> list[dict[str, object]]:
    """Where an exception and its causes were raised, innermost cause last."""
    chain: list[dict[str, object]] = []
    current: BaseException | None = error
    while current is not None and len(chain) < 5:
        frames = traceback.extract_tb(current.__traceback__)
        chain.append(
            {
                "type": type(current).__name__,
                "frames": [f"{f.filename}:{f.lineno} {f.name}" for f in frames[-12:]],
            }
        )
        current = current.__cause__ or (
            None if current.__suppress_context__ else current.__context__
        )
    return chain
