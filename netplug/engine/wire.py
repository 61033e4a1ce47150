"""The engine's spelling: those fields of its replies that are read. Nothing else knows them.

Source: moby api/types/{network,system,events}; the same from API 1.24 to 1.55.
"""

from __future__ import annotations

from ipaddress import ip_network

from msgspec import Struct, field

from netplug.contract.engine import EngineEndpoint, EngineEvent, EngineNetwork
from netplug.model import EndpointId, IPNetwork, NetworkId

# An endpoint without a sandbox is listed under this prefix and its own id.
_NO_CONTAINER = "ep-"


class Info(Struct, frozen=True):
    """Reply of GET /info."""

    id: str = field(name="ID")
    version: str = field(name="ServerVersion")
    is_live_restore: bool = field(name="LiveRestoreEnabled", default=False)


class Attached(Struct, frozen=True):
    """One of a network's `Containers`."""

    name: str = field(name="Name")
    endpoint_id: str = field(name="EndpointID")


class Network(Struct, frozen=True):
    """Reply of GET /networks/ID, and an item of GET /networks, which leaves `Containers` empty."""

    id: str = field(name="Id")
    name: str = field(name="Name")
    driver: str = field(name="Driver")
    containers: dict[str, Attached] | None = field(name="Containers", default=None)

    def value(self) -> EngineNetwork:
        """Return it in our words."""
        endpoints = (
            EngineEndpoint(
                id=EndpointId(attached.endpoint_id),
                name=attached.name,
                container_id="" if key.startswith(_NO_CONTAINER) else key,
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

    ipam: Addressing = field(name="IPAM", default=Addressing())

    def subnets(self) -> list[IPNetwork]:
        """Return its subnets.

        Raises:
            ValueError: one is none.
        """
        return [ip_network(a.subnet, strict=False) for a in self.ipam.config or () if a.subnet]


class Actor(Struct, frozen=True):
    """Whom an event is about."""

    id: str = field(name="ID", default="")
    attributes: dict[str, str] | None = field(name="Attributes", default=None)


class Event(Struct, frozen=True):
    """A line of GET /events; the lower-case fields of old versions are passed over."""

    kind: str = field(name="Type")
    action: str = field(name="Action")
    actor: Actor = field(name="Actor")

    def value(self) -> EngineEvent:
        """Return it in our words."""
        return EngineEvent(
            kind=self.kind,
            action=self.action,
            id=self.actor.id,
            attributes=self.actor.attributes or {},
        )


class Failure(Struct, frozen=True):
    """Body of a reply that is not 200."""

    message: str
