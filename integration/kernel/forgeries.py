"""Frames that an endpoint may send and frames that it must not, made by hand."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

from integration.lab.frames import (
    Hop,
    arp_reply,
    icmpv6,
    igmp,
    ipv4,
    ipv6,
    nd_advertisement,
)

OWN, OTHERS, THEIR = "02:42:0a:09:00:02", "02:42:0a:09:00:07", "02:42:0a:09:00:03"
OWN_IPV4, OTHERS_IPV4, THEIR_IPV4 = "10.9.0.2", "10.9.0.7", "10.9.0.3"
OWN_IPV6, OTHERS_IPV6, THEIR_IPV6 = "fd09::2", "fd09::7", "fd09::3"
OWN_LINK_LOCAL = "fe80::42:aff:fe09:2"
OTHERS_LINK_LOCAL = "fe80::42:aff:fe09:7"
ALL_NODES, ANY_IPV4, ANY_IPV6 = "ff02::1", "0.0.0.0", "::"
SOLICITED = "ff02::1:ff00:7"

HOP = Hop(OWN, THEIR)
BROADCAST = Hop(OWN, "ff:ff:ff:ff:ff:ff")
EVERY_NODE = Hop(OWN, "33:33:00:00:00:01")
RS, RA, NS, NA, REDIRECT = 133, 134, 135, 136, 137  # RFC 4861
MLD_QUERY, MLD2 = 130, 143  # RFC 2710, RFC 3810
IGMP_QUERY, IGMP_REPORT = 0x11, 0x16  # RFC 2236
TAGGED, TAGGED_PROVIDER, MPLS, PPPOE, EXPERIMENTAL = 0x8100, 0x88A8, 0x8847, 0x8864, 0x88B5
DHCP_CLIENT, DHCP_SERVER = 68, 67


def arp(operation: int, sender_mac: str, sender: str, target: str) -> bytes:
    """An ARP packet in a frame of our own MAC."""
    whole = arp_reply(Hop(sender_mac, THEIR), sender, target)
    return (
        ipv4(BROADCAST, ANY_IPV4, ANY_IPV4, b"")[:12]
        + whole[12:20]
        + struct.pack("!H", operation)
        + whole[22:]
    )


def wrapped(kind: int, frame: bytes, tag: bytes = b"\0\7") -> bytes:
    """`frame` with a header between its addresses and its type."""
    return frame[:12] + struct.pack("!H", kind) + tag + frame[12:]


def behind_options(frame: bytes) -> bytes:
    """The IPv6 packet with a hop-by-hop header of padding before what it carries."""
    ethernet, header, rest = frame[:14], frame[14:54], frame[54:]
    options = bytes([header[6], 0, 1, 4, 0, 0, 0, 0])
    length = struct.pack("!H", len(rest) + len(options))
    return ethernet + header[:4] + length + b"\0" + header[7:] + options + rest


def dhcp(hop: Hop, source: str, source_port: int) -> bytes:
    frame = ipv4(hop, source, "255.255.255.255", b"DHCP")
    ports = struct.pack("!HH", source_port, DHCP_SERVER)
    return frame[:34] + ports + frame[38:]  # the kernel checks no sums of bridged packets


def target(address: str) -> bytes:
    return bytes(4) + IPv6Address(address).packed


HONEST = {
    "ipv4": ipv4(HOP, OWN_IPV4, THEIR_IPV4, b"own ipv4"),
    "ipv6": ipv6(HOP, OWN_IPV6, THEIR_IPV6, b"own ipv6"),
    "ipv6-link-local": ipv6(HOP, OWN_LINK_LOCAL, THEIR_IPV6, b"own link-local"),
    "arp-reply": arp_reply(HOP, OWN_IPV4, THEIR_IPV4),
    "arp-request": arp(1, OWN, OWN_IPV4, THEIR_IPV4),
    "arp-probe": arp(1, OWN, ANY_IPV4, OWN_IPV4),
    "arp-announcement": arp(1, OWN, OWN_IPV4, OWN_IPV4),
    "nd-advertisement": nd_advertisement(EVERY_NODE, OWN_IPV6, ALL_NODES, OWN_IPV6),
    "nd-advertisement-of-the-link-local": nd_advertisement(
        EVERY_NODE, OWN_LINK_LOCAL, ALL_NODES, OWN_LINK_LOCAL
    ),
    "nd-solicitation": icmpv6(EVERY_NODE, OWN_IPV6, ALL_NODES, NS, target(THEIR_IPV6)),
    "nd-detection-of-duplicates": icmpv6(EVERY_NODE, ANY_IPV6, ALL_NODES, NS, target(OWN_IPV6)),
    "nd-detection-of-link-local-duplicates": icmpv6(
        EVERY_NODE, ANY_IPV6, ALL_NODES, NS, target(OWN_LINK_LOCAL)
    ),
    "router-solicitation": icmpv6(EVERY_NODE, OWN_LINK_LOCAL, ALL_NODES, RS, bytes(4)),
    "mld-report": icmpv6(EVERY_NODE, ANY_IPV6, ALL_NODES, MLD2, bytes(4) + b"\4\0\0\0" + bytes(16)),
    "igmp-report": igmp(Hop(OWN, "01:00:5e:00:00:fb"), OWN_IPV4, "224.0.0.251", IGMP_REPORT),
    "dhcp-discovery": dhcp(BROADCAST, ANY_IPV4, DHCP_CLIENT),
    "another-protocol": wrapped(EXPERIMENTAL, ipv4(HOP, OWN_IPV4, THEIR_IPV4, b"experiment")),
}
FORGED = {
    "mac": ipv4(Hop(OTHERS, THEIR), OWN_IPV4, THEIR_IPV4, b"mac"),
    "mac-of-another-protocol": wrapped(
        EXPERIMENTAL, ipv4(Hop(OTHERS, THEIR), OWN_IPV4, THEIR_IPV4, b"x")
    ),
    "ipv4": ipv4(HOP, OTHERS_IPV4, THEIR_IPV4, b"others ipv4"),
    "ipv4-of-the-gateway": ipv4(HOP, "10.9.0.1", THEIR_IPV4, b"gateway"),
    "ipv4-from-outside": ipv4(HOP, "192.0.2.1", THEIR_IPV4, b"outside"),
    "ipv4-without-a-source": ipv4(BROADCAST, ANY_IPV4, "255.255.255.255", b"no source"),
    "dhcp-of-another": dhcp(BROADCAST, OTHERS_IPV4, DHCP_SERVER),
    "ipv6": ipv6(HOP, OTHERS_IPV6, THEIR_IPV6, b"others ipv6"),
    "ipv6-link-local": ipv6(HOP, OTHERS_LINK_LOCAL, THEIR_IPV6, b"others link-local"),
    "ipv6-without-a-source": ipv6(HOP, ANY_IPV6, THEIR_IPV6, b"no source"),
    "arp-reply": arp_reply(HOP, OTHERS_IPV4, THEIR_IPV4),
    "arp-reply-of-the-gateway": arp_reply(HOP, "10.9.0.1", THEIR_IPV4),
    "arp-reply-with-another-mac": arp(2, OTHERS, OWN_IPV4, THEIR_IPV4),
    "arp-reply-without-an-address": arp(2, OWN, ANY_IPV4, THEIR_IPV4),
    "arp-announcement": arp(1, OWN, OTHERS_IPV4, OTHERS_IPV4),
    "arp-probe-with-another-mac": arp(1, OTHERS, ANY_IPV4, OWN_IPV4),
    "nd-advertisement": nd_advertisement(EVERY_NODE, OWN_IPV6, ALL_NODES, OTHERS_IPV6),
    "nd-advertisement-from-another": nd_advertisement(
        EVERY_NODE, OTHERS_IPV6, ALL_NODES, OTHERS_IPV6
    ),
    "nd-advertisement-behind-options": behind_options(
        nd_advertisement(EVERY_NODE, OWN_IPV6, ALL_NODES, OTHERS_IPV6)
    ),
    "nd-detection-of-anothers-duplicates": icmpv6(
        EVERY_NODE, ANY_IPV6, SOLICITED, NS, target(OTHERS_IPV6)
    ),
    "router-advertisement": icmpv6(EVERY_NODE, OWN_LINK_LOCAL, ALL_NODES, RA, bytes(12)),
    "router-advertisement-behind-options": behind_options(
        icmpv6(EVERY_NODE, OWN_LINK_LOCAL, ALL_NODES, RA, b"\1" * 12)
    ),
    "igmp-query": igmp(Hop(OWN, "01:00:5e:00:00:01"), OWN_IPV4, "224.0.0.1", IGMP_QUERY),
    "mld-query": icmpv6(EVERY_NODE, OWN_LINK_LOCAL, ALL_NODES, MLD_QUERY, bytes(20)),
    "mld-query-behind-options": behind_options(
        icmpv6(EVERY_NODE, OWN_LINK_LOCAL, ALL_NODES, MLD_QUERY, b"\1" * 20)
    ),
    "redirect": icmpv6(EVERY_NODE, OWN_LINK_LOCAL, ALL_NODES, REDIRECT, bytes(36)),
    "tagged": wrapped(TAGGED, ipv4(HOP, OTHERS_IPV4, THEIR_IPV4, b"tag")),
    "tagged-twice": wrapped(
        TAGGED_PROVIDER, wrapped(TAGGED, ipv4(HOP, OTHERS_IPV4, THEIR_IPV4, b"tags"))
    ),
    "tagged-with-our-own-address": wrapped(TAGGED, ipv4(HOP, OWN_IPV4, THEIR_IPV4, b"own tag")),
    "tagged-with-priority-only": wrapped(
        TAGGED, ipv4(HOP, OTHERS_IPV4, THEIR_IPV4, b"priority"), b"\xe0\0"
    ),
    "mpls": wrapped(MPLS, ipv4(HOP, OTHERS_IPV4, THEIR_IPV4, b"mpls")),
    "pppoe": wrapped(PPPOE, ipv4(HOP, OTHERS_IPV4, THEIR_IPV4, b"pppoe")),
}
ALWAYS_FORGED = (  # whatever is known of its addresses
    "mac",
    "router-advertisement",
    "redirect",
    "igmp-query",
    "mld-query",
    "tagged",
    "tagged-twice",
    "pppoe",
)
