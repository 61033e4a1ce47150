"""What a bridge network and its endpoints are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from drivers.beside import answered_for
from drivers.bridge.options import (
    BridgeOptions,
    GatewayMode,
    Isolation,
    given_name,
    parse,
    parse_endpoint,
)
from drivers.bridge.ports import is_translated, plan_ports
from drivers.links import host_link_name, network_mac, peer_link_name
from drivers.options import MTU_MIN_IPV6_BYTES
from drivers.subnets import gateways, refuse_overlap
from netplug.contract.driver import (
    NO_WISH,
    Attachment,
    FactsWish,
    GatewaySkip,
    NameMode,
    NameOptions,
)
from netplug.errors import Conflict, InvalidOptions, Unsupported
from netplug.model import Endpoint, IPAddress, IPInterface, Network, Origin, Parent, Subnet
from netplug.plan.objects import (
    Address,
    Bridge,
    DirectAnswer,
    Firewall,
    Hub,
    KernelObject,
    LinkPolicy,
    LocalSubnet,
    Masquerade,
    PeerSubnet,
    SandboxLink,
    SpoofGuard,
    Sysctl,
    Veth,
)
from netplug.view import View


class BridgeDriver:
    """A switch in the kernel for each network; the host is its router."""

    name = "bridge"

    def facts_wanted(self, network: Network) -> FactsWish:
        """Ask nothing: a bridge stands on no other link."""
        return NO_WISH

    def parent(self, network: Network, view: View) -> Parent | None:
        """Return None: a bridge stands on no other link."""
        return None

    def gives_mac(self, network: Network) -> bool:
        """Say that each endpoint has a MAC of its own."""
        return True

    def validate(self, network: Network, view: View) -> None:
        """Refuse options that contradict each other, and names and subnets that are taken."""
        options = parse(dict(network.options))
        problems = list(_contradictions(options, network))
        if problems:
            raise InvalidOptions(problems)
        if options.guards_spoofing and not view.facts.has_spoof_guard:
            raise Unsupported("spoof_guard=on", "this kernel filters no bridged packets by nft")
        for other in view.networks.values():
            if other.id == network.id:
                continue
            if other.driver == self.name:
                _refuse_name(network, other)
            refuse_overlap(network, other)

    def may_overlap(self, network: Network) -> bool:
        """Return whether the user said so."""
        return parse(dict(network.options)).may_overlap

    def skip_gateways(self, options: Mapping[str, str], *, is_internal: bool) -> GatewaySkip:
        """Say that an isolated family has no gateway, so none is reserved."""
        parsed = parse(options)
        return GatewaySkip(
            ipv4=is_internal and parsed.gateway_mode_ipv4 is GatewayMode.ISOLATED,
            ipv6=is_internal and parsed.gateway_mode_ipv6 is GatewayMode.ISOLATED,
        )

    def validate_endpoint(self, endpoint: Endpoint, network: Network, view: View) -> None:
        """Refuse unknown endpoint options; Docker's own are dockerd's matter."""
        asked = parse_endpoint(dict(endpoint.options)).isolation
        options = parse(dict(network.options))
        if asked is not None and not options.has_icc:
            raise InvalidOptions([f"isolate={asked}: network {network.label} has no ICC"])
        if asked is Isolation.PORTS and not options.isolates:
            raise InvalidOptions([f"isolate=ports is not that of network {network.label}"])

    def plan_network(self, network: Network, view: View) -> frozenset[KernelObject]:
        """Return the bridge, the host's addresses on it, and what lets it out."""
        options = parse(dict(network.options))
        name = bridge_name(network)
        objects: set[KernelObject] = {
            Firewall(has_ipv6=view.facts.has_ipv6, filters_bridged=view.facts.filters_bridged),
            Bridge(
                name=name,
                mac=network_mac(network),
                mtu_bytes=options.mtu_bytes or network.uplink_mtu_bytes,
                policy=_policy(options, network),
                has_ipv6=network.has_ipv6,
                routes_localnet=_routes_localnet(options, network),
                is_up=True,
            ),
        }
        objects.update(_forwarding(network))
        objects.update(Address(link=name, address=a) for a in _host_addresses(options, network))
        for subnet in network.subnets:
            objects.add(LocalSubnet(subnet=subnet.pool, link=name))
            if not network.is_internal and _masquerades(options, subnet):
                objects.add(Masquerade(subnet=subnet.pool))
            objects.update(
                PeerSubnet(subnet=subnet.pool, link=bridge_name(peer))
                for peer_id in network.peers
                if (peer := view.networks.get(peer_id))
            )
        return frozenset(objects)

    def plan_endpoint(
        self, endpoint: Endpoint, network: Network, view: View
    ) -> frozenset[KernelObject]:
        """Return the veth pair and, where pynet fills the sandbox itself, its inside."""
        options = parse(dict(network.options))
        veth = Veth(
            name=host_link_name(endpoint),
            peer=peer_link_name(endpoint),
            peer_mac=endpoint.mac,
            mtu_bytes=options.mtu_bytes or network.uplink_mtu_bytes,
            bridge=bridge_name(network),
            is_isolated=_is_isolated(endpoint, options),
            is_hairpin=view.facts.filters_bridged and is_translated(endpoint, options),
            is_guarded=_is_guarded(options, view),
            is_up=True,
            is_lent=endpoint.is_lent,
        )
        outside: set[KernelObject] = {veth}
        if veth.is_guarded:
            outside.update(_guard(endpoint, network, view))
        if not endpoint.sandbox:
            return frozenset(() if endpoint.interface else outside)
        outside.update(self.plan_ports(endpoint, network))
        if options.isolates and not veth.is_isolated:
            outside.update(Hub(address=address.ip) for address in endpoint.addresses)
        outside.update(_direct_answers(endpoint, network, view))
        if not endpoint.interface or endpoint.is_lent:
            return frozenset(outside)
        inside = SandboxLink(
            host_link=veth.name,
            peer=peer_link_name(endpoint),
            netns=endpoint.sandbox,
            name=endpoint.interface,
            mac=endpoint.mac,
            addresses=endpoint.addresses,
            gateways=self.attachment(endpoint, network).gateways,
        )
        return frozenset({inside, *outside})

    def plan_ports(self, endpoint: Endpoint, network: Network) -> frozenset[KernelObject]:
        """Return what publishes the ports of an endpoint."""
        return frozenset(plan_ports(endpoint, parse(dict(network.options))))

    def takes_host_ports(self, network: Network) -> bool:
        """Say that ports are published on the host, of families that are not routed."""
        return True

    def host_addresses(self, network: Network) -> tuple[IPAddress, ...]:
        """Return the `host_binding_ipv4` of the network: Docker takes either family for it.

        As there, 0.0.0.0 is every address, of IPv6 too, and :: every one of IPv6.
        """
        binding = parse(dict(network.options)).host_binding
        if binding is None:
            return ()
        if binding == IPv4Address(0):
            return (binding, IPv6Address(0))
        return (binding,)

    def name_service(self, network: Network) -> NameOptions:
        """Return how the names are served; the host's addresses are those of the bridge."""
        options = parse(dict(network.options))
        return NameOptions(
            mode=options.name_mode,
            ttl_s=options.name_ttl_s,
            addresses=tuple(a.ip for a in _host_addresses(options, network)),
        )

    def attachment(self, endpoint: Endpoint, network: Network) -> Attachment:
        """Return the link to move, its name inside, and the gateways of the endpoint's subnets.

        An internal network has no gateway; the sandbox then needs no gateway service of Docker's
        either, whose extra interface would lead out.
        """
        options = parse(dict(network.options))
        return Attachment(
            link=peer_link_name(endpoint),
            prefix=options.iface_prefix,
            host_link=bridge_name(network),
            gateways=() if network.is_internal else tuple(gateways(endpoint, network)),
        )


