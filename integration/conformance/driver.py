"""dockerd's remote network driver: the shapes of its calls (moby: libnetwork/drivers/remote)."""

from __future__ import annotations

import base64
import http.client
from collections.abc import Iterator
from typing import Any

from integration.conformance.client import PluginClient, Refused
from integration.conformance.records import Allocation, Endpoint, Network, Role
from integration.conformance.releases import Release
from integration.conformance.replies import (
    BadReply,
    EndpointCreated,
    GatewaySkip,
    Interface,
    Joined,
    OperInfo,
    Reply,
    unmodified,
)
from integration.conformance.specs import NetworkSpec

_TCP = 6  # IANA protocol number
# A container's ports as its sandbox labels carry them: one exposed, one of a range, one ephemeral.
PORTS: dict[str, list[dict[str, object]]] = {
    "com.docker.network.endpoint.exposedports": [{"Proto": _TCP, "Port": 80}],
    "com.docker.network.portmap": [
        {"Proto": _TCP, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8979},
        {"Proto": _TCP, "IP": "", "Port": 81, "HostIP": "::", "HostPort": 0, "HostPortEnd": 0},
    ],
}


class RemoteDriver:
    def __init__(self, release: Release, client: PluginClient) -> None:
        self._release = release
        self._client = client

    def gw_alloc_check(self, spec: NetworkSpec) -> dict[int, bool]:
        """Ask for which IP versions no gateway is to be reserved."""
        body = {"Options": self._network_options(spec)}
        skip = self._client.call("NetworkDriver.GwAllocCheck", body, GatewaySkip)
        return {4: bool(skip.ipv4), 6: bool(skip.ipv6)}

    def create_network(self, network: Network) -> None:
        self._client.call("NetworkDriver.CreateNetwork", self.network_body(network), Reply)

    def network_body(self, network: Network) -> dict[str, object]:
        return {
            "NetworkID": network.id,
            "Options": self._network_options(network.spec),
            "IPv4Data": [_ipam_data(a) for a in network.of_version(4)],
            "IPv6Data": [_ipam_data(a) for a in network.of_version(6)],
        }

    def delete_network(self, network: Network) -> None:
        self._client.call("NetworkDriver.DeleteNetwork", {"NetworkID": network.id}, Reply)

    def create_endpoint(self, endpoint: Endpoint) -> None:
        """Create an endpoint and take over the MAC that the driver chose."""
        given = _interface(endpoint)
        body = endpoint_body(endpoint)
        created = self._client.call("NetworkDriver.CreateEndpoint", body, EndpointCreated)
        unmodified(given, created.interface)
        if created.interface and created.interface.mac:
            endpoint.mac = created.interface.mac

    def delete_endpoint(self, endpoint: Endpoint) -> None:
        self._client.call("NetworkDriver.DeleteEndpoint", _ids(endpoint), Reply)

    def oper_info(self, endpoint: Endpoint) -> None:
        self._client.call("NetworkDriver.EndpointOperInfo", _ids(endpoint), OperInfo)

    def join(self, endpoint: Endpoint, sandbox_key: str) -> Joined:
        """Join; the answer must name a link that dockerd can move and routes that it can read.

        Raises:
            Refused: by the driver.
            BadReply: dockerd could not use the answer.
        """
        joined = self._client.call("NetworkDriver.Join", join_body(endpoint, sandbox_key), Joined)
        name = joined.interface_name
        if name is None or not name.dst_prefix or not 0 < len(name.src_name or "") <= 15:
            raise BadReply(f"no link to move: {joined}")
        if any(not route.destination for route in joined.static_routes or ()):
            raise BadReply(f"a route to nowhere: {joined}")
        return joined

    def leave(self, endpoint: Endpoint) -> None:
        self._client.call("NetworkDriver.Leave", _ids(endpoint), Reply)

    def program_external_connectivity(self, endpoint: Endpoint, role: Role) -> None:
        options: dict[str, object] = dict(PORTS)
        if self._release.tells_no_proxy_6to4:
            options["com.docker.network.driver.private.no_proxy_6to4"] = 6 not in role
        self._unless_unknown("ProgramExternalConnectivity", {**_ids(endpoint), "Options": options})

    def revoke_external_connectivity(self, endpoint: Endpoint) -> None:
        self._unless_unknown("RevokeExternalConnectivity", _ids(endpoint))

    def _unless_unknown(self, method: str, body: dict[str, object]) -> None:
        """Make a call that a driver need not have."""
        try:
            self._client.call(f"NetworkDriver.{method}", body, Reply)
        except Refused as refused:
            if refused.status != http.client.NOT_FOUND:
                raise

    def _network_options(self, spec: NetworkSpec) -> dict[str, object]:
        options: dict[str, object] = {
            "com.docker.network.generic": dict(spec.options),
            "com.docker.network.enable_ipv6": bool(spec.v6),
        }
        if self._release.checks_gateway_allocation:
            options["com.docker.network.enable_ipv4"] = bool(spec.v4)
        if spec.is_internal:
            options["com.docker.network.internal"] = True
        return options


def endpoint_body(endpoint: Endpoint) -> dict[str, object]:
    """Return the body of CreateEndpoint."""
    interface = _interface(endpoint)
    return {
        **_ids(endpoint),
        "Interface": {
            "Address": interface.address or "",
            "AddressIPv6": interface.address_ipv6 or "",
            "MacAddress": interface.mac or "",
        },
        "Options": dict(_endpoint_options(endpoint)),
    }


def join_body(endpoint: Endpoint, sandbox_key: str) -> dict[str, object]:
    """Return the body of Join; its options are those of the sandbox."""
    return {**_ids(endpoint), "SandboxKey": sandbox_key, "Options": PORTS}


def _ids(endpoint: Endpoint) -> dict[str, object]:
    return {"NetworkID": endpoint.network.id, "EndpointID": endpoint.id}


def _interface(endpoint: Endpoint) -> Interface:
    v4, v6 = endpoint.address(4), endpoint.address(6)
    return Interface(address=str(v4 or ""), address_ipv6=str(v6 or ""), mac=endpoint.spec.mac or "")


def _endpoint_options(endpoint: Endpoint) -> Iterator[tuple[str, Any]]:
    if not endpoint.network.spec.is_internal:
        yield from PORTS.items()
    if mac := endpoint.spec.mac:
        raw = bytes.fromhex(mac.replace(":", ""))
        yield "com.docker.network.endpoint.macaddress", base64.b64encode(raw).decode()
    yield from endpoint.spec.options.items()


def _ipam_data(allocation: Allocation) -> dict[str, object]:
    """Return one subnet; what is not there has no key. The gateway's mask is its pool's."""
    data: dict[str, object] = {"AddressSpace": allocation.space}
    if allocation.aux:
        data["AuxAddresses"] = {name: str(a) for name, a in allocation.aux.items()}
    if allocation.gateway:
        data["Gateway"] = str(allocation.gateway)
    return {**data, "Pool": str(allocation.pool.network)}
