"""Kernel objects and plans as stable text: for dry runs, logs, golden files and people."""

from __future__ import annotations

from dataclasses import fields

from netplug.model import Protocol, StaticRoute
from netplug.plan.diff import Change, Create, Delete, Plan, Step
from netplug.plan.objects import (
    Address,
    Bridge,
    DirectAnswer,
    EngineSubnet,
    Firewall,
    HostPort,
    Hub,
    KernelObject,
    LinkPolicy,
    LocalSubnet,
    Masquerade,
    OpenPort,
    PeerSubnet,
    PortForward,
    ProxyNeighbour,
    Route,
    RoutedFilter,
    RoutedPair,
    RoutedPort,
    RoutedSource,
    RoutedVeth,
    SandboxFilter,
    SandboxLink,
    SandboxMtu,
    Shim,
    SpoofGuard,
    Sublink,
    Sysctl,
    Veth,
    Vlan,
)


def object_text(obj: KernelObject) -> str:
    """Return one line: what and which, then every field asked for, in the order of the class."""
    parts = [short_text(obj)]
    for f in fields(obj):
        value = getattr(obj, f.name)
        if value is None or f.name in _IN_KEY or (value == f.default and value in _EMPTY):
            continue
        parts.append(f"{f.name}={_value_text(value)}")
    return " ".join(parts)


def short_text(obj: KernelObject) -> str:
    """Return what and which: "bridge py-0123456789ab"."""
    return f"{_WORDS[type(obj)]} {obj.key.name}"


def objects_text(objects: frozenset[KernelObject]) -> str:
    """Return `objects`, one a line, sorted."""
    return "".join(sorted(object_text(o) + "\n" for o in objects))


def step_text(step: Step) -> str:
    """Return what a step does, for a person."""
    match step:
        case Create(obj):
            return f"create {object_text(obj)}"
        case Change(Firewall() as obj, Firewall(has_ipv6=None)):
            return f"change {short_text(obj)}: rules of an earlier run are replaced"
        case Change(Firewall() as obj, Firewall(faults=faults)) if faults:
            return f"change {short_text(obj)}: put back {', '.join(faults)}"
        case Change(obj, observed, differing):
            changes = ", ".join(
                f"{name} {_value_text(getattr(observed, name))} -> "
                f"{_value_text(getattr(obj, name))}"
                for name in sorted(differing)
            )
            return f"change {short_text(obj)}: {changes}"
        case Delete(obj):
            return f"delete {short_text(obj)}"


def difference_text(step: Step) -> str:
    """Return what `step` would mend, as a statement about the kernel."""
    match step:
        case Create(obj):
            return f"{short_text(obj)} is missing"
        case Change(Firewall() as obj, Firewall(faults=faults)) if faults:
            return f"{short_text(obj)} is off: {', '.join(faults)}"
        case Change(obj):
            return step_text(step).replace(
                f"change {short_text(obj)}:", f"{short_text(obj)} is off:"
            )
        case Delete(obj):
            return f"{short_text(obj)} is ours and not wanted"


def plan_text(plan: Plan) -> str:
    """Return the steps of `plan`, one a line."""
    return "".join(step_text(s) + "\n" for s in plan.steps)


_WORDS: dict[type[KernelObject], str] = {
    Bridge: "bridge",
    Veth: "veth",
    Address: "address",
    Sysctl: "sysctl",
    Masquerade: "masquerade",
    LocalSubnet: "local-subnet",
    Firewall: "firewall",
    SandboxLink: "sandbox-link",
    HostPort: "host-port",
    PortForward: "port-forward",
    PeerSubnet: "peer-subnet",
    Hub: "hub",
    DirectAnswer: "direct-answer",
    EngineSubnet: "engine-subnet",
    OpenPort: "open-port",
    SpoofGuard: "spoof-guard",
    RoutedVeth: "routed-veth",
    Vlan: "vlan",
    Sublink: "sublink",
    Shim: "shim",
    Route: "route",
    ProxyNeighbour: "proxy-neighbour",
    RoutedFilter: "routed-filter",
    RoutedPair: "routed-pair",
    RoutedPort: "routed-port",
    RoutedSource: "routed-source",
    SandboxMtu: "sandbox-mtu",
    SandboxFilter: "sandbox-filter",
}
_EMPTY: tuple[object, ...] = ((), frozenset(), "")
_IN_KEY = frozenset(
    {
        "name",
        "link",
        "address",
        "subnet",
        "source",
        "destination",
        "netns",
        "protocol",
        "first",
        "count",
    }
)


def _value_text(value: object) -> str:
    match value:
        case None:
            return "unknown"
        case bool():
            return "yes" if value else "no"
        case LinkPolicy():
            return value.name or "NONE"
        case StaticRoute(destination=destination, next_hop=next_hop):
            return f"{destination} via {next_hop}" if next_hop else f"{destination} on-link"
        case Sublink():
            return f"({object_text(value)})"
        case (Protocol() as protocol, int(first), int(last)):
            return f"{first}/{protocol}" if first == last else f"{first}-{last}/{protocol}"
        case tuple():
            return ",".join(_value_text(v) for v in value)
        case frozenset():
            return ",".join(sorted(_value_text(v) for v in value)) or "none"
        case _:
            return str(value)
