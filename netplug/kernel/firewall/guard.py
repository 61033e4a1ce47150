"""The text of the table that keeps endpoints to their own addresses.

A guarded port, known by its device group, sends its packets through one chain; what the port may
send is looked up in sets by the name of the port:

    ipv4    its MAC with each of its IPv4 addresses
    ipv6    its MAC with each of its IPv6 addresses, and the link-local one that follows from it
    macs    its MAC, for what has no address
    bare    no address is known of it: only the MAC is looked at

The number of rules is constant, and what is honest takes one look-up. A guarded port without
elements sends nothing, so that a port may be made after its elements and never has a moment
without them.

Source: nft(8); Linux net/bridge/netfilter/nf_tables_bridge.c.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from netplug.kernel.firewall.batch import NFPROTO_BRIDGE, Batch, interface_key, mac_key
from netplug.model import IPAddress
from netplug.plan.objects import GROUP_BASE, GROUP_MASK, LinkPolicy, SpoofGuard

_NAME = "pynet"
TABLE = f"bridge {_NAME}"
SETS = ("ipv4", "ipv6", "macs", "bare")

_LINK_LOCAL = 0xFE80 << 112  # RFC 4291 section 2.5.6
_LINK_LOCAL_BITS = 0x3FA  # fe80::/10
_BEFORE_BR_NETFILTER = -350

# frames in which an address hides from the rules: tags (802.1Q, 802.1ad), MPLS and PPPoE
WRAPPED = ("8021q", "8021ad", "0x8847", "0x8848", "0x8863", "0x8864")
_SOURCE_IPV6 = "@nh,64,128"
_TARGET_ND = "@th,64,128"  # RFC 4861 section 4.3; icmpv6 taddr comes with nft 1.0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """By what the rules know who sends: the parts of a key that stand before an address.

    `bare` matches a sender of which no address is known, always where it is empty; with None there
    is none. Without a `mac` each link-local address is taken for its own.
    """

    link: str = ""
    mac: str = "ether saddr"
    bare: str | None = None

    def key(self, *parts: str) -> str:
        """Return what is looked up in a set."""
        return " . ".join(part for part in (self.link, self.mac, *parts) if part)

    def when_bare(self, verdict: str) -> list[str]:
        """Return the rule for a sender of which no address is known."""
        return [] if self.bare is None else [f"{self.bare} {verdict}".strip()]

    def when_own(self, verdict: str) -> list[str]:
        """Return the rule for a frame that is from the MAC of the sender."""
        return [f"{self.key()} @macs {verdict}"] if self.mac else []

    def unless_own(self, value: str = "") -> list[str]:
        """Return the rule that drops what is not from the MAC of the sender."""
        key = f"{self.link} . {value}" if self.link and value else value or self.key()
        return [f"{key} != @macs drop"] if self.mac else []


BEHIND_A_PORT = Sender(link="iifname", bare="iifname @bare")


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a set: what a port may send."""

    set: str
    link: str
    value: str = ""

    @property
    def text(self) -> str:
        """Return it as nft takes it."""
        name = f'"{self.link}"'
        return f"{name} . {self.value}" if self.value else name

    @property
    def key(self) -> bytes:
        """Return it as the kernel keeps it."""
        mac, _, address = self.value.partition(" . ")
        key = interface_key(self.link) + (mac_key(mac) if mac else b"")
        if self.set == "ipv6":
            return key + int(address, 16).to_bytes(16)
        return key + (ip_address(address).packed if address else b"")


def install_text(table: str = TABLE) -> str:
    """Return one transaction that makes the table, or its rules anew; the sets keep elements.

    A link on its way out sends nothing: its elements go before it does.
    """
    sets = {
        "ipv4": "type ifname . ether_addr . ipv4_addr;",
        # bytes, so that a target can be looked up in it too
        "ipv6": f"typeof {BEHIND_A_PORT.key(_SOURCE_IPV6)};",
        "macs": "type ifname . ether_addr;",
        "bare": "type ifname;",
    }
    lines = [f"add table {table}"]
    lines += [f"add set {table} {name} {{ {kind} }}" for name, kind in sets.items()]
    for name, rules in chains().items():
        hook = f" {{ type filter hook prerouting priority {_BEFORE_BR_NETFILTER}; }}"
        lines.append(f"add chain {table} {name}" + (hook if name == "prerouting" else ""))
        lines.append(f"flush chain {table} {name}")
        lines += [f"add rule {table} {name} {rule}" for rule in rules]
    return "\n".join(lines) + "\n"


