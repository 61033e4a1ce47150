"""The text of our iptables rules: three chains a family, of constant length.

Packets are told apart by the device group of the links they cross (its high bits say that a link is
ours, its low bits which policy it has) and by a few sets. Nothing here grows with the number of
networks or endpoints. docs/rules.md shows the result.

The first packet of a connection that must seem to come from the host is marked where both its links
are known, in the mangle table, for the nat table, where only one is. Later ones keep their marks.

What isolates stands in the mangle table: Docker's rules, and those of others, accept in the filter
table, and whose jump comes first there changes with every restart of dockerd.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from netplug.plan.objects import GROUP_BASE, GROUP_MASK, PACKET_MARK, LinkPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What differs between IPv4 and IPv6."""

    version: int
    icmp: str
    policy: LinkPolicy

    @property
    def masquerade_set(self) -> str:
        """Return the ipset of subnets that take the uplink's address on their way out."""
        return f"pynet-masq{self.version}"

    @property
    def local_set(self) -> str:
        """Return the ipset of (subnet, bridge) pairs that are one network."""
        return f"pynet-local{self.version}"

    @property
    def hub_set(self) -> str:
        """Return the ipset of endpoints that all others on their network reach, and they them."""
        return f"pynet-hub{self.version}"

    @property
    def peer_set(self) -> str:
        """Return the ipset of (subnet, bridge of another network) pairs that may talk."""
        return f"pynet-peer{self.version}"

    @property
    def direct_set(self) -> str:
        """Return the ipset of (endpoint, bridge that it answers directly, by another link)."""
        return f"pynet-direct{self.version}"

    @property
    def engine_set(self) -> str:
        """Return the ipset of the subnets of the engine's own networks."""
        return f"pynet-engine{self.version}"

    @property
    def open_set(self) -> str:
        """Return the ipset of (address, port) pairs that are reached by routing."""
        return f"pynet-open{self.version}"

    @property
    def command(self) -> str:
        """Return the prefix of the programs of this family."""
        return "iptables" if self.version == 4 else "ip6tables"


IPV4 = Family(version=4, icmp="icmp", policy=LinkPolicy.ROUTED_IPV4)
IPV6 = Family(version=6, icmp="ipv6-icmp", policy=LinkPolicy.ROUTED_IPV6)

# table -> (hook, our chain)
HOOKS = {
    "mangle": ("FORWARD", "PYNET-ISOLATE"),
    "filter": ("FORWARD", "PYNET-FORWARD"),
    "nat": ("POSTROUTING", "PYNET-POSTROUTING"),
}

_OURS = f"{GROUP_BASE:#x}/{GROUP_MASK:#x}"
_NO_JUMPS: Mapping[str, int] = MappingProxyType({})


