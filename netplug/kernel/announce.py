"""Tell the neighbours on a link that an address is here now: they may know it at another MAC.

    announcer = Announcer()
    announcer.announce(IPv4Address("192.0.2.7"), "eth0")

The kernel announces addresses of its own links (net.ipv4.conf.*.arp_notify, ndisc_notify), and
never those that it answers for.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from contextlib import suppress

from netplug.kernel.linkops import index_of
from netplug.model import IPAddress

_ETH_P_ARP, _ETH_P_IP = 0x0806, 0x0800
_ARPHRD_ETHER, _ARPOP_REQUEST = 1, 1
_SIOCGIFHWADDR = 0x8927  # linux/sockios.h
_IFREQ = struct.Struct("=16sH14s8x")  # net/if.h, with a struct sockaddr
_MAC_BYTES = 6
_EVERYBODY = b"\xff" * 6
_ARP = struct.Struct("!HHBBH6s4s6s4s")  # RFC 826

_ALL_NODES = "ff02::1"
_ADVERTISEMENT, _TARGET_LINK_LAYER_ADDRESS = 136, 2
_ROUTER_OVERRIDE = 0b101 << 29  # as the kernel's own answers of a host that forwards
_HOPS = 255  # others are dropped: RFC 4861 section 7.1.2
_ADVERT = struct.Struct("!BBHI16sBB6s")


class Announcer:
    """Announces on the links of the network namespace in which it does so first.

    Its packet socket stays open: to close one waits for a grace period, here for 11 ms.
    Source: Linux net/packet/af_packet.c packet_release.
    """

    def __init__(self) -> None:
        self._frames: socket.socket | None = None

    def announce(self, address: IPAddress, link: str) -> None:
        """Send one announcement, by ARP (RFC 5227 section 3) or unsolicited (RFC 4861 7.2.6).

        On a link that is down or gone, or has no MAC, nothing is sent: there is nobody to tell.
        """
        with suppress(OSError):
            if self._frames is None:  # of no protocol: it hears nothing
                self._frames = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            hardware, mac = _hardware_of(link, self._frames)
            if hardware != _ARPHRD_ETHER:
                return
            if address.version == 4:
                frame = _arp(mac, address.packed)
                self._frames.sendto(frame, (link, _ETH_P_ARP, 0, 0, _EVERYBODY))
            else:
                _advertise(mac, address.packed, link)

    def close(self) -> None:
        """Close the socket; repeating it is harmless."""
        if self._frames is not None:
            self._frames.close()
        self._frames = None


def _hardware_of(link: str, any_socket: socket.socket) -> tuple[int, bytes]:
    """Return the type of a link's hardware and its MAC."""
    found = fcntl.ioctl(any_socket, _SIOCGIFHWADDR, _IFREQ.pack(os.fsencode(link), 0, b""))
    _, hardware, mac = _IFREQ.unpack(found)
    return hardware, mac[:_MAC_BYTES]


def _arp(mac: bytes, address: bytes) -> bytes:
    head = (_ARPHRD_ETHER, _ETH_P_IP, len(mac), len(address), _ARPOP_REQUEST)
    return _ARP.pack(*head, mac, address, bytes(6), address)


def _advertise(mac: bytes, address: bytes, link: str) -> None:
    """Send a neighbour advertisement; the kernel chooses the source and adds the checksum."""
    message = _ADVERT.pack(
        *(_ADVERTISEMENT, 0, 0, _ROUTER_OVERRIDE, address),
        *(_TARGET_LINK_LAYER_ADDRESS, 1, mac),
    )
    index = index_of(link)
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sender:
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOPS)
        sender.sendto(message, (_ALL_NODES, 0, 0, index))
