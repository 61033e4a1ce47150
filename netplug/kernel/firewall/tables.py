"""The text of our nftables: maps that translate published ports, and who reaches routed endpoints.

iptables has no rule that looks a destination up, so that each published port would be a rule of its
own. Here a new connection takes three look-ups, whatever is published:

    ports      a port of one address of the host        hash
    any_ports  a port of every address of the host      hash
    ranges     a run of ports that keep their numbers   interval tree

What leaves by the link of a routed endpoint is decided by two sets:

    routed_pairs  subnets of endpoints, of one network or of peers, that reach each other
    routed_ports  published ports of an endpoint

and what comes in by it by one more:

    routed_sources  the link, with an address of its sandbox that is routed to by another link

The chains that ask them do so while some network has such endpoints.

Everything stands in tables of our own beside the chains of iptables; their hooks come one before
iptables' own, and what is translated here is passed over there.

Source: nft(8); Linux net/netfilter/nf_nat_core.c, nf_nat_inet_fn: the first translation stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from netplug.kernel.firewall.rules import IPV4, IPV6, Family
from netplug.model import IPAddress, Protocol
from netplug.plan.objects import (
    GROUP_BASE,
    GROUP_MASK,
    SOCKET_MARK,
    LinkPolicy,
    PortForward,
)

TABLE = "pynet"
MAPS = ("ports", "any_ports", "ranges")
PAIRS, PORTS, SOURCES = "routed_pairs", "routed_ports", "routed_sources"
ROUTED = "routed"
_BEFORE_MANGLE = -151


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a map: where a port, or a run of ports, of the host leads."""

    table: str
    map: str
    key: str
    value: str

    @property
    def text(self) -> str:
        """Return it as nft takes and shows it."""
        return f"{self.key} : {self.value}"


def family_of(address: IPAddress) -> Family:
    """Return the family of an address."""
    return IPV4 if address.version == 4 else IPV6


def table_of(family: Family) -> str:
    """Return the name of our table of a family, as nft takes it."""
    return f"{_word(family)} {TABLE}"


def install_text(family: Family, *, filters_routed: bool = False, guards_relay: bool = True) -> str:
    """Return one transaction that makes our table, or its rules anew; the maps keep their elements.

    A packet from outside is never translated for 127.0.0.0/8 or ::1, and a container sends none to
    or from 127.0.0.0/8, since our bridges let such packets out (route_localnet). From ::1 the
    kernel sends nothing out, and a link-local address means something on its own link only: the
    relay answers both. With `guards_relay`, for which the kernel needs nft_socket, it does not
    answer an internal network, nor others than the host at 127.0.0.1, even where a host takes
    packets for that from everywhere. Without `filters_routed`, nothing asks who reaches a routed
    endpoint: there is none.
    """
    table, word, kind = table_of(family), _word(family), _kind(family)
    loopback = "127.0.0.0/8" if family.version == 4 else "::1"
    maps = {
        "ports": f"type {kind} . inet_proto . inet_service : {kind} . inet_service;",
        "any_ports": f"type inet_proto . inet_service : {kind} . inet_service;",
        "ranges": f"type {kind} . inet_proto . inet_service : {kind}; flags interval;",
    }
    sets = {
        PAIRS: f"type {kind} . {kind}; flags interval;",
        PORTS: f"type {kind} . inet_proto . inet_service; flags interval;",
        SOURCES: f"type ifname . {kind};",
    }
    nat = "type nat hook {} priority -101;"
    to_us = "fib daddr type local jump publish"
    if family.version == 6:
        to_us = f"ip6 saddr != fe80::/10 {to_us}"
    chains: dict[str, tuple[str, list[str]]] = {
        "publish": (
            "",
            [
                f"dnat {word} to {word} daddr . meta l4proto . th dport map @ports",
                f"dnat {word} to meta l4proto . th dport map @any_ports",
                f"dnat to {word} daddr . meta l4proto . th dport map @ranges",
            ],
        ),
        "prerouting": (nat.format("prerouting"), [f"{word} daddr != {loopback} {to_us}"]),
        "output": (
            nat.format("output"),
            [to_us if family.version == 4 else f"{word} daddr != {loopback} {to_us}"],
        ),
    }
    hook = f"type filter hook forward priority {_BEFORE_MANGLE};"
    chains[ROUTED] = (hook, _routed(family) if filters_routed else [])
    martians = _martians(family, filters_routed=filters_routed)
    chains["martians"] = ("type filter hook prerouting priority -300;", martians)
    if guards_relay:
        chains["relayed"] = ("type filter hook input priority 0;", _relayed(family))
    lines = [f"add table {table}"]
    lines += [f"add map {table} {name} {{ {kind} counter; }}" for name, kind in maps.items()]
    lines += [f"add set {table} {name} {{ {kind} }}" for name, kind in sets.items()]
    for name, (hook, _) in chains.items():
        lines += [f"add chain {table} {name}" + (f" {{ {hook} }}" if hook else "")]
        lines += [f"flush chain {table} {name}"]
    lines += [] if filters_routed else [f"delete chain {table} {ROUTED}"]
    for name, (_, rules) in chains.items():
        lines += [f"add rule {table} {name} {rule}" for rule in rules]
    return "\n".join(lines) + "\n"


