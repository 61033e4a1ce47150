"""In which order ports are published, and which of them must get one number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from netplug.model import IPAddress, PortMapping, PortRequest


@dataclass(frozen=True, slots=True)
class Wish:
    """A request, and the addresses of the host that it is for."""

    request: PortRequest
    host_ips: tuple[IPAddress, ...]

    def at(self, host_port: int) -> PortMapping:
        """Return the mapping that grants it."""
        return PortMapping(asked=self.request, host_ips=self.host_ips, host_port=host_port)


def grouped(wishes: Iterable[Wish]) -> list[list[Wish]]:
    """Return wishes in the order in which to grant them; those of a group get one host port.

    What has less of a choice goes first, or might find its port taken. Requests with a choice that
    differ in the address of the host alone are a group.
    Source: moby libnetwork/drivers/bridge/port_mapping_linux.go, needSamePort.
    """
    groups: list[list[Wish]] = []
    latest: dict[PortRequest, list[Wish]] = {}
    for wish in sorted(wishes, key=lambda wish: _freedom(wish.request)):
        key = anywhere(wish.request)
        group = latest.get(key)
        if group is None or not _freedom(wish.request) or _overlaps(wish, group):
            group = latest[key] = []
            groups.append(group)
        group.append(wish)
    return groups


def anywhere(request: PortRequest) -> PortRequest:
    """Return a request less the address of the host: equal in all of a group."""
    return replace(request, host_ip=None)


def _freedom(request: PortRequest) -> int:
    if not request.host_port:
        return 2
    return int(request.host_port_end > request.host_port)


def _overlaps(wish: Wish, group: Iterable[Wish]) -> bool:
    return any(wish.at(0).overlaps(other.at(0)) for other in group)
