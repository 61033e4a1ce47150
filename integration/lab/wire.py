"""What a host shows of itself on the wire: which addresses it claims, and sends from."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

from integration.lab import frames
from integration.lab.process import Process
from integration.lab.underlay import Underlay
from integration.lab.waiting import eventually

_ICMPV6 = 58
_SOLICITATION, _ADVERTISEMENT = 135, 136  # RFC 4861 sections 4.3, 4.4


@dataclass(slots=True)
class Seen:
    """The addresses in the frames that a host sent, by what they were there for.

    `claimed` are those that it said are at one of its MAC addresses: senders of ARP packets and of
    neighbour solicitations, and targets of advertisements. `sources` are those of its packets.
    """

    claimed: dict[str, set[str]] = field(default_factory=dict)
    sources: dict[str, set[str]] = field(default_factory=dict)

    def read(self, frame: bytes) -> None:
        mac = frame[6:12].hex(":")
        kind, body = struct.unpack("!H", frame[12:14])[0], frame[14:]
        if kind == frames.ETH_P_ARP:
            self.claimed.setdefault(str(IPv4Address(body[14:18])), set()).add(body[8:14].hex(":"))
        elif kind == frames.ETH_P_IP:
            self.sources.setdefault(str(IPv4Address(body[12:16])), set()).add(mac)
        elif kind == frames.ETH_P_IPV6:
            source = str(IPv6Address(body[8:24]))
            self.sources.setdefault(source, set()).add(mac)
            if body[6] == _ICMPV6 and body[40] == _SOLICITATION:
                self.claimed.setdefault(source, set()).add(mac)
            if body[6] == _ICMPV6 and body[40] == _ADVERTISEMENT:
                self.claimed.setdefault(str(IPv6Address(body[48:64])), set()).add(mac)


class Wire:
    """A listener on the port that a host is plugged into."""

    def __init__(self, listening: Process) -> None:
        self._listening = listening

    def seen(self) -> Seen:
        """Return what the host has shown so far."""
        seen = Seen()
        for line in self._listening.output().splitlines():
            if line != frames.LISTENING:
                seen.read(bytes.fromhex(line))
        return seen


@contextmanager
def tapped(underlay: Underlay, number: int) -> Iterator[Wire]:
    """Listen to what the host of that number sends."""
    port = underlay.port(number)
    with underlay.popen(frames.listener(port), log=f"wire-{port}") as listening:
        eventually(
            lambda: frames.LISTENING in listening.output(),
            "the wire is tapped",
            detail=listening.tail,
        )
        yield Wire(listening)


def global_addresses(addresses: Iterable[str]) -> set[str]:
    """Return those that are neither link-local nor unspecified."""
    return {
        address
        for address in addresses
        if not (ip_address(address).is_link_local or ip_address(address).is_unspecified)
    }
