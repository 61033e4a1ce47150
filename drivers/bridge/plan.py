"""What a bridge network and its endpoints are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network

from drivers.bridge.options import (
    MTU_MIN_IPV6_BYTES,
    BridgeOptions,
    GatewayMode,
    given_name,
    parse,
    unknown_key,
)
from netplug import labels
from netplug.contract.driver import Attachment, GatewaySkip
from netplug.errors import Conflict, InvalidOptions
from netplug.model import Endpoint, IPAddress, Network, Origin, Subnet, View
from netplug.plan.objects import (
    Address,
    Bridge,
    Firewall,
    KernelObject,
    LinkPolicy,
    LocalSubnet,
    Masquerade,
    SandboxLink,
    Sysctl,
    Veth,
)

_ENDPOINT_KEYS: Mapping[str, object] = {}


class BridgeDriver:
    """A switch in the kernel for each network; the host is its router."""

    name = "bridge"

    def validate(self, network: Network, view: View) -> None:
        """Refuse options that contradict each other, and names and subnets that are taken."""
        options = parse(dict(network.options))
        problems = list(_contradictions(options, network))
        if problems:
            raise InvalidOptions(problems)
        for other in view.networks.values():
            if other.id != network.id and other.driver == self.name:
                _refuse_clash(network, other)

    def skip_gateways(self, options: Mapping[str, str], *, is_internal: bool) -> GatewaySkip:
        """Say that an isolated family has no gateway, so none is reserved."""
        parsed = parse(options)
        return GatewaySkip(
            ipv4=is_internal and parsed.gateway_mode_ipv4 is GatewayMode.ISOLATED,
            ipv6=is_internal and parsed.gateway_mode_ipv6 is GatewayMode.ISOLATED,
        )

    def validate_endpoint(self, endpoint: Endpoint, network: Network) -> None:
        """Refuse endpoint options other than Docker's own, which dockerd acts on itself."""
        unknown = [
            unknown_key(key, _ENDPOINT_KEYS)
            for key, _ in endpoint.options
            if not key.startswith(labels.ENDPOINT_PREFIX)
        ]
        if unknown:
            raise InvalidOptions(unknown)

    def plan_network(self, network: Network, view: View) -> frozenset[KernelObject]:
        """Return the bridge, the host's addresses on it, and what lets it out."""
        options = parse(dict(network.options))
        name = bridge_name(network)
        objects: set[KernelObject] = {
            Firewall(has_ipv6=view.facts.has_ipv6, filters_bridged=view.facts.filters_bridged),
            Bridge(
                name=name,
                mac=_bridge_mac(network),
                mtu_bytes=options.mtu_bytes or network.uplink_mtu_bytes,
                policy=_policy(options, network),
                has_ipv6=network.has_ipv6,
                is_up=True,
            ),
        }
        objects.update(_forwarding(network))
        for subnet in network.subnets:
            if subnet.gateway and _is_host_the_gateway(options, network, subnet):
                objects.add(Address(link=name, address=subnet.gateway))
            if options.has_icc:
                objects.add(LocalSubnet(subnet=subnet.pool, link=name))
            if not network.is_internal and _masquerades(options, subnet):
                objects.add(Masquerade(subnet=subnet.pool))
        return frozenset(objects)

    def plan_endpoint(
        self, endpoint: Endpoint, network: Network, view: View
    ) -> frozenset[KernelObject]:
        """Return the veth pair and, where pynet fills the sandbox itself, its inside."""
        if not endpoint.sandbox:
            return frozenset()
        options = parse(dict(network.options))
        veth = Veth(
            name=host_link_name(endpoint),
            peer=peer_link_name(endpoint),
            peer_mac=endpoint.mac,
            mtu_bytes=options.mtu_bytes or network.uplink_mtu_bytes,
            bridge=bridge_name(network),
            is_isolated=not options.has_icc,
            is_up=True,
            is_lent=endpoint.is_lent,
        )
        if not endpoint.interface or endpoint.is_lent:
            return frozenset({veth})
        inside = SandboxLink(
            host_link=veth.name,
            peer=peer_link_name(endpoint),
            netns=endpoint.sandbox,
            name=endpoint.interface,
            mac=endpoint.mac,
            addresses=endpoint.addresses,
            gateways=self.attachment(endpoint, network).gateways,
        )
        return frozenset({veth, inside})

    def attachment(self, endpoint: Endpoint, network: Network) -> Attachment:
        """Return the link to move, its name inside, and the gateways of the endpoint's subnets.

        An internal network has no gateway; the sandbox then needs no gateway service of Docker's
        either, whose extra interface would lead out.
        """
        options = parse(dict(network.options))
        return Attachment(
            link=peer_link_name(endpoint),
            prefix=options.iface_prefix,
            gateways=() if network.is_internal else tuple(_gateways(endpoint, network)),
        )