def chains(
    family: Family, *, filters_bridged: bool, filters_routed: bool = False
) -> dict[str, list[str]]:
    """Return the rules of each of our chains, by table, as iptables-restore reads them.

    What comes from outside to a port that is published on a bridge leaves early. With
    `filters_routed`, what goes to a routed endpoint has been decided by nftables, but for what
    comes from the engine's own networks, which gets nowhere; without it, nothing new gets there.
    """
    to_endpoint = f"-m devgroup --dst-group {_with(LinkPolicy.ROUTED_LINK)}"
    decided = [f"{to_endpoint} -j DROP"]
    if filters_routed:
        from_engine = f"-m set --match-set {family.engine_set} src"
        decided = [f"{to_endpoint} {from_engine} -j DROP", f"{to_endpoint} -j RETURN"]
    bridged = ["-m physdev --physdev-is-bridged -j RETURN"] if filters_bridged else []
    inside = _with(LinkPolicy.NO_EGRESS)
    from_ours = f"-m devgroup --src-group {_OURS}"
    bridge_of_ours = f"{GROUP_BASE:#x}/{GROUP_MASK | LinkPolicy.ROUTED_LINK:#x}"
    mark = f"-j MARK --set-xmark {PACKET_MARK:#x}/0xffffffff"
    is_local = f"-m set --match-set {family.local_set}"
    is_no_hub = f"-m set ! --match-set {family.hub_set}"
    loopback = (
        [f"-s 127.0.0.0/8 -m devgroup --dst-group {_OURS} -j MASQUERADE"]
        if family.version == 4
        else []
    )
    return {
        "mangle": [
            "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
            f"-m devgroup ! --src-group {_OURS} --dst-group {bridge_of_ours} "
            "-m conntrack --ctstate DNAT -j RETURN",
            f"-m devgroup ! --src-group {_OURS} ! --dst-group {_OURS} -j RETURN",
            f"-m conntrack --ctstate DNAT {is_local} src,dst {mark}",
            *bridged,
            *decided,
            f"-m devgroup --src-group {_with(LinkPolicy.APART)} {is_local} dst,src "
            f"{is_no_hub} src {is_no_hub} dst -j DROP",
            f"-m conntrack --ctstate DNAT -m set --match-set {family.direct_set} dst,src {mark}",
            f"-m conntrack --ctstate DNAT -m devgroup ! --src-group {inside} -j RETURN",
            f"{is_local} src,src {is_local} src,dst -j RETURN",
            f"-m devgroup --src-group {inside} -j DROP",
            f"-m devgroup --dst-group {inside} -j DROP",
            f"{is_local} src,src -m set --match-set {family.peer_set} src,dst -j RETURN",
            f"{from_ours} -m set --match-set {family.engine_set} dst -j DROP",
            f"-m set --match-set {family.open_set} dst,dst -j RETURN",
            f"-p {family.icmp} -m devgroup --dst-group {_with(family.policy)} -j RETURN",
            f"-m devgroup --dst-group {_OURS} -j DROP",
        ],
        "filter": [
            f"{from_ours} -j ACCEPT",
            f"-m devgroup --dst-group {_OURS} -j ACCEPT",
        ],
        "nat": [
            f"-m devgroup ! --dst-group {_OURS} "
            f"-m set --match-set {family.masquerade_set} src -j MASQUERADE",
            f"-m mark --mark {PACKET_MARK:#x} -j MASQUERADE",
            *loopback,
        ],
    }


def install_text(
    family: Family,
    *,
    filters_bridged: bool,
    missing_jumps: Mapping[str, int],
    spare_jumps: Mapping[str, int] = _NO_JUMPS,
    filters_routed: bool = False,
) -> str:
    """Return one iptables-restore transaction that replaces our chains.

    `missing_jumps` gives, for each table whose hook does not jump to us yet, the position to insert
    the jump at, once the `spare_jumps` of that table, so many, are gone. Declaring a chain empties
    it when restore runs with --noflush.
    """
    lines = []
    made = chains(family, filters_bridged=filters_bridged, filters_routed=filters_routed)
    for table, rules in made.items():
        hook, chain = HOOKS[table]
        lines += [f"*{table}", f":{chain} - [0:0]"]
        lines += [f"-A {chain} {rule}" for rule in rules]
        lines += [f"-D {hook} -j {chain}"] * spare_jumps.get(table, 0)
        if position := missing_jumps.get(table):
            lines.append(f"-I {hook} {position} -j {chain}")
        lines.append("COMMIT")
    return "\n".join(lines) + "\n"


def remove_text(present: dict[str, int]) -> str:
    """Return one transaction that removes our chains; `present` counts the jumps by table."""
    lines = []
    for table, jumps in present.items():
        hook, chain = HOOKS[table]
        lines += [f"*{table}", *[f"-D {hook} -j {chain}"] * jumps, f"-F {chain}", f"-X {chain}"]
        lines.append("COMMIT")
    return "\n".join(lines) + "\n"


def _with(policy: LinkPolicy) -> str:
    """Return the group match for our links that have `policy`."""
    value = GROUP_BASE | policy
    return f"{value:#x}/{GROUP_MASK | policy:#x}"
