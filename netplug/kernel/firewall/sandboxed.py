"""The rules that stand in a sandbox itself, beside a macvlan or an ipvlan.

Packets of such a link pass no rule of the host's. Each has tables of its own, by its first name:

    table netdev pynet-LINK   what it may send; an egress hook, as strict as the guard of a port
    table inet pynet-LINK     which ports new connections reach, if not all

They are written as a text once and for all, with the values of a sample. What the kernel then has
of it is copied with those of each link: `netplug.kernel.sandboxforms`.

Who is root in a sandbox, with CAP_NET_ADMIN, can remove them. A frame's own type is compared with
what the kernel takes it for, which a raw socket can set to something else.

Source: nft(8); Linux net/core/dev.c, nf_hook_egress; net/packet/af_packet.c, packet_snd.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from netplug.kernel.firewall.batch import mac_key, number_key, protocol_key
from netplug.kernel.firewall.guard import WRAPPED, Sender, chains_of, link_local
from netplug.kernel.firewall.image import NFPROTO_INET, NFPROTO_NETDEV, Image, element
from netplug.kernel.firewall.netfilter import attribute
from netplug.model import Protocol
from netplug.plan.objects import SandboxFilter

_EGRESS = 'type filter hook egress device "{}" priority 0;'
_INPUT = "type filter hook input priority 0;"
_DATA_VALUE = 1  # linux/netfilter/nf_tables.h, NFTA_DATA_VALUE

_SAMPLE = "sample"
_SAMPLE_MAC, _SAMPLE_ADDRESS = "02:50:00:00:00:01", ip_address("fe80::1")
_SAMPLE_DEVICE = "lo"
_SAMPLE_INDEX = 0x50594E45  # nothing else in the rules is this number


def samples(wish: SandboxFilter, *, can_guard: bool) -> Iterator[SandboxFilter]:
    """Yield a filter for each table that `wish` needs: all that have the same rules share it."""
    if wish.guards and can_guard:
        addresses = frozenset({_SAMPLE_ADDRESS} if wish.addresses else ())
        mac = _SAMPLE_MAC if wish.mac else ""
        yield SandboxFilter(link=_SAMPLE, netns="", mac=mac, addresses=addresses, guards=True)
    if wish.ports is not None:
        yield SandboxFilter(link=_SAMPLE, netns="", ports=frozenset())


def sample_text(sample: SandboxFilter) -> str:
    """Return one transaction that makes the table of a sample."""
    return install_text(sample, name=_SAMPLE_DEVICE, index=_SAMPLE_INDEX)


def table_of(sample: SandboxFilter) -> tuple[int, str]:
    """Return the family and the name of the table of a sample."""
    return NFPROTO_NETDEV if sample.guards else NFPROTO_INET, _name(sample.link)


def tables(
    forms: Iterable[Image], wish: SandboxFilter, *, name: str, index: int
) -> tuple[Image, ...]:
    """Return the tables of the link, now called `name`, each like one of `forms`.

    Raises:
        Unsupported: a form has not what the text of its sample says.
    """
    return tuple(
        _guard_like(form, wish, name)
        if form.family == NFPROTO_NETDEV
        else _ports_like(form, wish, index)
        for form in forms
    )


def names(link: str) -> list[tuple[int, str]]:
    """Return the family and the name of each table that a link may have."""
    return [(NFPROTO_NETDEV, _name(link)), (NFPROTO_INET, _name(link))]


def install_text(wish: SandboxFilter, *, name: str, index: int) -> str:
    """Return one transaction that makes the tables of the link, now called `name`.

    It fails where one is there already: nothing is deleted in vain, for the reason that
    `netplug.kernel.firewall.overlay` has.
    """
    lines = []
    if wish.guards:
        lines += _guard(wish, name)
    if wish.ports is not None:
        lines += _ports(wish.link, wish.ports, index)
    return "\n".join(lines) + "\n"


def _guard(wish: SandboxFilter, name: str) -> list[str]:
    table = f"netdev {_name(wish.link)}"
    sender = Sender(mac="ether saddr" if wish.mac else "", bare=None if wish.addresses else "")
    prefix = "ether_addr . " if wish.mac else ""
    sets = {
        "ipv4": f"type {prefix}ipv4_addr;",
        "ipv6": f"typeof {sender.key('@nh,64,128')};",
        "macs": "type ether_addr;",
    }
    lines = [f"create table {table}"]
    lines += [f"add set {table} {kept} {{ {kind} }}" for kept, kind in sets.items()]
    lines += [f"add element {table} {kept} {{ {value} }}" for kept, value, _ in _elements(wish)]
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


def _elements(wish: SandboxFilter) -> Iterator[tuple[str, str, bytes]]:
    """Yield set and element, the latter as nft takes it and as the kernel keeps it."""
    text, key = (f"{wish.mac} . ", mac_key(wish.mac)) if wish.mac else ("", b"")
    addresses = set(wish.addresses)
    if wish.mac:
        yield "macs", wish.mac, bytes.fromhex(wish.mac.replace(":", ""))
        addresses |= {link_local(wish.mac)} if addresses else set()
    for address in sorted(addresses, key=lambda one: (one.version, int(one))):
        value = str(address) if address.version == 4 else f"{int(address):#034x}"
        yield f"ipv{address.version}", text + value, key + address.packed


def _ports(link: str, ports: frozenset[tuple[Protocol, int, int]], index: int) -> list[str]:
    table = f"inet {_name(link)}"
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


def _guard_like(form: Image, wish: SandboxFilter, name: str) -> Image:
    held: dict[str, set[bytes]] = {kept: set() for kept in ("ipv4", "ipv6", "macs")}
    for kept, _, key in _elements(wish):
        held[kept].add(element(key))
    elements = {kept: frozenset(keys) for kept, keys in held.items()}
    return form.copy(_name(wish.link), device=name, elements=elements)


def _ports_like(form: Image, wish: SandboxFilter, index: int) -> Image:
    elements = frozenset(
        element(start + number_key(first, 2), start + number_key(last, 2))
        for protocol, first, last in wish.ports or ()
        for start in [protocol_key(protocol)]
    )
    values = {_number(_SAMPLE_INDEX): _number(index)}
    return form.copy(_name(wish.link), elements={"ports": elements}, values=values)


def _number(index: int) -> bytes:
    return attribute(_DATA_VALUE, struct.pack("=I", index))


def _name(link: str) -> str:
    return f"pynet-{link}"
