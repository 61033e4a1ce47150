"""What was put back, in a few words: for the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from netplug.plan.diff import Change, Create, Delete, Step
from netplug.plan.objects import (
    Firewall,
    PortForward,
    ProxyNeighbour,
    Route,
    RoutedFilter,
    SandboxMtu,
    Sysctl,
)

_STRANGE = "strange entries removed"


def mended_text(steps: Sequence[Step]) -> str:
    """Return what was put back of the packet filter: its faults by name, the rest counted."""
    faults: list[str] = []
    counts: Counter[str] = Counter()
    for step in steps:
        match step:
            case Change(Firewall(), Firewall(faults=found)) if found:
                faults += found
            case Create(Firewall()) | Change(Firewall()) | Delete(Firewall()):
                faults.append("the rules")
            case Create(RoutedFilter()):
                faults.append("the rules for routed endpoints")
            case Delete():
                counts[_STRANGE] += 1
            case Create(PortForward()) | Change(PortForward()):
                counts["published ports"] += 1
            case _:
                counts["entries of sets"] += 1
    return _joined(faults, counts)


def uplinked_text(steps: Sequence[Step]) -> str:
    """Return what was put back on uplinks: switches by name, the rest counted."""
    switches: list[str] = []
    counts: Counter[str] = Counter()
    for step in steps:
        match step.object:
            case _ if isinstance(step, Delete):
                counts[_STRANGE] += 1
            case Sysctl(name=name):
                switches.append(name)
            case Route():
                counts["routes"] += 1
            case ProxyNeighbour():
                counts["proxied addresses"] += 1
            case SandboxMtu():
                counts["MTUs in sandboxes"] += 1
            case obj if obj.key.kind == "link":
                counts["links"] += 1
            case _:
                counts["what goes with them"] += 1
    return _joined(switches, counts)


def _joined(names: Sequence[str], counts: Counter[str]) -> str:
    return ", ".join([*names, *(f"{word}: {number}" for word, number in counts.items())])