def bridge_name(network: Network) -> str:
    """Return the bridge's name: the user's, else `py-` and the network's short id."""
    return given_name(network.options) or f"py-{network.short_id}"


def _contradictions(options: BridgeOptions, network: Network) -> Iterator[str]:
    for key, mode in (
        ("gateway_mode_ipv4", options.gateway_mode_ipv4),
        ("gateway_mode_ipv6", options.gateway_mode_ipv6),
    ):
        if mode is GatewayMode.ISOLATED and not network.is_internal:
            yield f"{key}=isolated is for internal networks; add --internal"
    if not options.has_icc and options.isolation is Isolation.PORTS:
        yield "isolate=ports contradicts icc=false, which lets no endpoint reach another"
    if network.peers and options.isolates:
        yield "a network that keeps its endpoints apart has no peers"
    if network.has_ipv6 and 0 < options.mtu_bytes < MTU_MIN_IPV6_BYTES:
        yield f"mtu={options.mtu_bytes}: IPv6 needs at least {MTU_MIN_IPV6_BYTES} bytes"
    if options.name_mode is NameMode.GATEWAY and not any(_host_addresses(options, network)):
        yield "dns=gateway needs an address of the host on the network, and it has none"
    if not (network.has_ipv4 or network.has_ipv6):
        yield "neither IPv4 nor IPv6 is enabled"


