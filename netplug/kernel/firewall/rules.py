"""The text of our iptables rules: three chains a family, of constant length.

Packets are told apart by the device group of the links they cross (its high bits say that a link is
ours, its low bits which policy it has) and by two sets. Nothing here grows with the number of
networks or endpoints. docs/rules.md shows the result.

What isolates stands in the mangle table: Docker's rules, and those of others, accept in the filter
table, and whose jump comes first there changes with every restart of dockerd.
"""

from __future__ import annotations

from dataclasses import dataclass

from netplug.plan.objects import GROUP_BASE, GROUP_MASK, LinkPolicy


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


def chains(family: Family, *, filters_bridged: bool) -> dict[str, list[str]]:
    """Return the rules of each of our chains, by table, as iptables-restore reads them."""
    bridged = ["-m physdev --physdev-is-bridged -j RETURN"] if filters_bridged else []
    return {
        "mangle": [
            f"-m devgroup ! --src-group {_OURS} ! --dst-group {_OURS} -j RETURN",
            "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
            *bridged,
            f"-m set --match-set {family.local_set} src,src "
            f"-m set --match-set {family.local_set} src,dst -j RETURN",
            f"-m devgroup --src-group {_with(LinkPolicy.NO_EGRESS)} -j DROP",
            f"-p {family.icmp} -m devgroup --dst-group {_with(family.policy)} -j RETURN",
            f"-m devgroup --dst-group {_OURS} -j DROP",
        ],
        "filter": [
            f"-m devgroup --src-group {_OURS} -j ACCEPT",
            f"-m devgroup --dst-group {_OURS} -j ACCEPT",
        ],
        "nat": [
            f"-m set --match-set {family.masquerade_set} src "
            f"-m devgroup ! --dst-group {_OURS} -j MASQUERADE",
        ],
    }


def install_text(family: Family, *, filters_bridged: bool, missing_jumps: dict[str, int]) -> str:
    """Return one iptables-restore transaction that replaces our chains.

    `missing_jumps` gives, for each table whose hook does not jump to us yet, the position to insert
    the jump at. Declaring a chain empties it when restore runs with --noflush.
    """
    lines = []
    for table, rules in chains(family, filters_bridged=filters_bridged).items():
        hook, chain = HOOKS[table]
        lines += [f"*{table}", f":{chain} - [0:0]"]
        lines += [f"-A {chain} {rule}" for rule in rules]
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