def bridge_name(network: Network) -> str:
    """Return the bridge's name: the user's, else `py-` and the network's short id."""
    return given_name(network.options) or f"py-{network.short_id}"


def host_link_name(endpoint: Endpoint) -> str:
    """Return the name of the veth end that is a port of the bridge."""
    return f"pyv{endpoint.short_id}"


def peer_link_name(endpoint: Endpoint) -> str:
    """Return the name of the other veth end until it is renamed in the sandbox."""
    return f"pyp{endpoint.short_id}"


def _contradictions(options: BridgeOptions, network: Network) -> Iterator[str]:
    for key, mode in (
        ("gateway_mode_ipv4", options.gateway_mode_ipv4),
        ("gateway_mode_ipv6", options.gateway_mode_ipv6),
    ):
        if mode is GatewayMode.ISOLATED and not network.is_internal:
            yield f"{key}=isolated is for internal networks; add --internal"
    if network.has_ipv6 and 0 < options.mtu_bytes < MTU_MIN_IPV6_BYTES:
        yield f"mtu={options.mtu_bytes}: IPv6 needs at least {MTU_MIN_IPV6_BYTES} bytes"
    if not (network.has_ipv4 or network.has_ipv6):
        yield "neither IPv4 nor IPv6 is enabled"


def _refuse_clash(network: Network, other: Network) -> None:
    if bridge_name(network) == bridge_name(other):
        raise Conflict(f"bridge name {bridge_name(network)}", f"is used by network {other.label}")
    if _all_from_pools(network) and _all_from_pools(other):
        return  # pools of one space never overlap
    for mine in network.subnets:
        for theirs in other.subnets:
            if mine.pool.version == theirs.pool.version and mine.pool.overlaps(theirs.pool):
                raise Conflict(
                    f"subnet {mine.pool}",
                    f"overlaps {theirs.pool} of network {other.label}",
                    "choose another --subnet",
                )


def _all_from_pools(network: Network) -> bool:
    return len(network.pool_ids) == len(network.subnets)


def _policy(options: BridgeOptions, network: Network) -> LinkPolicy:
    if network.is_internal:
        return LinkPolicy.NO_EGRESS
    policy = LinkPolicy.NONE
    if options.gateway_mode_ipv4 is GatewayMode.ROUTED:
        policy |= LinkPolicy.ROUTED_IPV4
    if options.gateway_mode_ipv6 is GatewayMode.ROUTED:
        policy |= LinkPolicy.ROUTED_IPV6
    return policy


def _bridge_mac(network: Network) -> str:
    """Derive a locally administered address, so that the gateway's MAC survives a reboot."""
    digits = network.id[:8].rjust(8, "0")
    try:
        tail = int(digits, 16)
    except ValueError:  # a swarm network's id is base 36
        tail = int.from_bytes(network.id[:4].encode().rjust(4, b"\0"))
    octets = [0x02, 0x50, *tail.to_bytes(4)]
    return ":".join(f"{octet:02x}" for octet in octets)


def _forwarding(network: Network) -> Iterator[Sysctl]:
    """Yield what lets the host route for the network.

    For IPv4 that is dockerd's own doing on a Docker host: it makes DROP the policy of FORWARD only
    if it turns forwarding on itself, and pynet starts before it.
    Source: moby libnetwork/drivers/bridge/setup_ip_forwarding.go.
    """
    if network.is_internal:
        return
    if network.has_ipv4 and network.origin is Origin.PYNET:
        yield Sysctl(name="net/ipv4/ip_forward", value="1")
    if network.has_ipv6:
        yield Sysctl(name="net/ipv6/conf/all/forwarding", value="1")
        yield Sysctl(name="net/ipv6/conf/default/forwarding", value="1")


def _is_host_the_gateway(options: BridgeOptions, network: Network, subnet: Subnet) -> bool:
    if isinstance(subnet.pool, IPv4Network):
        mode, is_inhibited = options.gateway_mode_ipv4, options.inhibits_ipv4
    else:
        mode, is_inhibited = options.gateway_mode_ipv6, False
    return not is_inhibited and not (network.is_internal and mode is GatewayMode.ISOLATED)


def _masquerades(options: BridgeOptions, subnet: Subnet) -> bool:
    if isinstance(subnet.pool, IPv4Network):
        return options.masquerades and options.gateway_mode_ipv4 is GatewayMode.NAT
    return options.masquerades and options.gateway_mode_ipv6 is GatewayMode.NAT


def _gateways(endpoint: Endpoint, network: Network) -> Iterator[IPAddress]:
    for address in endpoint.addresses:
        for subnet in network.subnets:
            if subnet.gateway and address.ip in subnet.pool:
                yield subnet.gateway.ip
                break