def chains() -> dict[str, list[str]]:
    """Return the rules of each chain; one that is jumped to stands before the jump."""
    wrapped = ", ".join(f"{kind} : drop" for kind in WRAPPED)
    guarded = LinkPolicy.GUARDED
    return {
        **chains_of(BEHIND_A_PORT),
        "guard": [
            "ether type ip jump by_ipv4",
            f"ether type vmap {{ ip6 : jump by_ipv6, arp : jump by_arp, {wrapped} }}",
            *BEHIND_A_PORT.when_own("accept"),
            "drop",
        ],
        "prerouting": [
            f"meta iifgroup & {GROUP_MASK | guarded:#x} == {GROUP_BASE | guarded:#x} jump guard",
            f"meta iifgroup {GROUP_BASE | LinkPolicy.DOOMED:#x} drop",
        ],
    }


def chains_of(sender: Sender) -> dict[str, list[str]]:
    """Return the rules for each protocol that tells addresses, whoever jumps to them."""
    source, target = sender.key(_SOURCE_IPV6), sender.key(_TARGET_ND)
    any_link_local, foreign_target, own_targets = [], "", [f"{target} @ipv6"]
    if not sender.mac:
        any_link_local = ["ip6 saddr fe80::/10 accept"]
        foreign_target = f"@th,64,10 != {_LINK_LOCAL_BITS:#x} "
        own_targets.append(f"@th,64,10 {_LINK_LOCAL_BITS:#x}")
    detection = "ip6 saddr :: icmpv6 type nd-neighbor-solicit"
    return {
        "by_arp": [
            *sender.unless_own(),
            *sender.when_bare("accept"),
            "arp htype != 1 drop",
            "arp ptype != ip drop",
            "arp hlen != 6 drop",
            "arp plen != 4 drop",
            *sender.unless_own("arp saddr ether"),
            f"{sender.key('arp saddr ip')} @ipv4 accept",
            "arp operation request arp saddr ip 0.0.0.0 accept",
            "drop",
        ],
        "by_ipv4": [
            "ip protocol igmp @th,0,8 0x11 drop",
            f"{sender.key('ip saddr')} @ipv4 accept",
            *sender.unless_own(),
            *sender.when_bare("accept"),
            "ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept",
            "drop",
        ],
        "by_nd": [
            "icmpv6 type { nd-router-advert, nd-redirect, mld-listener-query } drop",
            *sender.when_bare("return"),
            f"icmpv6 type nd-neighbor-advert {foreign_target}{target} != @ipv6 drop",
        ],
        "by_ipv6": [
            "meta l4proto ipv6-icmp jump by_nd",
            f"{source} @ipv6 accept",
            *any_link_local,
            *sender.unless_own(),
            *sender.when_bare("accept"),
            *(f"{detection} {own} accept" for own in own_targets),
            "ip6 saddr :: icmpv6 type { mld-listener-report, mld2-listener-report } accept",
            "drop",
        ],
    }


def elements(guard: SpoofGuard) -> frozenset[Element]:
    """Return what the sets hold for an endpoint."""
    found = {Element("macs", guard.link, guard.mac)}
    if not guard.addresses:
        found.add(Element("bare", guard.link))
        return frozenset(found)
    for address in {*guard.addresses, link_local(guard.mac)}:
        is_ipv4 = address.version == 4
        value = str(address) if is_ipv4 else f"{int(address):#x}"
        found.add(Element("ipv4" if is_ipv4 else "ipv6", guard.link, f"{guard.mac} . {value}"))
    return frozenset(found)


def guard_of(link: str, present: Collection[Element]) -> SpoofGuard:
    """Return the guard of which `present` is the whole; without a MAC if it is of none."""
    macs = sorted(e.value for e in present if e.set == "macs")
    addresses: set[IPAddress] = {ip_address(_end(e)) for e in present if e.set == "ipv4"}
    addresses |= {IPv6Address(int(_end(e), 16)) for e in present if e.set == "ipv6"}
    if len(macs) == 1:
        addresses.discard(link_local(macs[0]))
        guard = SpoofGuard(link=link, mac=macs[0], addresses=frozenset(addresses))
        if elements(guard) == frozenset(present):
            return guard
    return SpoofGuard(link=link, mac="", addresses=frozenset(addresses))


def add_text(new: Iterable[Element]) -> str:
    """Return what adds elements, a line each."""
    lines = [f"add element {TABLE} {e.set} {{ {e.text} }}\n" for e in new]
    return "".join(sorted(lines))


def change(gone: Iterable[Element], new: Iterable[Element]) -> Batch:
    """Return one transaction; `gone` may be there or not."""
    batch = Batch(NFPROTO_BRIDGE, _NAME)
    for element in gone:
        batch.delete(element.set, element.key)
    for element in new:
        batch.add(element.set, element.key)
    return batch


def link_local(mac: str) -> IPv6Address:
    """Return the link-local address that a link with this MAC gives itself.

    Source: RFC 4291 appendix A (EUI-64).
    """
    octets = bytes.fromhex(mac.replace(":", ""))
    eui = bytes([octets[0] ^ 0x02, *octets[1:3], 0xFF, 0xFE, *octets[3:]])
    return IPv6Address(_LINK_LOCAL | int.from_bytes(eui))


def _end(element: Element) -> str:
    return element.value.rpartition(" . ")[2]
