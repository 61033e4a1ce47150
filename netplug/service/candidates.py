"""Who is about to start: before Engine 29 a request for an address does not say for whom it is.

dockerd publishes a container's creation before it answers the request to create it, and so before
anybody can start it; its end it publishes before it gives the addresses back. Nothing is published
when a container is told to start, nor when one that is stopped is connected to a network.

Source: moby 20.10 daemon/create.go, monitor.go, start.go, container_operations.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf

from netplug.clock import Clock
from netplug.contract.engine import EngineEvent, ListedContainer, ListedPlace
from netplug.model import IPAddress, Network, NetworkId, Pool, PoolId
from netplug.service.who import replica_labelled

_FRESH_S = 10.0  # `docker run` takes a few ms from create to start; a stop and start by hand longer
_WAIT_S, _WAIT_AT_START_S, _HOPELESS_S = 0.05, 0.5, 1.0
# What dockerd sent before it called us is in our socket: a turn to read it, one to decode it, one
# to have the listing that it makes necessary under way.
_TURNS = 3
_SHORT_ID_LENGTH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A container that may be the one that asks; `service` is its replica's, or empty."""

    id: str
    name: str
    service: str


@dataclass(slots=True, kw_only=True)
class _Container:
    """`places` is None until it was listed, and no longer sure once it was connected elsewhere.

    Times are those at which events were heard. While that is not long ago, listings are not
    believed on whether it runs: they show it running until all of its end is over.
    """

    name: str
    service: str
    places: tuple[ListedPlace, ...] | None = None
    is_sure: bool = False
    is_running: bool = False
    has_started: bool = False
    created_s: float = -inf
    died_s: float = -inf
    heard_s: float = -inf
    granted: dict[PoolId, IPAddress] = field(default_factory=dict)


