"""The engine's spelling: those fields of its replies that are read. Nothing else knows them.

Source: moby api/types/{network,container,system,events}; the same from API 1.24 to 1.55.
"""

from __future__ import annotations

from ipaddress import ip_interface, ip_network

from msgspec import Struct, field

from netplug.contract.engine import (
    EngineContainer,
    EngineEndpoint,
    EngineEvent,
    EngineNetwork,
    ListedContainer,
    ListedPlace,
)
from netplug.model import EndpointId, IPAddress, IPNetwork, NetworkId, Protocol, Reached, Way

# An endpoint without a sandbox is listed under this prefix and its own id.
_NO_CONTAINER = "ep-"

_BRIDGE = "bridge"

# moby: container/state.go, StateString; one that is restarting waits to be started.
_RUNNING = frozenset({"running", "paused"})

# https://docs.docker.com/engine/network/port-publishing/#gateway-modes
_MODE = "com.docker.network.bridge.gateway_mode_ipv{}"
_OPEN = frozenset({"routed", "nat-unprotected"})


class Info(Struct, frozen=True):
    """Reply of GET /info."""

    id: str = field(name="ID")
    version: str = field(name="ServerVersion")
    is_live_restore: bool = field(name="LiveRestoreEnabled", default=False)


class Attached(Struct, frozen=True):
    """One of a network's `Containers`."""

    name: str = field(name="Name")
    endpoint_id: str = field(name="EndpointID")
    ipv4_address: str = field(name="IPv4Address", default="")
    ipv6_address: str = field(name="IPv6Address", default="")

    def addresses(self) -> tuple[IPAddress, ...]:
        """Return its addresses, which the engine writes with a prefix length.

        Raises:
            ValueError: one is none.
        """
        return tuple(ip_interface(a).ip for a in (self.ipv4_address, self.ipv6_address) if a)


class Network(Struct, frozen=True):
    """Reply of GET /networks/ID, and an item of GET /networks, which leaves `Containers` empty."""

    id: str = field(name="Id")
    name: str = field(name="Name")
    driver: str = field(name="Driver")
    containers: dict[str, Attached] | None = field(name="Containers", default=None)

    def value(self) -> EngineNetwork:
        """Return it in our words.

        Raises:
            ValueError: an address is none.
        """
        endpoints = (
            EngineEndpoint(
                id=EndpointId(attached.endpoint_id),
                name=attached.name,
                container_id="" if key.startswith(_NO_CONTAINER) else key,
                addresses=attached.addresses(),
            )
            for key, attached in (self.containers or {}).items()
        )
        return EngineNetwork(
            id=NetworkId(self.id),
            name=self.name,
            driver=self.driver,
            endpoints={endpoint.id: endpoint for endpoint in endpoints},
        )


class Addresses(Struct, frozen=True):
    """One subnet of a network; empty where the driver has none."""

    subnet: str = field(name="Subnet", default="")


class Addressing(Struct, frozen=True):
    """The `IPAM` of a network."""

    config: list[Addresses] | None = field(name="Config", default=None)


class Addressed(Struct, frozen=True):
    """An item of GET /networks, read for its subnets."""

    name: str = field(name="Name", default="")
    driver: str = field(name="Driver", default="")
    ipam: Addressing = field(name="IPAM", default=Addressing())
    options: dict[str, str] | None = field(name="Options", default=None)
    is_only_configuration: bool = field(name="ConfigOnly", default=False)

    def closed_subnets(self) -> list[IPNetwork]:
        """Return the subnets of a bridge whose containers are not there to be routed to.

        Raises:
            ValueError: one is none.
        """
        options = self.options or {}
        return [s for s in self.subnets() if options.get(_MODE.format(s.version)) not in _OPEN]

    def reached(self) -> list[Reached]:
        """Return its subnets, unless it is there only to be copied from.

        Raises:
            ValueError: one is none.
        """
        if self.is_only_configuration:
            return []
        way = Way.DOCKER_BRIDGE if self.driver == _BRIDGE else Way.DOCKER
        where = f"{self.name} ({self.driver})"
        return [Reached(network=s, way=way, where=where) for s in self.subnets()]

    def subnets(self) -> list[IPNetwork]:
        """Return its subnets.

        Raises:
            ValueError: one is none.
        """
        return [ip_network(a.subnet, strict=False) for a in self.ipam.config or () if a.subnet]


class Place(Struct, frozen=True):
    """A container on one network; `dns_names` since API 1.44, made of the aliases and the rest.

    Before API 1.45 the aliases have the short id among them. `links` are "CONTAINER:ALIAS".
    """

    endpoint_id: str = field(name="EndpointID", default="")
    aliases: list[str] | None = field(name="Aliases", default=None)
    dns_names: list[str] | None = field(name="DNSNames", default=None)
    links: list[str] | None = field(name="Links", default=None)


