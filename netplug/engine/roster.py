"""Tells followers of every container: what the events say at once, the rest as soon as listed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from netplug.contract.engine import ContainerFollower, Engine, EngineEvent
from netplug.errors import EngineUnreachable

# The ids are in the request's own line; beyond that all are listed.
_MOST_IDS = 100

log = logging.getLogger(__name__)


class Roster:
    """Lists containers beside whoever reads the events, one listing at a time."""

    def __init__(self, engine: Engine, *followers: ContainerFollower) -> None:
        self._engine = engine
        self._followers = followers
        self._wanted: set[str] = set()
        self._wants_all = False
        self._heard: set[str] = set()
        self._worker: asyncio.Task[None] | None = None

    def heard(self, event: EngineEvent) -> None:
        """Pass an event on; list a container of which it does not say enough."""
        if event.kind == "container":
            self._heard.add(event.id)
        if wanted := {follower.heard(event) for follower in self._followers} - {""}:
            self._wanted |= wanted
            self._start()

    def list_all(self) -> None:
        """List everything."""
        self._wants_all = True
        self._start()

    def lost(self, retry: Callable[[], None]) -> None:
        """Tell that the engine does not answer."""
        for follower in self._followers:
            follower.lost(retry)

    async def close(self) -> None:
        """Ask no more."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        self._wanted.clear()

    def _start(self) -> None:
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())

    async def _work(self) -> None:
        try:
            while self._wants_all or self._wanted:
                await self._list()
        except EngineUnreachable as error:
            log.debug("containers not listed", extra={"reason": str(error)})

    async def _list(self) -> None:
        """List what is wanted; what an event was about meanwhile is listed again."""
        is_all = self._wants_all or len(self._wanted) > _MOST_IDS
        ids = () if is_all else tuple(self._wanted)
        self._wanted, self._wants_all, self._heard = set(), False, set()
        found = await self._engine.containers(ids)
        certain = [container for container in found if container.id not in self._heard]
        self._wanted |= {container.id for container in found} & self._heard
        besides = frozenset(self._heard) if is_all else None
        for follower in self._followers:
            follower.listed(certain, besides=besides)
