"""What is asked of the embedded DNS: which names there are, and who may ask for them where.

A client is one place that questions come from. Which place it is, and so which networks' names it
may know, is told by the socket that a question arrives on, never by what the question says.

Example:
    names.change(Change(puts=(network, endpoint)))
    names.serve(NameClient(id=container_id, kind=ClientKind.OVERLAY, label="web",
                           network_ids=(network.id,), netns="/var/run/docker/netns/1a2b3c"))
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol as Interface

from netplug.model import EndpointId, IPAddress, IPNetwork, NetworkId, Protocol, RecordKind

DEFAULT_DOMAIN = "pynet"
DEFAULT_TTL_S = 5


class ClientKind(StrEnum):
    """Where a client's sockets are, and what is done with questions that are not ours.

    OVERLAY: in a sandbox, beside Docker's resolver, which gets all that is not ours.
    OWN: in a namespace without Docker, as its 127.0.0.11:53; the host's resolvers get the rest.
    GATEWAY: on a network's bridge address, for endpoints of that network only; the same.
    HOST: on an address of the host's own, for all networks; the rest is refused, so that the
    host's resolver goes on to its next server.
    """

    OVERLAY = "overlay"
    OWN = "own"
    GATEWAY = "gateway"
    HOST = "host"


class Source(StrEnum):
    """Where an answer came from."""

    NAMES = "names"  # endpoints and records of the client's networks
    CACHE = "cache"  # an upstream's answer, kept for its TTL
    STALE = "stale"  # the same, kept longer since no upstream answers
    UPSTREAM = "upstream"
    NOBODY = "nobody"  # refused, malformed, or failed


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedNetwork:
    """A network, in which names are unique or shared on purpose. Key: `id`."""

    id: NetworkId
    name: str
    ttl_s: int = DEFAULT_TTL_S
    subnets: tuple[IPNetwork, ...] = ()
    is_internal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedEndpoint:
    """An endpoint with its unqualified names, the canonical one first. Key: `id`.

    The canonical name is what PTR and SRV name. `*.x` is a wildcard: any deeper name below x.
    `ports` are those that the container exposes or publishes, as it numbers them itself.
    """

    id: EndpointId
    network_id: NetworkId
    label: str
    names: tuple[str, ...] = ()
    addresses: tuple[IPAddress, ...] = ()
    ports: tuple[tuple[Protocol, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRecord:
    """Records made by hand. Key: `network_id`, `name` and `kind`.

    `values` are in the presentation format of zone files: "10.0.0.9", "db", "example.com.",
    '"v=spf1 -all"', "0 0 5432 db". A target without a dot at its end is a name of the network if
    the network has it, and absolute otherwise.
    """

    network_id: NetworkId
    name: str
    kind: RecordKind
    values: tuple[str, ...]


Named = NamedNetwork | NamedEndpoint | NamedRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Things that are, or are otherwise, and things that are no more.

    Drops come first. Of what is dropped only the key counts. A put replaces what has the same key.
    A network that is dropped keeps nothing: its endpoints and records go with it.
    """

    puts: tuple[Named, ...] = ()
    drops: tuple[Named, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NameClient:
    """Who asks, and where.

    `netns` is the path of the namespace that its sockets are in, empty for the host's own.
    `listen` are the addresses of a GATEWAY client, port 53, or of the HOST client, where port 53
    is led to one of ours (`netplug.plan.resolverlink`). A HOST client has all
    networks, whatever `network_ids` says. Without `forwards`, what is not ours is refused.
    `left_to_docker` are names, in lower case, that mean something else to an OVERLAY client than to
    others: they are never ours.
    """

    id: str
    kind: ClientKind
    label: str
    network_ids: tuple[NetworkId, ...] = ()
    netns: str = ""
    listen: tuple[IPAddress, ...] = ()
    forwards: bool = True
    left_to_docker: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCounters:
    """What a client asked, and what became of it, since its sockets were opened.

    `queries` are all that were read; `hits` of them were answered from a cache, ours or of
    upstream answers; `misses` were looked up among the names; `forwarded` went upstream; `failed`
    were answered SERVFAIL; `refused` REFUSED. `dropped` were over the client's share, found no
    room in its socket, or met with silence of Docker's resolver, and got no answer. `rcodes` counts
    the answers: {"NOERROR": 7, ...}.
    """

    queries: int = 0
    hits: int = 0
    misses: int = 0
    forwarded: int = 0
    failed: int = 0
    refused: int = 0
    dropped: int = 0
    rcodes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class NameAnswer:
    """What a question would be answered, and why.

    `records` are lines of a zone file. `network_id` is the network that has the name, if one has;
    `owners` are the labels of the endpoints, or "record", that the answer was made of. `source` is
    UPSTREAM where the question would be forwarded: nobody is asked, and `rcode` is empty.
    """

    rcode: str
    records: tuple[str, ...] = ()
    source: Source = Source.NAMES
    network_id: NetworkId | None = None
    owners: tuple[str, ...] = ()
    reason: str = ""  # a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedQuery:
    """A question and its answer. `records` are short: "10.0.0.2", "web.front.pynet."."""

    at: datetime
    client_id: str
    label: str
    name: str
    kind: str
    rcode: str  # empty where no answer was given
    source: Source
    records: tuple[str, ...] = ()
    took_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NameProblem:
    """A client that is not served, and why. `client_id` is empty for the resolver as a whole."""

    client_id: str
    label: str
    reason: str


class Names(Interface):
    """Answers questions for names; what it is told survives a restart of its process."""

    async def open(self) -> None:
        """Start. What was told before is told to the process first."""
        ...

    async def close(self, *, is_stop: bool) -> None:
        """End. With `is_stop` sandboxes are given back to Docker's resolver at once."""
        ...

    def change(self, change: Change) -> None:
        """Have the change made, after all earlier ones. Never waits, never raises."""
        ...

    def serve(self, client: NameClient) -> None:
        """Answer a client, as soon as its namespace is there. Never waits, never raises.

        For a client that is served already, its networks, label and `forwards` are changed, and
        its sockets stay.
        """
        ...

    def forget(self, client_id: str) -> None:
        """Answer a client no more. Never waits, never raises; unknown ones are fine."""
        ...

    async def statistics(self) -> Mapping[str, ClientCounters]:
        """Return the counters of every client that is served, by its id.

        Raises:
            DeadlineExceeded: the process does not answer.
        """
        ...

    async def lookup(self, asker: str | Sequence[NetworkId], name: str, kind: str) -> NameAnswer:
        """Answer as a client would be answered, or one with just these networks.

        Raises:
            NotFound: there is no such client.
            InvalidRequest: the name or the kind cannot be asked for.
            DeadlineExceeded: the process does not answer.
        """
        ...

    def follow(self) -> AsyncIterator[LoggedQuery]:
        """Return the latest questions, then those to come; some are left out in a flood."""
        ...

    def problems(self) -> tuple[NameProblem, ...]:
        """Return who is not served, and why."""
        ...
