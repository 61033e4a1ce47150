"""Writes docs/rules.md from the code that makes the rules, so that the two cannot part."""

from __future__ import annotations

from drivers.bridge import BridgeDriver
from netplug.kernel.firewall.rules import (
    HOOKS,
    IPV4,
    IPV6,
    Family,
    install_text,
    remove_text,
)
from netplug.model import Network
from netplug.plan.objects import GROUP_BASE, Bridge, LinkPolicy, LocalSubnet, Masquerade
from tests.drivers.networks import network, view

_EVERYWHERE = dict.fromkeys(HOOKS, 1)
_BESIDE_DOCKER = {**_EVERYWHERE, "filter": 2}

_OPENING = """\
# The packet filter rules

<!-- Written by tests/kernel/test_rules.py from netplug/kernel/firewall/rules.py:
     pytest tests/kernel --update-golden -->

pynet has three chains a family, of constant length whatever the number of networks and endpoints.
It never sets a policy and touches no rule of anybody else; each chain hangs on one jump. `pynet
verify` says when one of them is gone.

A packet is told apart by the device group of the links that it crosses and by two sets a family:

| | holds |
|---|---|
| `pynet-masq4`, `pynet-masq6` | subnets that take the uplink's address on their way out |
| `pynet-local4`, `pynet-local6` | subnet and bridge of each network: what stays at home |

| device group | is on |
|---|---|
"""

_BITS = {
    LinkPolicy.NONE: "every bridge of pynet's",
    LinkPolicy.NO_EGRESS: "and its packets leave for nowhere: an internal network",
    LinkPolicy.ROUTED_IPV4: "and IPv4 is routed to it: it answers pings from outside",
    LinkPolicy.ROUTED_IPV6: "the same for IPv6",
    LinkPolicy.PORT: "the host's end of an endpoint's veth pair",
    LinkPolicy.DOOMED: "a link that goes within a second; no policy applies any more",
}

_NETWORKS: dict[str, Network] = {
    "10.9.0.0/24 and fd09::/64": network("10.9.0.1/24", "fd09::1/64"),
    "… with `--internal`": network("10.9.0.1/24", "fd09::1/64", is_internal=True),
    "… with `-o masquerade=false`": network(
        "10.9.0.1/24", "fd09::1/64", options={"masquerade": "false"}
    ),
    "… with `-o gateway_mode_ipv6=routed`": network(
        "10.9.0.1/24", "fd09::1/64", options={"gateway_mode_ipv6": "routed"}
    ),
}


def rules_document() -> str:
    """Return docs/rules.md."""
    return "\n".join([_OPENING + _groups(), _networks(), *map("\n".join, _scenarios())])


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


def _installed(family: Family, *, filters_bridged: bool, missing: dict[str, int]) -> str:
    return install_text(family, filters_bridged=filters_bridged, missing_jumps=missing)


def _scenario(title: str, remark: str, rules: str) -> tuple[str, str]:
    program = "ip6tables-restore" if IPV6.masquerade_set in rules else "iptables-restore"
    said = f"{remark}\n\n" if remark else ""
    return f"## {title}\n", f"{said}```\n# {program} --noflush\n{rules}```\n"
