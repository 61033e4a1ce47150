"""What happened lately, for `pynet events` and the log."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from netplug.clock import Clock

log = logging.getLogger(__name__)

_KEPT = 1000  # events; some 300 KB
_QUEUED = 1000  # events a slow reader may lag behind before it loses some


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change of the world, in a sentence."""

    at: datetime
    kind: str
    message: str
    network: str = ""
    endpoint: str = ""


class Journal:
    """Keeps the last events in memory and hands new ones to whoever listens."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._events: deque[Event] = deque(maxlen=_KEPT)
        self._listeners: set[asyncio.Queue[Event | None]] = set()

    def note(self, kind: str, message: str, *, network: str = "", endpoint: str = "") -> None:
        """Record an event and log it; a listener that lags too far behind loses its oldest."""
        event = Event(
            at=self._clock.now(), kind=kind, message=message, network=network, endpoint=endpoint
        )
        self._events.append(event)
        log.info(message, extra={"event": kind})
        self._tell(event)

    def close(self) -> None:
        """Tell every listener that nothing follows."""
        self._tell(None)

    def past(self) -> tuple[Event, ...]:
        """Return what is remembered, oldest first."""
        return tuple(self._events)

    @contextmanager
    def listen(self) -> Iterator[asyncio.Queue[Event | None]]:
        """Receive every later event for the duration of the context; `None` is the end."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(_QUEUED)
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)

    def _tell(self, event: Event | None) -> None:
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)
