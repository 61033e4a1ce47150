"""Writes docs/rules.md from the code that makes the rules, so that the two cannot part."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from drivers.bridge import BridgeDriver
from netplug.kernel.firewall import guard, sandboxed, tables
from netplug.kernel.firewall.routed import Reachable
from netplug.kernel.firewall.rules import (
    HOOKS,
    IPV4,
    IPV6,
    Family,
    chains,
    install_text,
    remove_text,
)
from netplug.kernel.firewall.tables import PAIRS, PORTS, elements, table_of
from netplug.model import IPAddress, Network, Protocol
from netplug.plan.objects import (
    GROUP_BASE,
    PACKET_MARK,
    Bridge,
    LinkPolicy,
    LocalSubnet,
    Masquerade,
    PortForward,
    RoutedPair,
    RoutedPort,
    SandboxFilter,
    SpoofGuard,
)
from tests.drivers.networks import network, view

ANY = ip_address("0.0.0.0")


def forward(
    address: IPAddress, first: int, to: int, protocol: Protocol = Protocol.TCP, count: int = 1
) -> PortForward:
    return PortForward(
        protocol=protocol,
        address=address,
        first=first,
        count=count,
        to_address=ip_address("10.9.0.2"),
        to_port=to,
    )


_EVERYWHERE = dict.fromkeys(HOOKS, 1)
_BESIDE_DOCKER = {**_EVERYWHERE, "filter": 2}

_OPENING = """\
# The packet filter rules

<!-- Written by tests/kernel/test_rules.py from netplug/kernel/firewall/:
     pytest tests/kernel --update-golden -->

pynet has three chains a family, of constant length whatever the number of networks and endpoints.
It never sets a policy and touches no rule of anybody else; each chain hangs on one jump. `pynet
verify` says when one of them is gone.

A packet is told apart by the device group of the links that it crosses and by a few sets a family:

| | holds |
|---|---|
| `pynet-masq4`, `pynet-masq6` | subnets that take the uplink's address on their way out |
| `pynet-local4`, `pynet-local6` | subnet and bridge of each network: what stays at home |
| `pynet-hub4`, `pynet-hub6` | endpoints that `isolate=ports` does not keep from others |
| `pynet-peer4`, `pynet-peer6` | subnet of a network and bridge of its peer: `pynet network peer` |
| `pynet-direct4`, `pynet-direct6` | address of an endpoint, bridge of another of its sandbox |
| `pynet-engine4`, `pynet-engine6` | subnets of Docker's own networks |
| `pynet-open4`, `pynet-open6` | published ports where the network is routed |

Published ports are looked up, not walked through: a table `pynet` of nftables, beside the chains of
iptables, has a map for each way to publish. A new connection takes three look-ups in it, whatever
is published; the packets that follow take none.

Who reaches an endpoint of the driver `host` in mode `routed`, each of which has a link of its own,
is decided in a chain of that table, one before `PYNET-ISOLATE`, which passes its packets on. The
chain is there while there is such a network: packets of hosts without one do not meet it. While it
is not there, `PYNET-ISOLATE` drops what goes to such an endpoint, except what is established.

| | holds |
|---|---|
| `routed_pairs` | subnets of endpoints that reach each other: of one network, or of peers |
| `routed_ports` | published ports of an endpoint, with `-o ports=published` |

A sandbox on two networks answers by its default route, whichever of its addresses was asked. What
comes in by the link of a routed endpoint must be routed back by it, or be in one more set:

| | holds |
|---|---|
| `routed_sources` | the link, and an address of another endpoint of its sandbox |

| device group | is on |
|---|---|
"""

_GUARD = """\
## What an endpoint may send

A guarded port is known by its group. Its frames must have its MAC; IPv4, IPv6 and ARP must come
from its addresses. IPv6 is looked up by its bytes, so that the target of a neighbour advertisement
can be looked up in the same set. Router advertisements, redirects, queries of multicast routers,
tags and tunnels below IP are dropped, and so is all that a link on its way out sends. A port
without elements sends nothing; one in `bare` has no address that pynet knows of. Addresses of
routed endpoints of the same sandbox count as its own.

"""
_EXAMPLE = """\
An endpoint with 10.9.0.2 and fd09::2, and the link-local address that follows from its MAC:

"""

_SANDBOX = """\
## What stands in a sandbox itself

Packets of a macvlan or an ipvlan pass no rule of the host's. Its rules are in the sandbox, in
tables by the first name of the link, so that who has CAP_NET_ADMIN there can remove them: pynet
then puts them back. A raw socket can take a frame for something that it is not, hence the two types
that must agree. An ipvlan has the MAC of its parent: its frames are told by their addresses alone.

A macvlan with 192.0.2.66, now called eth0, that is guarded and has the published port 80:

