"""Holds back what is told of a container that starts: nothing is learnt of it before it runs.

dockerd connects a container to its networks, then has its process made, then tells of the start.
It holds the lock of the container all the while, so that an inspection waits for the end, and its
CPU is what a start needs. A start that fails disconnects what it connected; one that is connected
while it does not run is connected by its next start, and nothing is told before.

Source: moby daemon/start.go, container_operations.go; the same from 20.10 to 29.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from netplug.clock import Clock
from netplug.contract.engine import EngineEvent, ListedContainer

# Twenty starts at once on two cores take 2.5 s each. dockerd drops the events of a slow reader.
_PATIENCE_S = 10.0


@dataclass(slots=True, kw_only=True)
class _Start:
    """The connections of one container, and when the first of them was heard of."""

    since_s: float
    connections: list[EngineEvent] = field(default_factory=list)


class Starts:
    """Passes events on, those of a start when it is over; fulfils `ContainerFollower`.

    A container starts when it is connected while it is known not to run. One of which that is not
    known is taken for running.
    """

    def __init__(self, driver: str, clock: Clock) -> None:
        self._driver = driver
        self._clock = clock
        self._at_rest: set[str] = set()
        self._starts: dict[str, _Start] = {}
        self._due: list[EngineEvent] = []

    @property
    def under_way(self) -> Collection[str]:
        """Return the ids of the containers that start."""
        return self._starts.keys()

    @property
    def patience_s(self) -> float | None:
        """Return for how long all starts are still waited for; None if none is under way."""
        if not self._starts:
            return None
        first_s = min(start.since_s for start in self._starts.values())
        return first_s + _PATIENCE_S - self._clock.monotonic_s()

    def take_due(self) -> list[EngineEvent]:
        """Return the events whose time has come since the last call."""
        late_s = self._clock.monotonic_s() - _PATIENCE_S
        for container_id in [c for c, start in self._starts.items() if start.since_s <= late_s]:
            self._at_rest.discard(container_id)
            self._over(container_id)
        due, self._due = self._due, []
        return due

    def heard(self, event: EngineEvent) -> str:
        """Take in an event; nothing needs to be listed."""
        match event.kind, event.action:
            case "network", "connect" if self._is_of_start(event):
                container_id = event.attributes["container"]
                start = _Start(since_s=self._clock.monotonic_s())
                self._starts.setdefault(container_id, start).connections.append(event)
                return ""
            case "network", "disconnect":
                self._over(event.attributes.get("container", ""))
            case "container", "create" | "die":
                self._at_rest.add(event.id)
                self._over(event.id)
            case "container", "start" | "destroy":
                self._at_rest.discard(event.id)
                self._over(event.id)
            case _:
                pass
        self._due.append(event)
        return ""

    def listed(
        self, containers: Sequence[ListedContainer], *, besides: frozenset[str] | None
    ) -> None:
        """Take in a listing."""
        if besides is not None:
            self._at_rest &= besides
        self._at_rest -= {c.id for c in containers if c.is_running}
        self._at_rest |= {c.id for c in containers if not c.is_running}

    def lost(self, retry: Callable[[], None]) -> None:
        """Forget everything: all is listed again."""
        del retry
        self._at_rest.clear()
        self._starts.clear()
        self._due.clear()

    def _is_of_start(self, event: EngineEvent) -> bool:
        is_ours = event.attributes.get("type") == self._driver
        return is_ours and event.attributes.get("container", "") in self._at_rest

    def _over(self, container_id: str) -> None:
        if start := self._starts.pop(container_id, None):
            self._due += start.connections
