"""The text of the rules that stand in a sandbox itself, beside a macvlan or an ipvlan.

Packets of such a link pass no rule of the host's. Each has tables of its own, by its first name:

    table netdev pynet-LINK   what it may send; an egress hook, as strict as the guard of a port
    table inet pynet-LINK     which ports new connections reach, if not all

Who is root in a sandbox, with CAP_NET_ADMIN, can remove them. A frame's own type is compared with
what the kernel takes it for, which a raw socket can set to something else.

Source: nft(8); Linux net/core/dev.c, nf_hook_egress; net/packet/af_packet.c, packet_snd.
"""

from __future__ import annotations

from collections.abc import Iterator

from netplug.kernel.firewall.guard import WRAPPED, Sender, chains_of, link_local
from netplug.model import Protocol
from netplug.plan.objects import SandboxFilter

_EGRESS = 'type filter hook egress device "{}" priority 0;'
_INPUT = "type filter hook input priority 0;"


def guard_table(link: str) -> str:
    """Return the table of what a link may send, as nft takes it."""
    return f"netdev pynet-{link}"


def ports_table(link: str) -> str:
    """Return the table of the ports of a link, as nft takes it."""
    return f"inet pynet-{link}"


def tables(wish: SandboxFilter, *, can_guard: bool) -> list[str]:
    """Return the tables that `wish` needs, where this kernel can guard or not."""
    found = [guard_table(wish.link)] if wish.guards and can_guard else []
    return found if wish.ports is None else [*found, ports_table(wish.link)]


def install_text(wish: SandboxFilter, *, name: str, index: int, can_guard: bool) -> str:
    """Return one transaction that makes the tables of the link, now called `name`.

    It fails where one is there already: nothing is deleted in vain, for the reason that
    `netplug.kernel.firewall.overlay` has.
    """
    lines = []
    if wish.guards and can_guard:
        lines += _guard(wish, name)
    if wish.ports is not None:
        lines += _ports(wish.link, wish.ports, index)
    return "\n".join(lines) + "\n"


def remove_text(link: str, *, can_guard: bool) -> str:
    """Return one transaction that removes the tables of a link, which may be there or not."""
    names = [guard_table(link)] if can_guard else []
    names.append(ports_table(link))
    return "".join(f"add table {name}\ndelete table {name}\n" for name in names)


def list_texts(wish: SandboxFilter, *, can_guard: bool) -> list[str]:
    """Return what lists each table that `wish` needs; it fails where one is not there.

    One by one: nft reads only the last of the tables that a text lists.
    """
    return [f"list table {name}" for name in tables(wish, can_guard=can_guard)]


def _guard(wish: SandboxFilter, name: str) -> list[str]:
    table = guard_table(wish.link)
    sender = Sender(mac="ether saddr" if wish.mac else "", bare=None if wish.addresses else "")
    prefix = "ether_addr . " if wish.mac else ""
    sets = {
        "ipv4": f"type {prefix}ipv4_addr;",
        "ipv6": f"typeof {sender.key('@nh,64,128')};",
        "macs": "type ether_addr;",
    }
    lines = [f"create table {table}"]
    lines += [f"add set {table} {kept} {{ {kind} }}" for kept, kind in sets.items()]
    lines += [f"add element {table} {kept} {{ {value} }}" for kept, value in _elements(wish)]
    for chain, rules in chains_of(sender).items():
        lines.append(f"add chain {table} {chain}")
        lines += [f"add rule {table} {chain} {rule}" for rule in rules]
    lines.append(f"add chain {table} egress {{ {_EGRESS.format(name)} }}")
    lines += [f"add rule {table} egress {rule}" for rule in _by_type(sender)]
    return lines


def _by_type(sender: Sender) -> list[str]:
    """Return what sends each frame to the chain of its protocol."""
    return [
        "ether type . meta protocol vmap "
        "{ ip . ip : jump by_ipv4, ip6 . ip6 : jump by_ipv6, arp . arp : jump by_arp }",
        f"ether type {{ ip, ip6, arp, {', '.join(WRAPPED)} }} drop",
        *sender.when_own("accept"),
        "drop",
    ]


def _elements(wish: SandboxFilter) -> Iterator[tuple[str, str]]:
    prefix = f"{wish.mac} . " if wish.mac else ""
    addresses = set(wish.addresses)
    if wish.mac:
        yield "macs", wish.mac
        addresses |= {link_local(wish.mac)} if addresses else set()
    for address in sorted(addresses, key=lambda one: (one.version, int(one))):
        value = str(address) if address.version == 4 else f"{int(address):#034x}"
        yield f"ipv{address.version}", prefix + value


def _ports(link: str, ports: frozenset[tuple[Protocol, int, int]], index: int) -> list[str]:
    table = ports_table(link)
    open_ports = ", ".join(
        f"{protocol} . {first}-{last}" for protocol, first, last in sorted(ports)
    )
    rules = [
        f"iif != {index} accept",
        "ct state established,related accept",
        "meta l4proto { icmp, igmp, ipv6-icmp } accept",
        "meta l4proto . th dport @ports accept",
        "drop",
    ]
    return [
        f"create table {table}",
        f"add set {table} ports {{ type inet_proto . inet_service; flags interval; }}",
        *([f"add element {table} ports {{ {open_ports} }}"] if open_ports else []),
        f"add chain {table} input {{ {_INPUT} }}",
        *(f"add rule {table} input {rule}" for rule in rules),
    ]
