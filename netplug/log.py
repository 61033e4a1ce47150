"""Logging: an event, its fields, and which request, network and endpoint it belongs to.

    logger = logging.getLogger(__name__)

    with log.context(request_id="7f3a", network_id=network.id):
        logger.info("network created", extra={"pool": pool, "link": link})

A message is an event, always spelt the same; what varies is in `extra`. Fields of the context are
inherited by the tasks that are started inside it. Not here: what is worth a line.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from time import gmtime
from types import MappingProxyType
from typing import TextIO

from netplug.settings import Settings

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_context: ContextVar[Mapping[str, str]] = ContextVar("log_context", default=MappingProxyType({}))

# At DEBUG these log every netlink message and every poll.
_CHATTY = ("asyncio", "pyroute2")

_EVENT_WIDTH = 32
_LEVEL_WIDTH = len("CRITICAL")
_RESET = "\x1b[0m"
_COLOURS = {logging.DEBUG: "\x1b[2m", logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m"}


@contextmanager
def context(*, request_id: str = "", network_id: str = "", endpoint_id: str = "") -> Iterator[None]:
    """Add these ids to every line logged inside, also by tasks started there."""
    given = {"request_id": request_id, "network_id": network_id, "endpoint_id": endpoint_id}
    token = _context.set({**_context.get(), **{k: v for k, v in given.items() if v}})
    try:
        yield
    finally:
        _context.reset(token)


def set_up(settings: Settings, stream: TextIO) -> None:
    """Send everything from the level of `settings` up to `stream`, and nowhere else."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        JsonFormatter()
        if settings.log_format == "json"
        else ConsoleFormatter(has_colour=stream.isatty())
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for library in _CHATTY:
        logging.getLogger(library).setLevel(max(logging.INFO, root.level))


class _UtcFormatter(logging.Formatter):
    """Writes a record's time as RFC 3339 in UTC, with milliseconds."""

    converter = staticmethod(gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def trace(self, record: logging.LogRecord) -> str:
        """Return the traceback and stack of `record`; "" if it has none."""
        parts = []
        if record.exc_info:
            parts.append(self.formatException(record.exc_info))
        if record.stack_info:
            parts.append(self.formatStack(record.stack_info))
        return "\n".join(parts)


class JsonFormatter(_UtcFormatter):
    """One JSON object a line: `at`, `level`, `logger`, `message`, `trace`, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return `record` as one line."""
        head = {
            "at": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if trace := self.trace(record):
            head["trace"] = trace
        # The head once more: a field called "level" does not take its place.
        line = head | _fields(record) | head
        return json.dumps(line, default=str, ensure_ascii=False)


class ConsoleFormatter(_UtcFormatter):
    """One aligned line for people: time, level, event, `key=value` fields; traces below."""

    def __init__(self, *, has_colour: bool) -> None:
        super().__init__()
        self._colours = _COLOURS if has_colour else {}

    def format(self, record: logging.LogRecord) -> str:
        """Return `record` as a line, and its trace as more lines."""
        level = f"{record.levelname:<{_LEVEL_WIDTH}}"
        if colour := self._colours.get(record.levelno):
            level = f"{colour}{level}{_RESET}"
        fields = " ".join(f"{key}={_plain(value)}" for key, value in _fields(record).items())
        line = f"{self.formatTime(record)} {level} {record.getMessage():<{_EVENT_WIDTH}} {fields}"
        return "\n".join(part for part in (line.rstrip(), self.trace(record)) if part)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    return {**_context.get(), **extra}


def _plain(value: object) -> str:
    """Return `value` bare where that can be read in one way only, else as a JSON string."""
    text = str(value)
    is_bare = text.isprintable() and text and not set(text) & set(' "=')
    return text if is_bare else json.dumps(text, ensure_ascii=False)
