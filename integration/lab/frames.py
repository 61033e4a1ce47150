"""Ethernet frames that a kernel would not send, and a listener for what arrives of them.

The file is also the program that sends and listens in a namespace, where it needs nothing but
Python.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from integration.lab.talk import Runner

LISTENING = "listening"
PROGRAM = (sys.executable, "-I", "-S", __file__)

ETH_P_ALL, ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x3, 0x800, 0x806, 0x86DD
SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20  # linux/socket.h, linux/if_packet.h
ARP_REPLY = 2
ND_ADVERTISEMENT = 136  # RFC 4861 section 4.4
ND_OVERRIDE = 0x20000000
ND_TARGET_LINK = 2
DISCARD_PORT = 9


class Hop(NamedTuple):
    """The two MAC addresses that a frame goes between."""

    source: str
    destination: str


def ipv4(hop: Hop, source: str, destination: str, data: bytes) -> bytes:
    """Return a UDP datagram."""
    ends = IPv4Address(source).packed + IPv4Address(destination).packed
    datagram = _udp(ends, data)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 1, 0, 64, socket.IPPROTO_UDP, 0)
    header = header[:10] + _checksum(header + ends) + ends
    return _ethernet(hop, ETH_P_IP) + header + datagram


def igmp(hop: Hop, source: str, destination: str, kind: int) -> bytes:
    """Return a message about multicast groups, behind the option that RFC 2113 has for them."""
    ends = IPv4Address(source).packed + IPv4Address(destination).packed
    message = struct.pack("!BBHI", kind, 0, 0, 0)
    message = message[:2] + _checksum(message) + message[4:]
    length = 24 + len(message)
    header = struct.pack("!BBHHHBBH", 0x46, 0, length, 1, 0, 1, socket.IPPROTO_IGMP, 0)
    alert = bytes([148, 4, 0, 0])
    header = header[:10] + _checksum(header + ends + alert) + ends + alert
    return _ethernet(hop, ETH_P_IP) + header + message


def ipv6(hop: Hop, source: str, destination: str, data: bytes) -> bytes:
    """Return a UDP datagram."""
    ends = IPv6Address(source).packed + IPv6Address(destination).packed
    return _ethernet(hop, ETH_P_IPV6) + _ipv6(ends, socket.IPPROTO_UDP, 64, _udp(ends, data))


def arp_reply(hop: Hop, sender: str, target: str) -> bytes:
    """Return a claim, towards `target`, that the sending MAC has the address `sender`."""
    claim = struct.pack("!HHBBH", 1, ETH_P_IP, 6, 4, ARP_REPLY)
    claim += _mac(hop.source) + IPv4Address(sender).packed
    claim += _mac(hop.destination) + IPv4Address(target).packed
    return _ethernet(hop, ETH_P_ARP) + claim


def nd_advertisement(hop: Hop, source: str, destination: str, target: str) -> bytes:
    """Return a claim, from the address `source`, that the sending MAC has the address `target`."""
    claim = struct.pack("!I", ND_OVERRIDE) + IPv6Address(target).packed
    claim += struct.pack("!BB", ND_TARGET_LINK, 1) + _mac(hop.source)
    return icmpv6(hop, source, destination, ND_ADVERTISEMENT, claim)


def icmpv6(hop: Hop, source: str, destination: str, kind: int, body: bytes) -> bytes:
    """Return a message of neighbour discovery; `body` comes behind its checksum."""
    ends = IPv6Address(source).packed + IPv6Address(destination).packed
    message = struct.pack("!BBH", kind, 0, 0) + body
    pseudo = ends + struct.pack("!II", len(message), socket.IPPROTO_ICMPV6)
    message = message[:2] + _checksum(pseudo + message) + message[4:]
    return _ethernet(hop, ETH_P_IPV6) + _ipv6(ends, socket.IPPROTO_ICMPV6, 255, message)


def send(
    run: Runner, link: str, frames: Sequence[bytes], *, kind: int = 0, past_queues: bool = False
) -> None:
    """Send frames through a link, in order, by a socket that takes them for `kind` if given."""
    words = [link, str(kind), str(int(past_queues))]
    run([*PROGRAM, "send", *words], stdin="\n".join(frame.hex() for frame in frames))


def listener(link: str) -> list[str]:
    """Return the command of what prints each frame that arrives through a link, as hex digits."""
    return [*PROGRAM, "listen", link]


def _ethernet(hop: Hop, kind: int) -> bytes:
    return _mac(hop.destination) + _mac(hop.source) + struct.pack("!H", kind)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _ipv6(ends: bytes, protocol: int, hop_limit: int, body: bytes) -> bytes:
    return struct.pack("!IHBB", 6 << 28, len(body), protocol, hop_limit) + ends + body


def _udp(ends: bytes, data: bytes) -> bytes:
    length = 8 + len(data)
    header = struct.pack("!HHH", DISCARD_PORT, DISCARD_PORT, length)
    pseudo = ends + struct.pack("!HH", socket.IPPROTO_UDP, length)
    return header + _checksum(pseudo + header + data) + data


def _checksum(data: bytes) -> bytes:
    """RFC 1071; a sum of ones, which UDP takes for none at all, is not met here."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)


def _open(link: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    opened.bind((link, ETH_P_ALL))
    return opened


def _send(link: str, kind: int, past_queues: int) -> None:
    with _open(link) as sender:
        sender.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, past_queues)
        for line in sys.stdin:
            try:
                sender.sendto(bytes.fromhex(line), (link, kind or ETH_P_ALL))
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # a rule dropped it on its way out
                    raise


def _listen(link: str) -> None:
    with _open(link) as opened:
        print(LISTENING, flush=True)
        while True:
            frame, (_, _, kind, *_) = opened.recvfrom(65536)
            if kind != socket.PACKET_OUTGOING:
                print(frame.hex(), flush=True)


def main() -> None:
    match sys.argv[1:]:
        case ["send", link, kind, past_queues]:
            _send(link, int(kind), int(past_queues))
        case ["listen", link]:
            _listen(link)
        case _:
            sys.exit("There is no such verb.")


if __name__ == "__main__":
    main()
