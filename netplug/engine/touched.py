"""What events named since it was last looked at: networks, containers, and if there were others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from netplug.contract.engine import EngineEvent
from netplug.engine.roster import Roster
from netplug.engine.starts import Starts
from netplug.model import NetworkId


class Touched:
    """Networks and containers that events named since they were last taken.

    Of networks of other drivers only that there was one. `last_ns` is the time of the last event.
    A container that starts is touched when it has started.
    """

    def __init__(self, driver: str, roster: Roster, starts: Starts) -> None:
        self._roster = roster
        self._starts = starts
        self.count = 0
        self.last_ns = 0
        self.has_new_network = False
        self.has_started = False
        self.containers: set[str] = set()
        self._driver = driver
        self._network_ids: set[NetworkId] = set()
        self._renamed: set[str] = set()
        self._has_others = False
        self._is_changed = False
        self._stirred = asyncio.Event()

    @property
    def has_events(self) -> bool:
        """Return whether an event named anything since it was last taken."""
        return bool(self._network_ids or self.containers or self._has_others)

    def wake(self) -> None:
        """Wake the waiter: something else is new."""
        self._is_changed = True
        self._stirred.set()

    async def collect(self, events: AsyncIterator[EngineEvent]) -> None:
        """Read until the stream breaks; that wakes the waiter too."""
        try:
            async for event in events:
                self.last_ns = max(self.last_ns, event.time_ns)
                self._roster.heard(event)
                self._add_due()
                self._stirred.set()
        finally:
            self.wake()

    async def within(self, deadline_s: float) -> bool:
        """Return whether something was touched before the deadline; not when that is past."""
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self._change()
                return deadline_s > 0
        return False

    async def _change(self) -> None:
        """Wait until something is touched, if need be because a start takes too long."""
        while not self._is_changed:
            self._stirred.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._starts.patience_s):
                    await self._stirred.wait()
            self._add_due()

    def take(self) -> tuple[set[NetworkId], set[str], set[str], bool]:
        """Return ids of networks, containers and those renamed, and if another network changed.

        Starts afresh.
        """
        taken = self._network_ids, self.containers, self._renamed, self._has_others
        self._network_ids, self.containers, self._renamed = set(), set(), set()
        self._has_others = self.has_new_network = self.has_started = False
        self._is_changed = False
        return taken

    def _add_due(self) -> None:
        for event in self._starts.take_due():
            self._add(event)

    def _add(self, event: EngineEvent) -> None:
        is_ours = event.attributes.get("type") == self._driver
        match event.kind, event.action:
            case "network", action if is_ours:
                self._network_ids.add(NetworkId(event.id))
                self.has_new_network |= action == "create"
                if action == "connect":
                    self.containers.add(event.attributes.get("container", ""))
            case "network", "create" | "destroy" | "remove":
                self._has_others = True
            case "container", "rename":
                self._renamed.add(event.id)
                self.containers.add(event.id)
            case "container", "start" | "update" as action:
                self.containers.add(event.id)
                self.has_started |= action == "start"
            case _:
                return
        self.count += 1
        self.wake()