class Places(Struct, frozen=True):
    """The `NetworkSettings` of a container."""

    networks: dict[str, Place | None] | None = field(name="Networks", default=None)


class ContainerConfig(Struct, frozen=True):
    """The `Config` of a container."""

    hostname: str = field(name="Hostname", default="")
    labels: dict[str, str] | None = field(name="Labels", default=None)
    exposed: dict[str, object] | None = field(name="ExposedPorts", default=None)


class HostConfig(Struct, frozen=True):
    """The `HostConfig` of a container."""

    published: dict[str, object] | None = field(name="PortBindings", default=None)


class Container(Struct, frozen=True):
    """Reply of GET /containers/ID/json."""

    id: str = field(name="Id")
    name: str = field(name="Name")
    config: ContainerConfig = field(name="Config", default=ContainerConfig())
    host_config: HostConfig = field(name="HostConfig", default=HostConfig())
    places: Places = field(name="NetworkSettings", default=Places())

    def value(self) -> EngineContainer:
        """Return it in our words; a place has no endpoint before it is connected."""
        places = [p for p in (self.places.networks or {}).values() if p and p.endpoint_id]
        spelled = [*(self.config.exposed or ()), *(self.host_config.published or ())]
        ports = {port for text in spelled if (port := _port(text))}
        return EngineContainer(
            id=self.id,
            name=self.name.removeprefix("/"),
            hostname=self.config.hostname,
            labels=self.config.labels or {},
            aliases={
                EndpointId(p.endpoint_id): tuple(
                    dict.fromkeys((*(p.aliases or ()), *(p.dns_names or ())))
                )
                for p in places
            },
            links={
                EndpointId(p.endpoint_id): tuple(link.rpartition(":")[2] for link in p.links)
                for p in places
                if p.links
            },
            ports=tuple(sorted(ports)),
        )


def _port(text: str) -> tuple[Protocol, int] | None:
    """Return the port of "80/tcp"; None for what is none, such as a range."""
    number, _, protocol = text.partition("/")
    try:
        return Protocol(protocol or "tcp"), int(number)
    except ValueError:
        return None


class Asked(Struct, frozen=True):
    """The `IPAMConfig` of a container on a network: the addresses that it asks for."""

    ipv4: str = field(name="IPv4Address", default="")
    ipv6: str = field(name="IPv6Address", default="")


class ListedOn(Struct, frozen=True):
    """A network of a listed container; without an id before the first start."""

    network_id: str = field(name="NetworkID", default="")
    asked: Asked | None = field(name="IPAMConfig", default=None)

    def value(self, network: str) -> ListedPlace:
        """Return it in our words."""
        asked = self.asked or Asked()
        fixed = {version for version, text in ((4, asked.ipv4), (6, asked.ipv6)) if text}
        return ListedPlace(network=network, network_id=self.network_id, fixed=frozenset(fixed))


class ListedOns(Struct, frozen=True):
    """The `NetworkSettings` of a listed container."""

    networks: dict[str, ListedOn | None] | None = field(name="Networks", default=None)


class Listed(Struct, frozen=True):
    """An item of GET /containers/json; one that is being removed may have lost its names.

    `names` has those too by which others link to it, such as "/web/db".
    """

    id: str = field(name="Id")
    state: str = field(name="State")
    names: list[str] | None = field(name="Names", default=None)
    labels: dict[str, str] | None = field(name="Labels", default=None)
    places: ListedOns | None = field(name="NetworkSettings", default=None)

    def value(self) -> ListedContainer:
        """Return it in our words."""
        own = (name.removeprefix("/") for name in self.names or ())
        networks = (self.places.networks if self.places else None) or {}
        return ListedContainer(
            id=self.id,
            name=next((name for name in own if "/" not in name), ""),
            labels=self.labels or {},
            is_running=self.state in _RUNNING,
            has_started=self.state != "created",
            places=tuple((on or ListedOn()).value(key) for key, on in networks.items()),
        )


class Actor(Struct, frozen=True):
    """Whom an event is about."""

    id: str = field(name="ID", default="")
    attributes: dict[str, str] | None = field(name="Attributes", default=None)


class Event(Struct, frozen=True):
    """A line of GET /events; the lower-case fields of old versions are passed over."""

    kind: str = field(name="Type")
    action: str = field(name="Action")
    actor: Actor = field(name="Actor")
    time_ns: int = field(name="timeNano", default=0)

    def value(self) -> EngineEvent:
        """Return it in our words."""
        return EngineEvent(
            kind=self.kind,
            action=self.action,
            id=self.actor.id,
            attributes=self.actor.attributes or {},
            time_ns=self.time_ns,
        )


class Failure(Struct, frozen=True):
    """Body of a reply that is not 200."""

    message: str
