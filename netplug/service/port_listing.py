"""What is published, and how much of it is used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from netplug.contract.kernel import Translation
from netplug.model import Endpoint, IPAddress, Network, PortMapping, Protocol
from netplug.plan.objects import Key, OpenPort, RoutedPort
from netplug.service.port_mappings import PortMappings, on_held

_NOTHING_COUNTED: Mapping[Key, Translation] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPort:
    """One published mapping. `packets` and `bytes` are those that opened connections.

    `host_ips` are the addresses of the host that it is on, `open_at` those of the endpoint itself
    that are reached instead.
    """

    mapping: PortMapping
    endpoint: Endpoint
    network: Network
    host_ips: tuple[IPAddress, ...] = ()
    open_at: tuple[IPAddress, ...] = ()
    packets: int = 0
    bytes: int = 0
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PortListing:
    """Lists mappings by network, endpoint and port."""

    mappings: PortMappings

    async def all(self) -> tuple[PublishedPort, ...]:
        """Return what is published.

        Raises:
            KernelRefused: the counters cannot be read.
        """
        view = self.mappings.view
        counted = await self.mappings.kernel.translations()
        return _in_order(
            self._row(mapping, endpoint, view.networks[endpoint.network_id], counted)
            for endpoint in view.endpoints.values()
            for mapping in endpoint.ports
            if endpoint.network_id in view.networks
        )

    def of_new(
        self, mappings: Sequence[PortMapping], endpoint: Endpoint, network: Network
    ) -> tuple[PublishedPort, ...]:
        """Return mappings that were just made; nothing of them is counted yet."""
        return _in_order(self._row(m, endpoint, network, _NOTHING_COUNTED) for m in mappings)

    def _row(
        self,
        mapping: PortMapping,
        endpoint: Endpoint,
        network: Network,
        counted: Mapping[Key, Translation],
    ) -> PublishedPort:
        objects = self.mappings.plan(endpoint, network, (mapping,))
        keys = sorted((o.key for o in objects), key=str)
        found = [counted[key] for key in keys if key in counted]
        own = [a.ip for a in endpoint.addresses]
        opened = {o.address for o in objects if isinstance(o, OpenPort | RoutedPort)}
        if (
            not opened
            and mapping.asked.host_ip is None
            and not self.mappings.takes_host_ports(endpoint)
        ):
            opened = set(own)
        return PublishedPort(
            mapping=mapping,
            endpoint=endpoint,
            network=network,
            host_ips=on_held(mapping, objects).host_ips,
            open_at=tuple(ip for ip in own if ip in opened),
            packets=sum(t.packets for t in found),
            bytes=sum(t.bytes for t in found),
            rules=tuple(rule for t in found for rule in t.rules),
        )


def _in_order(rows: Iterable[PublishedPort]) -> tuple[PublishedPort, ...]:
    def place(row: PublishedPort) -> tuple[str, str, Protocol, int]:
        asked, host_port = row.mapping.asked, row.mapping.host_port
        return row.network.label, row.endpoint.label, asked.protocol, host_port

    return tuple(sorted(rows, key=place))
