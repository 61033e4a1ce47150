"""Elements of nftables sets in the kernel's own words.

    batch = Batch(NFPROTO_BRIDGE, "pynet")
    batch.add("macs", interface_key("pyv1") + mac_key("02:42:0a:09:00:02"))
    batch.send(open_socket())

libnftables lists every chain and set of the host before it changes an element, 0.5 to 1.6 ms beside
a few iptables chains; this takes 0.01. Keys are those that the kernel keeps: the parts of a
concatenation one behind the other, each filled up to four bytes.

Source: Linux include/uapi/linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from netplug.kernel.firewall.netfilter import (
    CREATE,
    DELETE_ELEMENT,
    NEW_ELEMENT,
    Message,
    attribute,
    commit,
    family,
    nested,
)
from netplug.model import Protocol

NFPROTO_IPV4, NFPROTO_BRIDGE, NFPROTO_IPV6 = 2, 7, 10  # linux/netfilter.h

# linux/netfilter/nf_tables.h
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_LIST_ELEMENT, _ELEMENT_KEY, _ELEMENT_KEY_END, _DATA_VALUE = 1, 1, 10, 1
_IFNAMSIZ = 16
_PROTOCOLS = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}  # IANA protocol numbers


def interface_key(name: str) -> bytes:
    """Return the key part of type ifname."""
    return name.encode().ljust(_IFNAMSIZ, b"\0")


def mac_key(mac: str) -> bytes:
    """Return the key part of type ether_addr."""
    return bytes.fromhex(mac.replace(":", "")) + b"\0\0"


def number_key(number: int, octets: int) -> bytes:
    """Return the key part of a number in network order: a port has two octets, a protocol one."""
    return number.to_bytes(octets).ljust(4, b"\0")


def protocol_key(protocol: Protocol) -> bytes:
    """Return the key part of type inet_proto."""
    return number_key(_PROTOCOLS[protocol], 1)


@dataclass(slots=True)
class Batch:
    """Changes of one table that happen all or not at all."""

    family: int
    table: str
    _messages: list[Message] = field(default_factory=list)

    def add(self, name: str, key: bytes, last: bytes = b"") -> None:
        """Add an element to a set, or all up to `last`; one that is there stays."""
        self._messages.append((NEW_ELEMENT, CREATE, self._body(name, key, last)))

    def delete(self, name: str, key: bytes, last: bytes = b"") -> None:
        """Delete an element, which may be there or not: one that was just added can be deleted."""
        self.add(name, key, last)
        self._messages.append((DELETE_ELEMENT, 0, self._body(name, key, last)))

    def send(self, opened: socket.socket) -> None:
        """Make the changes.

        Raises:
            KernelRefused: nothing was changed; `code` says why.
        """
        commit(opened, self._messages)

    def _body(self, name: str, key: bytes, last: bytes) -> bytes:
        value = nested(_ELEMENT_KEY, attribute(_DATA_VALUE, key))
        if last:
            value += nested(_ELEMENT_KEY_END, attribute(_DATA_VALUE, last))
        return (
            family(self.family)
            + attribute(_LIST_TABLE, self.table.encode() + b"\0")
            + attribute(_LIST_SET, name.encode() + b"\0")
            + nested(_LIST_ELEMENTS, nested(_LIST_ELEMENT, value))
        )
