"""dockerd of one release line: which calls it makes for what a user does, and in which order."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from integration.conformance.client import PluginClient, Refused
from integration.conformance.driver import RemoteDriver
from integration.conformance.election import elect
from integration.conformance.ipam import GATEWAY_REQUEST, RemoteIpam, null_allocation
from integration.conformance.records import Allocation, Container, Endpoint, Network
from integration.conformance.releases import Release
from integration.conformance.replies import (
    BadReply,
    IpamCapability,
    IPInterface,
    Manifest,
    NetworkCapability,
)
from integration.conformance.sandbox import Furniture, Sandbox
from integration.conformance.specs import EndpointSpec, NetworkSpec, Subnet
from integration.lab import Host


def new_id() -> str:
    """Return an id as dockerd makes them for networks and endpoints."""
    return secrets.token_hex(32)


class Dockerd:
    """`calls` are the methods called so far, `warnings` the failures that dockerd only logs.

    `routed` is what it finds on the host, and so takes no automatic pool of.

    Actions raise `Refused` when the plugin says no, after the roll-back of this release.
    """

    def __init__(self, release: Release, host: Host, socket: Path) -> None:
        self.release = release
        self.client = PluginClient(release, socket)
        self.driver = RemoteDriver(release, self.client)
        self.ipam = RemoteIpam(release, self.client)
        self.networks: list[Network] = []
        self.containers: list[Container] = []
        self.warnings: list[str] = []
        self.routed: list[IPInterface] = []
        self.next_endpoint_id: Callable[[], str] = new_id
        self._host = host
        self._is_active = False
        self._checks_gateways = False

    @property
    def calls(self) -> list[str]:
        return self.client.calls

    def activate(self) -> None:
        """Do what the first use of the plugin's name does, once in dockerd's life."""
        if self._is_active:
            return
        manifest = self.client.call("Plugin.Activate", None, Manifest)
        for kind in manifest.implements or ():
            match kind:
                case "NetworkDriver":
                    self._register_network_driver()
                case "IpamDriver":
                    self._register_ipam_driver()
                case _:
                    raise BadReply(f"no such kind of plugin: {kind}")
        self._is_active = True

    def create(self, spec: NetworkSpec) -> Network:
        """`docker network create`."""
        self.activate()
        skips = {4: False, 6: False}
        if self.release.checks_gateway_allocation and self._checks_gateways:
            skips = self.driver.gw_alloc_check(spec)
        network = Network(id=new_id(), spec=spec, allocations=())
        try:
            for version, subnet in self._wanted(spec):
                network = self._allocate(network, version, subnet, skips_gateway=skips[version])
            self.driver.create_network(network)
        except Refused:
            self._release_pools(network)
            raise
        self.networks.append(network)
        return network

    def remove(self, network: Network) -> None:
        """`docker network rm`: the addresses go first, whatever the driver says afterwards."""
        self._release_pools(network)
        with self._logged():
            self.driver.delete_network(network)
        self.networks.remove(network)

    def run(self, name: str, *specs: EndpointSpec) -> Container:
        """`docker run`: one endpoint after the other, then the process."""
        container = self.prepare(name)
        try:
            if self.release.has_namespace_at_join:
                container.sandbox.open()
            for spec in specs:
                self._attach(container, spec)
            if not self.release.has_namespace_at_join:
                container.sandbox.open()
                for endpoint in container.endpoints:
                    self._furnish(container, endpoint)
                self._route(container)
        except Refused:
            self.stop(container)
            raise
        return container

    def prepare(self, name: str) -> Container:
        """Make a container that has no namespace yet: what it joins stays in the host's."""
        container = Container(name=name, sandbox=Sandbox(self._host))
        self.containers.append(container)
        return container

    def connect(self, container: Container, spec: EndpointSpec) -> Endpoint:
        """`docker network connect`."""
        return self._attach(container, spec)

    def disconnect(self, container: Container, network: Network) -> None:
        """`docker network disconnect` of a running container."""
        endpoint = container.on(network)
        self._leave(container, endpoint)
        with self._logged():
            self._program(container)
        self._delete(endpoint)
        self._tell_operational(container)

    def stop(self, container: Container) -> None:
        """`docker stop`, and what follows the end of a process by itself."""
        for endpoint in list(container.endpoints):
            self._leave(container, endpoint)
            self._delete(endpoint)
        container.sandbox.close()
        self.containers.remove(container)

    def crash(self, container: Container) -> None:
        """End a container whose namespace the kernel has taken down before dockerd looked."""
        container.sandbox.close()
        self.stop(container)

    def restart_with_live_restore(self) -> None:
        """Restart dockerd under running containers: the plugin is told of none of them."""
        self._boot()
        if self.release.forgets_roles_at_restart:
            for container in self.containers:
                container.roles.clear()

    def restart_after_kill(self) -> None:
        """Start dockerd after a kill -9: containers are dead, their sandboxes are cleaned up."""
        for container in self.containers:
            container.sandbox.close()
            container.roles.clear()
        self._boot()
        for container in list(self.containers):
            self.stop(container)

    def close(self) -> None:
        """Undo what a failed test left, as far as it goes."""
        for container in list(self.containers):
            self.stop(container)
        for network in list(self.networks):
            self.remove(network)
        self.client.close()

    def _boot(self) -> None:
        """Load networks, whose IPAM driver is looked up by name, which activates the plugin."""
        self.client.close()
        self._is_active = False
        if self.networks:
            self.activate()

    def _register_network_driver(self) -> None:
        capability = self.client.call("NetworkDriver.GetCapabilities", None, NetworkCapability)
        if capability.scope not in {"local", "global"}:
            raise BadReply(f"a driver without scope stays unregistered: {capability}")
        if capability.connectivity_scope not in {"local", "global", "", None}:
            raise BadReply(f"no such connectivity scope: {capability}")
        self._checks_gateways = bool(capability.gw_alloc_checker)

    def _register_ipam_driver(self) -> None:
        capability = self.client.call("IpamDriver.GetCapabilities", None, IpamCapability)
        assert not capability.requires_mac, "addresses are asked for without a MAC here"
        assert not capability.requires_replay, "pools are not replayed here"
        if self.release.asks_spaces_at_registration:
            self.ipam.learn_spaces()

    def _wanted(self, spec: NetworkSpec) -> Iterator[tuple[int, Subnet]]:
        if not spec.has_null_ipam and self.release.asks_spaces_at_create:
            self.ipam.learn_spaces()
        yield from ((4, subnet) for subnet in spec.v4)
        yield from ((6, subnet) for subnet in spec.v6)

    def _allocate(
        self, network: Network, version: int, subnet: Subnet, *, skips_gateway: bool
    ) -> Network:
        """Return the network with one more pool; what was granted is released if the rest fails."""
        if network.spec.has_null_ipam:
            return _with(network, null_allocation(version))
        taken = [a.pool for n in (*self.networks, network) for a in n.allocations]
        taken += self.routed
        allocation = self.ipam.request_pool(subnet, version, taken)
        try:
            if subnet.gateway or not skips_gateway:
                gateway = self.ipam.request_address(
                    allocation.pool_id, subnet.gateway, dict(GATEWAY_REQUEST)
                )
                allocation = replace(allocation, gateway=gateway)
            for name, address in subnet.aux.items():
                held = self.ipam.request_address(allocation.pool_id, address, None)
                allocation = replace(allocation, aux={**allocation.aux, name: held})
        except Refused:
            self._release_pool(allocation)
            raise
        return _with(network, allocation)

    def _release_pools(self, network: Network) -> None:
        for allocation in network.allocations:
            if allocation.pool_id:
                self._release_pool(allocation)

    def _release_pool(self, allocation: Allocation) -> None:
        reserved = [*([allocation.gateway] if allocation.gateway else []), *allocation.aux.values()]
        for address in reserved:
            with self._logged():
                self.ipam.release_address(allocation.pool_id, address)
        with self._logged():
            self.ipam.release_pool(allocation.pool_id)

    def _attach(self, container: Container, spec: EndpointSpec) -> Endpoint:
        self._tell_operational(container)
        endpoint = Endpoint(id=self.next_endpoint_id(), spec=spec, mac=spec.mac)
        try:
            for version in (4, 6):
                held = self.ipam.request_for_endpoint(spec, version, container.name)
                endpoint.held += (held,) if held else ()
            self.driver.create_endpoint(endpoint)
        except Refused:
            self._release_addresses(endpoint)
            raise
        self._join(container, endpoint)
        self._tell_operational(container)
        return endpoint

    def _join(self, container: Container, endpoint: Endpoint) -> None:
        try:
            endpoint.joined = self.driver.join(endpoint, container.sandbox.key)
        except Refused:
            if self.release.leaves_after_failed_join:
                for _ in range(2):
                    with self._logged():
                        self.driver.leave(endpoint)
            self._delete(endpoint)
            raise
        container.endpoints.append(endpoint)
        if container.sandbox.is_open:
            self._furnish(container, endpoint)
            self._route(container)
        self._program(container)

    def _furnish(self, container: Container, endpoint: Endpoint) -> None:
        assert endpoint.joined is not None
        assert endpoint.joined.interface_name is not None
        furniture = Furniture(
            prefix=endpoint.joined.interface_name.dst_prefix or "",
            mac=endpoint.mac,
            addresses=tuple(held.address for held in endpoint.held),
            routes=tuple(endpoint.joined.static_routes or ()),
            disables_ipv6=self.release.switches_unused_ipv6_off,
        )
        endpoint.interface = container.sandbox.take(endpoint.link, furniture)

    def _route(self, container: Container) -> None:
        roles = elect(container, self.release)
        gateways = [
            (endpoint.gateway(version), endpoint.interface)
            for endpoint in container.endpoints
            for version in roles.get(endpoint.id, ())
        ]
        container.sandbox.route(gateways)

    def _program(self, container: Container) -> None:
        """Tell who leads out now, those first who no longer do."""
        before, after = container.roles, elect(container, self.release)
        changed = [e for e in container.endpoints if before.get(e.id) != after.get(e.id)]
        container.roles = after
        for endpoint in changed:
            has_role = endpoint.id in after
            if endpoint.id in before and (self.release.revokes_before_each_change or not has_role):
                self.driver.revoke_external_connectivity(endpoint)
        for endpoint in changed:
            if endpoint.id in after:
                self.driver.program_external_connectivity(endpoint, after[endpoint.id])

    def _leave(self, container: Container, endpoint: Endpoint) -> None:
        if container.roles.pop(endpoint.id, None):
            with self._logged():
                self.driver.revoke_external_connectivity(endpoint)
        with self._logged():
            self.driver.leave(endpoint)
        if endpoint.interface:
            container.sandbox.give_back(endpoint.interface, endpoint.link)
        container.endpoints.remove(endpoint)
        if container.sandbox.is_open:
            self._route(container)

    def _delete(self, endpoint: Endpoint) -> None:
        with self._logged():
            self.driver.delete_endpoint(endpoint)
        self._release_addresses(endpoint)

    def _release_addresses(self, endpoint: Endpoint) -> None:
        for held in endpoint.held:
            with self._logged():
                self.ipam.release_address(held.pool_id, held.address)

    def _tell_operational(self, container: Container) -> None:
        """Look for ports that an endpoint reports; a remote one never can."""
        for endpoint in container.endpoints:
            with self._logged():
                self.driver.oper_info(endpoint)

    @contextmanager
    def _logged(self) -> Iterator[None]:
        try:
            yield
        except Refused as refused:
            self.warnings.append(str(refused))


def _with(network: Network, allocation: Allocation) -> Network:
    return replace(network, allocations=(*network.allocations, allocation))