class Candidates:
    """Follows all containers of the engine; fulfils `contract.engine.ContainerFollower`."""

    def __init__(self, clock: Clock, *, has_engine: bool = True) -> None:
        self.has_engine = has_engine
        self._clock = clock
        self._containers: dict[str, _Container] = {}
        self._resting: dict[str, _Container] = {}
        self._unlisted: set[str] = set()
        self._network_names: dict[NetworkId, str] = {}
        self._is_followed = False
        self._retry: Callable[[], None] | None = None
        self._news = asyncio.Event()
        self._patience_s = _WAIT_AT_START_S
        self._hopeless_until_s = -inf

    def heard(self, event: EngineEvent) -> str:
        """Take in an event; return the id of a container whose networks it leaves open."""
        match event.kind, event.action:
            case "network", "create":
                self._network_names[NetworkId(event.id)] = event.attributes.get("name", "")
            case "network", "destroy" | "remove":
                self._network_names.pop(NetworkId(event.id), None)
            case "network", "connect" | "disconnect":
                return self._moved(event)
            case "container", "destroy":
                self._forget(event.id)
            case "container", "create" | "start" | "die" | "rename":
                return self._lived(event)
            case _:
                pass
        return ""

    def listed(
        self, containers: Sequence[ListedContainer], *, besides: frozenset[str] | None
    ) -> None:
        """Take in a listing."""
        for listed in containers:
            known = self._containers.setdefault(listed.id, _Container(name="", service=""))
            known.name, known.service = listed.name, replica_labelled(listed.labels)
            known.places, known.is_sure = listed.places, True
            if known.heard_s < self._clock.monotonic_s() - _FRESH_S:
                known.has_started = listed.has_started
                self._run(listed.id, known, is_running=listed.is_running)
            self._unlisted.discard(listed.id)
        if besides is not None:
            for gone in self._containers.keys() - {c.id for c in containers} - besides:
                self._forget(gone)
            self._is_followed = True
        self._news.set()

    def lost(self, retry: Callable[[], None]) -> None:
        """Note that nothing is known of what comes next; what is known stays."""
        self._is_followed, self._retry = False, retry
        self._patience_s = _WAIT_S
        self._unlisted.clear()
        self._news.set()

    def replica_named(self, name: str) -> str:
        """Return which replica of a Compose service the container of that name is, or nothing."""
        return next((c.service for c in self._containers.values() if c.name == name), "")

    async def settle(self, *, may_wait: bool = True) -> bool:
        """Let what the engine has told arrive, for a moment at the most; return if it is followed.

        It is not while dockerd starts: it serves its API last, after the containers that it starts
        by itself. Those wait for each other, so that but few of them may wait for the engine.
        """
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        if self._is_followed:
            await self._listing(_WAIT_S)
        elif may_wait and self.has_engine:
            await self._return()
        return self._is_followed

    async def _return(self) -> None:
        """Wait for the engine to be followed, unless somebody did so in vain a moment ago."""
        if self._retry is not None:
            self._retry()
        if self._clock.monotonic_s() < self._hopeless_until_s:
            return
        await self._listing(self._patience_s)
        if not self._is_followed:
            self._patience_s = _WAIT_S
            self._hopeless_until_s = self._clock.monotonic_s() + _HOPELESS_S

    async def _listing(self, longest_s: float) -> None:
        """Wait for what is not listed yet."""
        with suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                while not self._is_followed or self._unlisted:
                    self._news.clear()
                    await self._news.wait()

    def of(self, network: Network, pool: Pool) -> tuple[Candidate, ...]:
        """Return those who may ask for any address of a pool; the likeliest only.

        That is whoever was just created, else whoever just died, else whoever does not run.
        """
        tiers: dict[int, list[Candidate]] = {}
        for container_id, container in self._asking(network, pool):
            found = Candidate(id=container_id, name=container.name, service=container.service)
            tiers.setdefault(self._tier(container), []).append(found)
        return tuple(tiers[min(tiers)]) if tiers else ()

    def granted(self, candidate: Candidate, pool_id: PoolId, address: IPAddress) -> None:
        """Note that a container has an address; until it dies it does not ask there again."""
        if (container := self._containers.get(candidate.id)) is not None:
            container.granted[pool_id] = address

    def released(self, pool_id: PoolId, address: IPAddress) -> None:
        """Note that an address was given back; its container may have failed to start."""
        for container in self._resting.values():
            if container.granted.get(pool_id) == address:
                del container.granted[pool_id]

    def _asking(self, network: Network, pool: Pool) -> Iterator[tuple[str, _Container]]:
        version = pool.network.version
        names = {network.name, self._network_names.get(network.id, "")} - {""}
        for container_id, container in self._resting.items():
            if pool.id not in container.granted and any(
                _is_on(place, network.id, names) and version not in place.fixed
                for place in container.places or ()
            ):
                yield container_id, container

    def _tier(self, container: _Container) -> int:
        since_s = self._clock.monotonic_s() - _FRESH_S
        if not container.has_started and container.created_s > since_s:
            return 1
        return 2 if container.died_s > since_s else 3

    def _moved(self, event: EngineEvent) -> str:
        """Take in that a container was connected or disconnected.

        A listing does not show a new place yet. One that was left because of the container's end
        is where it will be again.
        """
        container_id = event.attributes.get("container", "")
        container = self._containers.get(container_id)
        if container is None or container.places is None:
            return container_id
        name = event.attributes.get("name", "")
        if any(_is_on(place, NetworkId(event.id), {name}) for place in container.places):
            is_left = event.action == "disconnect" and container.is_running
            return container_id if is_left else ""
        if event.action == "connect":
            container.places += (ListedPlace(network=name, network_id=event.id),)
            container.is_sure = False
        return ""

    def _lived(self, event: EngineEvent) -> str:
        known = self._containers.setdefault(event.id, _Container(name="", service=""))
        known.name = event.attributes.get("name", known.name)
        known.service = replica_labelled(event.attributes)
        known.heard_s = self._clock.monotonic_s()
        self._live(event, known)
        self._news.set()
        if known.places is None:
            self._unlisted.add(event.id)
        return "" if known.is_sure else event.id

    def _live(self, event: EngineEvent, known: _Container) -> None:
        match event.action:
            case "create":
                known.created_s = known.heard_s
            case "start":
                known.has_started = True
            case "die":
                known.died_s = known.heard_s
                known.granted.clear()
            case _:  # whether it runs is as before
                self._run(event.id, known, is_running=known.is_running)
                return
        self._run(event.id, known, is_running=event.action == "start")

    def _run(self, container_id: str, container: _Container, *, is_running: bool) -> None:
        container.is_running = is_running
        if is_running:
            self._resting.pop(container_id, None)
        else:
            self._resting[container_id] = container

    def _forget(self, container_id: str) -> None:
        self._containers.pop(container_id, None)
        self._resting.pop(container_id, None)
        self._unlisted.discard(container_id)


def _is_on(place: ListedPlace, network_id: NetworkId, names: set[str]) -> bool:
    """Say whether a place is on a network, which the user may have named by a part of its id."""
    if place.network_id == network_id or place.network in names:
        return True
    return len(place.network) >= _SHORT_ID_LENGTH and network_id.startswith(place.network)
