"""What is asked of the Docker Engine: what it knows of our networks, and what changes there.

Never from inside a plugin call: dockerd holds its locks until the call is answered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Protocol

from netplug.model import EndpointId, IPAddress, IPNetwork, NetworkId, Reached
from netplug.model import Protocol as Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """Which engine answers; `problem` is a sentence on why it should not be used, or empty."""

    id: str
    version: str
    api_version: str
    is_live_restore: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineEndpoint:
    """An endpoint that the engine lists; `name` is its container's, also after a rename.

    `container_id` is empty where the engine has an endpoint but no sandbox for it.
    """

    id: EndpointId
    name: str
    container_id: str = ""
    addresses: tuple[IPAddress, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineNetwork:
    """A network and those of its endpoints that are in a running container."""

    id: NetworkId
    name: str
    driver: str
    endpoints: Mapping[EndpointId, EngineEndpoint]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineContainer:
    """What a container is called. `aliases` are its further names on each network it is on.

    `links` are the names that it has for others there, and `ports` those that it exposes or
    publishes.
    """

    id: str
    name: str
    hostname: str = ""
    labels: Mapping[str, str]
    aliases: Mapping[EndpointId, tuple[str, ...]]
    links: Mapping[EndpointId, tuple[str, ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    ports: tuple[tuple[Transport, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPlace:
    """A network that a container is on, or will be once it starts.

    `network` is what the engine calls it there: its name, else its id or a part of it as the user
    gave it. The id may be missing before the first start. `fixed` are the versions of IP of which
    the container asks for an address of its own.
    """

    network: str
    network_id: str = ""
    fixed: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedContainer:
    """A container as a listing has it, whether it runs or not."""

    id: str
    name: str
    labels: Mapping[str, str]
    is_running: bool
    has_started: bool
    places: tuple[ListedPlace, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineEvent:
    """Something happened to the network or container `id`; `time_ns` is by the engine's clock."""

    kind: str
    action: str
    id: str
    attributes: Mapping[str, str]
    time_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSnapshot:
    """Our networks as the engine knows them, and the subnets of its own that are closed to them.

    `beside_us` are the subnets of all its networks that are not ours.

    Everything was listed at `listed_at` or later. What pynet made after that may be missing, and
    so may what it made just before: dockerd records an endpoint only once CreateEndpoint is
    answered. `containers` are those on our networks that have been inspected so far.
    """

    info: EngineInfo
    networks: Mapping[NetworkId, EngineNetwork]
    listed_at: datetime
    closed_subnets: frozenset[IPNetwork] = frozenset()
    beside_us: frozenset[Reached] = frozenset()
    containers: Mapping[str, EngineContainer] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineAway:
    """No engine answers, or no longer; `problem` is a sentence. What was known stays true."""

    problem: str


EngineUpdate = EngineSnapshot | EngineAway


class Engine(Protocol):
    """Reads one Docker Engine; every call has a deadline.

    Raises:
        EngineUnreachable: by every method, when there is no answer or none that makes sense.
    """

    async def info(self) -> EngineInfo:
        """Return who answers."""
        ...

    async def networks(self, driver: str) -> tuple[EngineNetwork, ...]:
        """Return every network of `driver`, with its endpoints."""
        ...

    async def subnets(self) -> frozenset[IPNetwork]:
        """Return the subnets of all networks, whatever their drivers."""
        ...

    async def beside(self, driver: str) -> frozenset[Reached]:
        """Return the subnets of the networks of other drivers than `driver`, with their names."""
        ...

    async def closed_subnets(self) -> frozenset[IPNetwork]:
        """Return the subnets of the engine's own bridges, which only published ports lead into.

        Not those whose gateway mode lets others route to the containers, and not those of macvlan
        and the like, which lie outside the host.
        """
        ...

    async def network(self, network_id: str) -> EngineNetwork | None:
        """Return one network with its endpoints; None where the engine has none of that id."""
        ...

    async def container(self, container_id: str) -> EngineContainer | None:
        """Return what one container is called; None where the engine has none of that id.

        dockerd waits for whatever is being done to the container, such as its start.
        """
        ...

    async def containers(self, ids: Collection[str] = ()) -> tuple[ListedContainer, ...]:
        """Return these containers, or all of them; those that are not there are left out.

        Answered from a copy that the engine keeps for listings, so that nobody's start or stop
        holds it up; it shows each container as it was when something about it was last saved.
        """
        ...

    def events(self, since_ns: int = 0) -> AbstractAsyncContextManager[AsyncIterator[EngineEvent]]:
        """Open a stream of what happens to networks, and of the lives of containers.

        It is open when the context is entered: what is listed after that misses nothing. What
        happened since `since_ns` comes first, as far as the engine remembers. The stream never
        ends by itself; it raises EngineUnreachable when it breaks.
        """
        ...


class ContainerFollower(Protocol):
    """Is told of every container as soon as the engine says something about it."""

    def heard(self, event: EngineEvent) -> str:
        """Take in an event; return the id of a container that has to be listed, or nothing."""
        ...

    def listed(
        self, containers: Sequence[ListedContainer], *, besides: frozenset[str] | None
    ) -> None:
        """Take in what was listed; no event about any of these has come since it was asked for.

        Unless `besides` is None these are all, besides those that events have been about.
        """
        ...

    def lost(self, retry: Callable[[], None]) -> None:
        """Note that the engine does not answer; `retry` has it asked at once, not in a while."""
        ...