"""

_BITS = {
    LinkPolicy.NONE: "every bridge of pynet's",
    LinkPolicy.NO_EGRESS: "and its packets leave for nowhere: an internal network",
    LinkPolicy.ROUTED_IPV4: "and IPv4 is routed to it: it answers pings from outside",
    LinkPolicy.ROUTED_IPV6: "the same for IPv6",
    LinkPolicy.APART: "and its endpoints are kept apart: `icc=false`, `isolate=ports`",
    LinkPolicy.PORT: "the host's end of an endpoint's veth pair",
    LinkPolicy.PORT | LinkPolicy.GUARDED: "and the endpoint sends only as itself",
    LinkPolicy.ROUTED_LINK: "the host's end of an endpoint that is routed to: mode `routed`",
    LinkPolicy.ROUTED_LINK | LinkPolicy.NO_EGRESS: "and only its own network reaches it",
    LinkPolicy.ROUTED_LINK | LinkPolicy.APART: "and no published port lets others kept apart in",
    LinkPolicy.ROUTED_LINK | LinkPolicy.OPEN: "and whoever is not ours reaches all its ports",
    LinkPolicy.ROUTED_LINK | LinkPolicy.STRICT: "and it sends only from addresses of its sandbox",
    LinkPolicy.DOOMED: "a link that goes within a second; it sends nothing any more",
}

_NETWORKS: dict[str, Network] = {
    "10.9.0.0/24 and fd09::/64": network("10.9.0.1/24", "fd09::1/64"),
    "… with `--internal`": network("10.9.0.1/24", "fd09::1/64", is_internal=True),
    "… with `-o masquerade=false`": network(
        "10.9.0.1/24", "fd09::1/64", options={"masquerade": "false"}
    ),
    "… with `-o isolate=ports`": network("10.9.0.1/24", "fd09::1/64", options={"isolate": "ports"}),
    "… with `-o gateway_mode_ipv6=routed`": network(
        "10.9.0.1/24", "fd09::1/64", options={"gateway_mode_ipv6": "routed"}
    ),
}


def rules_document() -> str:
    """Return docs/rules.md."""
    return "\n".join(
        [
            *(_OPENING + _groups(), _networks(), *map("\n".join, _scenarios())),
            *(_ports(), _endpoints(), _guard(), _sandbox()),
        ]
    )


def _groups() -> str:
    return "".join(f"| `{GROUP_BASE | bit:#x}` | {text} |\n" for bit, text in _BITS.items())


def _networks() -> str:
    rows = "".join(_row(title, made) for title, made in _NETWORKS.items())
    return "| network | group of its bridge | masqueraded | local |\n|---|---|---|---|\n" + rows


def _row(title: str, made: Network) -> str:
    planned = BridgeDriver().plan_network(made, view())
    (bridge,) = (o for o in planned if isinstance(o, Bridge))
    group = GROUP_BASE | (bridge.policy or LinkPolicy.NONE)
    masqueraded = sorted(str(o.subnet) for o in planned if isinstance(o, Masquerade))
    local = sorted(str(o.subnet) for o in planned if isinstance(o, LocalSubnet))
    return f"| {title} | `{group:#x}` | {', '.join(masqueraded)} | {', '.join(local)} |\n"


def _scenarios() -> list[tuple[str, str]]:
    return [
        _scenario(
            "The first network of a host without Docker",
            "",
            _installed(IPV4, filters_bridged=False, missing=_EVERYWHERE),
        ),
        _scenario(
            "Beside Docker",
            "Docker makes the kernel show bridged packets to these hooks: they pass. In the\n"
            "filter table our jump stands behind that to `DOCKER-USER`, whose rules stay first.",
            _installed(IPV4, filters_bridged=True, missing=_BESIDE_DOCKER),
        ),
        _scenario(
            "IPv6",
            "",
            _installed(IPV6, filters_bridged=True, missing=_BESIDE_DOCKER),
        ),
        _scenario(
            "The rules are renewed",
            "A chain that is declared is emptied and filled in one transaction; the jumps stay.",
            _installed(IPV4, filters_bridged=True, missing={}),
        ),
        _scenario(
            "The last network is gone",
            "",
            remove_text(dict.fromkeys(HOOKS, 1)),
        ),
    ]


_FORWARDS = {
    "`-p 8080:80`": forward(ANY, 8080, 80),
    "`-p 192.0.2.1:8080:80`": forward(ip_address("192.0.2.1"), 8080, 80),
    "`-p 8000-8099:8000-8099/udp`": forward(ANY, 8000, 8000, Protocol.UDP, 100),
    "`-p 8000-8001:9000-9001`": forward(ANY, 8000, 9000, Protocol.TCP, 2),
}


def _ports() -> str:
    rows = "".join(
        f"| {title} | `{element.table} {element.map}` | `{element.text}` |\n"
        for title, made in _FORWARDS.items()
        for element in elements(made)
    )
    return (
        "## Published ports\n\n"
        f"```\n# nft -f\n{tables.install_text(IPV4)}```\n\n"
        f"```\n# nft -f\n{tables.install_text(IPV6)}```\n\n"
        "A run that keeps its numbers is one element, whatever its length; one that changes them\n"
        "is one a port. On a network that is routed to, a published port is a member of\n"
        "`pynet-open` instead.\n\n"
        "What comes from outside to a port on a bridge leaves `PYNET-ISOLATE` at its second rule,\n"
        "so that one whose source pretends to be of the same network gets there without being\n"
        "masqueraded. Connections of a network to a port of its own carry the mark\n"
        f"`{PACKET_MARK:#x}`: another program that rewrites marks in mangle `FORWARD` breaks\n"
        "them.\n\n"
        "| published | map | element |\n|---|---|---|\n" + rows
    )


_SUBNET = ip_network("192.0.2.64/26")
_ENDPOINT = ip_address("192.0.2.66")
_REACHABLE: dict[str, tuple[Reachable, str]] = {
    "192.0.2.64/26": (RoutedPair(source=_SUBNET, destination=_SUBNET), f"{_SUBNET} . {_SUBNET}"),
    "… with a peer, 10.8.0.0/24": (
        RoutedPair(source=_SUBNET, destination=ip_network("10.8.0.0/24")),
        f"{_SUBNET} . 10.8.0.0/24",
    ),
    "`-p 80` of 192.0.2.66": (
        RoutedPort(protocol=Protocol.TCP, address=_ENDPOINT, first=80),
        f"{_ENDPOINT} . tcp . 80",
    ),
    "`-p 8000-8099/udp` of 192.0.2.66": (
        RoutedPort(protocol=Protocol.UDP, address=_ENDPOINT, first=8000, count=100),
        f"{_ENDPOINT} . udp . 8000-8099",
    ),
}


def _endpoints() -> str:
    rows = "".join(
        f"| {title} | `{table_of(IPV4)} {PAIRS if isinstance(made, RoutedPair) else PORTS}` "
        f"| `{text}` |\n"
        for title, (made, text) in _REACHABLE.items()
    )
    return (
        "## Who reaches a routed endpoint\n\n"
        "The first network of mode `routed` adds this to the tables above. After the last one,\n"
        "reconciliation takes it away again, up to 30 s later.\n\n"
        f"```\n# nft -f\n{_more(IPV4)}```\n\n"
        f"```\n# nft -f\n{_more(IPV6)}```\n\n"
        "Only once the chain is there, `PYNET-ISOLATE` passes on what it has let through. Instead\n"
        "of the rule that drops what goes to `0x50590010`, it then has two, which go before the\n"
        "chain does:\n\n"
        f"```\n{_passing(IPV4)}```\n\n"
        "A network with `icc=false` has no pair of its own.\n\n"
        "| of | set | element |\n|---|---|---|\n" + rows
    )


def _more(family: Family) -> str:
    without = tables.install_text(family).splitlines()
    whole = tables.install_text(family, filters_routed=True).splitlines(keepends=True)
    gone = {line.replace("delete", "add", 1) for line in without if line.startswith("delete")}
    return "".join(
        line
        for line in whole
        if line.rstrip("\n") not in without or any(line.startswith(f"{add} {{") for add in gone)
    )


def _passing(family: Family) -> str:
    without = chains(family, filters_bridged=True)["mangle"]
    whole = chains(family, filters_bridged=True, filters_routed=True)["mangle"]
    return "".join(f"-A PYNET-ISOLATE {rule}\n" for rule in whole if rule not in without)


def _installed(family: Family, *, filters_bridged: bool, missing: dict[str, int]) -> str:
    return install_text(family, filters_bridged=filters_bridged, missing_jumps=missing)


def _scenario(title: str, remark: str, rules: str) -> tuple[str, str]:
    program = "ip6tables-restore" if IPV6.masquerade_set in rules else "iptables-restore"
    said = f"{remark}\n\n" if remark else ""
    return f"## {title}\n", f"{said}```\n# {program} --noflush\n{rules}```\n"


def _guard() -> str:
    example = SpoofGuard(
        link="pyv0123456789ab",
        mac="02:42:0a:09:00:02",
        addresses=frozenset({ip_address("10.9.0.2"), ip_address("fd09::2")}),
    )
    made, added = guard.install_text(), guard.add_text(guard.elements(example))
    return f"{_GUARD}```\n# nft -f -\n{made}```\n\n{_EXAMPLE}```\n# nft -f -\n{added}```\n"


def _sandbox() -> str:
    example = SandboxFilter(
        link="pyp0123456789ab",
        netns="/run/docker/netns/0123456789ab",
        mac="02:42:c0:00:02:42",
        addresses=frozenset({_ENDPOINT}),
        guards=True,
        ports=frozenset({(Protocol.TCP, 80, 80)}),
    )
    made = sandboxed.install_text(example, name="eth0", index=7)
    return f"{_SANDBOX}```\n# nft -f -\n{made}```\n"