def _martians(family: Family, *, filters_routed: bool) -> list[str]:
    """Return what drops packets that nobody honest sends; those of others leave at once.

    IP comes in by a bridge, never by a port of it, except for frames to the bridge's own group
    addresses (01:80:c2:00:00:0x): they pass by the bridge and the spoof guard to the port's own IP.
    Source: Linux net/bridge/br_input.c, br_handle_frame, is_link_local_ether_addr.
    """
    not_a_bridge = LinkPolicy.PORT | LinkPolicy.DOOMED
    found = [
        f"{_group('iif', LinkPolicy.NONE, '!=')} accept",
        f"meta iifgroup & {not_a_bridge:#x} != 0x0 drop",
    ]
    if family.version == 4:
        found += [f"ip {end} 127.0.0.0/8 drop" for end in ("daddr", "saddr")]
    if filters_routed:
        own = "" if family.version == 4 else "ip6 saddr != { ::, fe80::/10 } "
        foreign = f"iifname . {_word(family)} saddr != @{SOURCES}"
        found.append(f"{_from(LinkPolicy.STRICT)} {own}fib saddr . iif oif 0 {foreign} drop")
    return found


def _routed(family: Family) -> list[str]:
    """Return what decides who reaches an endpoint that is routed to.

    An internal network is reached by itself and its peers only. Endpoints that are kept apart do
    not reach each other's published ports either.
    """
    word = _word(family)
    link, apart = LinkPolicy.ROUTED_LINK, LinkPolicy.APART
    icmp = "icmp" if family.version == 4 else "icmpv6"
    return [
        f"{_group('oif', link, '!=')} accept",
        "ct state established,related accept",
        f"{_from(link)} {word} saddr . {word} daddr @{PAIRS} accept",
        f"{_group('oif', LinkPolicy.NO_EGRESS)} drop",
        f"{_from(LinkPolicy.NO_EGRESS)} drop",
        f"{_from(link | apart)} {_group('oif', apart)} drop",
        f"{word} daddr . meta l4proto . th dport @{PORTS} accept",
        f"{_from(LinkPolicy.NONE)} drop",
        f"{_group('oif', LinkPolicy.OPEN)} accept",
        f"{icmp} type echo-request accept",
        "drop",
    ]


def _relayed(family: Family) -> list[str]:
    """Return what keeps packets from sockets of ours, of which the relay has those that answer."""
    closed = [_from(LinkPolicy.NO_EGRESS)]
    if family.version == 4:
        closed.append('iif != "lo" ip daddr 127.0.0.0/8')
    else:  # an endpoint would reach those that it is kept apart from
        closed.append(f"{_from(LinkPolicy.APART)} ip6 saddr fe80::/10")
    return [f"{match} socket mark {SOCKET_MARK:#x} drop" for match in closed]


def _from(policy: LinkPolicy) -> str:
    return _group("iif", policy)


def _group(end: str, policy: LinkPolicy, how: str = "==") -> str:
    """Return the match for our links that have `policy`."""
    return f"meta {end}group & {GROUP_MASK | policy:#x} {how} {GROUP_BASE | policy:#x}"


def elements(forward: PortForward) -> Iterator[Element]:
    """Yield the map elements of a forward: one, or one a port where a run changes its numbers."""
    table = table_of(family_of(forward.address))
    protocol, to = forward.protocol, forward.to_address
    is_any = forward.address.is_unspecified
    if forward.count > 1 and forward.first == forward.to_port:
        host = f"{forward.address}/0" if is_any else str(forward.address)
        run = f"{forward.first}-{forward.first + forward.count - 1}"
        yield Element(table, "ranges", f"{host} . {protocol} . {run}", str(to))
        return
    for number in range(forward.count):
        key = f"{protocol} . {forward.first + number}"
        value = f"{to} . {forward.to_port + number}"
        if is_any:
            yield Element(table, "any_ports", key, value)
        else:
            yield Element(table, "ports", f"{forward.address} . {key}", value)


def forward_of(element: Element) -> PortForward:
    """Return the forward of which `element` is the whole."""
    family = IPV4 if element.table == table_of(IPV4) else IPV6
    *host, protocol, run = element.key.split(" . ")
    any_address = "0.0.0.0" if family.version == 4 else "::"  # noqa: S104 - not bound, matched
    address = host[0].partition("/")[0] if host else any_address
    first, _, last = run.partition("-")
    to, _, port = element.value.partition(" . ")
    return PortForward(
        protocol=Protocol(protocol),
        address=ip_address(address),
        first=int(first),
        count=int(last or first) - int(first) + 1,
        to_address=ip_address(to),
        to_port=int(port or first),
    )


def _word(family: Family) -> str:
    return "ip" if family.version == 4 else "ip6"


def _kind(family: Family) -> str:
    return f"ipv{family.version}_addr"
