"""What the kernel of a host holds, read with iproute2 and ipset, not with our own netlink code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from integration.lab import Host, eventually

_READ = "ip -json -details address show; echo; ipset save"
REMOVAL_S = 2.0  # removals are gathered for 50 ms; a busy machine adds to that


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    name: str
    kind: str
    master: str
    mtu_bytes: int
    mac: str
    is_up: bool
    addresses: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """All links, and all members of all sets as `ipset save` writes them."""

    links: Mapping[str, Link]
    members: frozenset[str]

    def ports_of(self, bridge: str) -> set[str]:
        return {link.name for link in self.links.values() if link.master == bridge}


def look(host: Host) -> Picture:
    """Read the kernel once."""
    links, _, sets = host.run(["sh", "-ec", _READ]).stdout.partition("\n\n")
    return Picture(
        links={link.name: link for link in map(_link, json.loads(links))},
        members=frozenset(line for line in sets.splitlines() if line.startswith("add ")),
    )


def wait_until_like(host: Host, before: Picture) -> None:
    """Wait until the links and set members of `before` are all there is.

    Raises:
        NeverHappened: naming what is too much or missing.
    """
    eventually(
        lambda: not _difference(before, look(host)),
        "the kernel is as before",
        deadline_s=REMOVAL_S,
        detail=lambda: " ".join(sorted(_difference(before, look(host)))),
    )


def wait_until_gone(host: Host, link: str) -> None:
    """Wait until there is no link of that name.

    Raises:
        NeverHappened: it is still there.
    """
    eventually(lambda: link not in look(host).links, f"link {link} goes", deadline_s=REMOVAL_S)


def bridge_of(network_id: str) -> str:
    """Return the name of a network's bridge that was not named by its user."""
    return f"py-{network_id[:12]}"


def host_link_of(endpoint_id: str) -> str:
    """Return the name of the end of a veth pair that stays outside."""
    return f"pyv{endpoint_id[:12]}"


def _difference(before: Picture, now: Picture) -> set[str]:
    return {*(now.links.keys() ^ before.links.keys()), *(now.members ^ before.members)}


def _link(found: Mapping[str, Any]) -> Link:
    return Link(
        name=found["ifname"],
        kind=found.get("linkinfo", {}).get("info_kind", ""),
        master=found.get("master", ""),
        mtu_bytes=found["mtu"],
        mac=found["address"],
        is_up="UP" in found["flags"],
        addresses=frozenset(
            f"{a['local']}/{a['prefixlen']}" for a in found["addr_info"] if a.get("scope") != "link"
        ),
    )
