"""Tell the neighbours on a link that an address is here now: they may know it at another MAC.

    announce(IPv4Address("192.0.2.7"), "eth0")

The kernel announces addresses of its own links (net.ipv4.conf.*.arp_notify, ndisc_notify), and
never those that it answers for.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

from netplug.kernel.linkops import index_of
from netplug.model import IPAddress

_ETH_P_ARP, _ETH_P_IP = 0x0806, 0x0800
_ARPHRD_ETHER, _ARPOP_REQUEST = 1, 1
_EVERYBODY = b"\xff" * 6
_ARP = struct.Struct("!HHBBH6s4s6s4s")  # RFC 826

_ALL_NODES = "ff02::1"
_ADVERTISEMENT, _TARGET_LINK_LAYER_ADDRESS = 136, 2
_ROUTER_OVERRIDE = 0b101 << 29  # as the kernel's own answers of a host that forwards
_HOPS = 255  # others are dropped: RFC 4861 section 7.1.2
_ADVERT = struct.Struct("!BBHI16sBB6s")


def announce(address: IPAddress, link: str) -> None:
    """Send one announcement, by ARP (RFC 5227 section 3) or unsolicited (RFC 4861 section 7.2.6).

    On a link that is down or gone, or has no MAC, nothing is sent: there is nobody to tell.
    """
    with suppress(OSError), socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as frames:
        frames.bind((link, 0))
        _, _, _, hardware, mac = frames.getsockname()
        if hardware != _ARPHRD_ETHER:
            return
        if address.version == 4:
            frames.sendto(_arp(mac, address.packed), (link, _ETH_P_ARP, 0, 0, _EVERYBODY))
        else:
            _advertise(mac, address.packed, link)


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