def _refuse_name(network: Network, other: Network) -> None:
    if bridge_name(network) == bridge_name(other):
        raise Conflict(f"bridge name {bridge_name(network)}", f"is used by network {other.label}")


def _policy(options: BridgeOptions, network: Network) -> LinkPolicy:
    policy = LinkPolicy.APART if options.isolates else LinkPolicy.NONE
    if network.is_internal:
        return policy | LinkPolicy.NO_EGRESS
    if options.gateway_mode_ipv4 is GatewayMode.ROUTED:
        policy |= LinkPolicy.ROUTED_IPV4
    if options.gateway_mode_ipv6 is GatewayMode.ROUTED:
        policy |= LinkPolicy.ROUTED_IPV6
    return policy


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


def _routes_localnet(options: BridgeOptions, network: Network) -> bool:
    """Return whether the host may reach ports of the network that are on its loopback."""
    return (
        network.has_ipv4
        and not network.is_internal
        and options.gateway_mode_ipv4 is GatewayMode.NAT
    )


def _is_isolated(endpoint: Endpoint, options: BridgeOptions) -> bool:
    asked = parse_endpoint(dict(endpoint.options)).isolation
    return options.isolates and (not options.has_icc or asked is not Isolation.NONE)


def _direct_answers(endpoint: Endpoint, network: Network, view: View) -> Iterator[DirectAnswer]:
    """Yield by which bridges of others of its sandbox the endpoint answers.

    Endpoints of other drivers are on no bridge.
    """
    for other in view.beside(endpoint):
        theirs = view.networks.get(other.network_id)
        if theirs is None or theirs.driver != network.driver:
            continue
        for address in endpoint.addresses:
            yield DirectAnswer(address=address.ip, link=bridge_name(theirs))


def _guard(endpoint: Endpoint, network: Network, view: View) -> Iterator[KernelObject]:
    """Yield what the endpoint may send, which the host takes whatever its own check says."""
    own = frozenset(address.ip for address in endpoint.addresses)
    foreign = answered_for(endpoint, network, view) if own else own
    link = host_link_name(endpoint)
    yield SpoofGuard(link=link, mac=endpoint.mac, addresses=own | foreign)
    if any(address.version == 4 for address in foreign):
        bridge = bridge_name(network)
        yield Sysctl(name=f"net/ipv4/conf/{bridge}/rp_filter", value="2", link=bridge)


def _is_guarded(options: BridgeOptions, view: View) -> bool:
    if options.guards_spoofing is None:
        return view.facts.has_spoof_guard
    return options.guards_spoofing


def _is_host_the_gateway(options: BridgeOptions, network: Network, subnet: Subnet) -> bool:
    if isinstance(subnet.pool, IPv4Network):
        mode, is_inhibited = options.gateway_mode_ipv4, options.inhibits_ipv4
    else:
        mode, is_inhibited = options.gateway_mode_ipv6, False
    return not is_inhibited and not (network.is_internal and mode is GatewayMode.ISOLATED)


def _host_addresses(options: BridgeOptions, network: Network) -> Iterator[IPInterface]:
    for subnet in network.subnets:
        if subnet.gateway and _is_host_the_gateway(options, network, subnet):
            yield subnet.gateway


def _masquerades(options: BridgeOptions, subnet: Subnet) -> bool:
    if isinstance(subnet.pool, IPv4Network):
        return options.masquerades and options.gateway_mode_ipv4 is GatewayMode.NAT
    return options.masquerades and options.gateway_mode_ipv6 is GatewayMode.NAT
