"""Whether somebody touched the packet filter: numbers of the kernel's that move with each change.

    generation = Generation()
    generation.open()
    generation.number()

Nothing is forked and no table is dumped: a number takes one or two system calls, 2 to 15 µs. The
answers are there when the question has been sent, so that nothing here waits.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

from netplug.kernel.firewall.netfilter import attribute, attributes
from netplug.kernel.firewall.rules import HOOKS, IPV4, IPV6, Family

# linux/netlink.h, linux/netfilter/nfnetlink.h, nf_tables.h, ipset/ip_set.h
_NETLINK_NETFILTER = 12
_REQUEST, _DUMP = 0x001, 0x300
_ERROR, _DONE = 2, 3
_NFT_NEWGEN, _NFT_GETGEN = 10 << 8 | 15, 10 << 8 | 16
_IPSET_LIST = 6 << 8 | 7
_NFTA_GEN_ID = 1
_IPSET_PROTOCOL, _IPSET_SETNAME, _IPSET_FLAGS, _IPSET_DATA = 1, 2, 6, 7
_IPSET_ELEMENTS = 24
_IPSET_VERSION = 6
_LIST_HEADER = 1 << 2
_HEADER = struct.Struct("=IHHIIBBH")  # struct nlmsghdr, struct nfgenmsg
_BUFFER_BYTES = 8192
# linux/time.h struct timeval: an answer that is not there at once never comes
_PATIENCE = struct.pack("@ll", 1, 0)

# linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h: IPT_SO_GET_INFO, IP6T_SO_GET_INFO
_GET_INFO = 64
_INFO_BYTES = 84  # struct ipt_getinfo, struct ip6t_getinfo
_LEVEL = {IPV4: socket.IPPROTO_IP, IPV6: socket.IPPROTO_IPV6}
_INET = {IPV4: socket.AF_INET, IPV6: socket.AF_INET6}


class _Netlink:
    """A netfilter socket that asks one question at a time."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._number = 0

    def open(self) -> None:
        """Open it in the caller's network namespace."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)
        self._socket.bind((0, 0))

    def close(self) -> None:
        """Close it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ask(self, kind: int, flags: int, body: bytes = b"") -> bytes | None:
        """Return the attributes of the answer; None where there is none.

        Raises:
            OSError: the kernel refuses, or says nothing.
        """
        if self._socket is None:
            raise OSError(errno.EBADF, "not open")
        self._number += 1
        length = _HEADER.size + len(body)
        self._socket.send(
            _HEADER.pack(length, kind, _REQUEST | flags, self._number, 0, 0, 0, 0) + body
        )
        found: bytes | None = None
        while True:
            for answer, code in self._messages(self._socket.recv(_BUFFER_BYTES)):
                if code:
                    raise OSError(code, "netfilter")
                if answer is None:
                    return found
                found = answer
            if not flags & _DUMP:
                return found

    def _messages(self, data: bytes) -> Iterator[tuple[bytes | None, int]]:
        """Yield attributes, or None and an errno at the end; skip what answers no question."""
        while data:
            length, kind, _, number, *_ = _HEADER.unpack_from(data)
            message, data = data[:length], data[(length + 3) & ~3 :]
            if number != self._number:
                continue
            if kind in {_ERROR, _DONE}:
                yield None, -struct.unpack_from("=i", message, 16)[0]
            else:
                yield message[_HEADER.size :], 0


class Generation:
    """The number of nftables' rule set; iptables is nftables too, unless it is a legacy one."""

    def __init__(self) -> None:
        self._netlink = _Netlink()

    def open(self) -> None:
        """Open a socket in the caller's network namespace."""
        self._netlink.open()

    def close(self) -> None:
        """Close it."""
        self._netlink.close()

    def number(self) -> int:
        """Return how often nftables changed; 0 where there are none. Each commit adds one.

        Source: Linux net/netfilter/nf_tables_api.c, nft_net->base_seq.
        """
        with suppress(OSError):
            answer = self._netlink.ask(_NFT_GETGEN, 0)
            return _number(attributes(answer or b"").get(_NFTA_GEN_ID, b""))
        return 0


class Glance:
    """The numbers of ipset and of legacy iptables, and the generation, in one namespace."""

    def __init__(self) -> None:
        self._generation = Generation()
        self._ipset = _Netlink()
        self._raw: dict[Family, socket.socket] = {}
        self._c = ctypes.CDLL(None)  # the buffer of Python's own getsockopt is for answers only

    def open(self) -> None:
        """Open the sockets in the caller's network namespace."""
        self._generation.open()
        self._ipset.open()

    def close(self) -> None:
        """Close them."""
        self._generation.close()
        self._ipset.close()
        for opened in self._raw.values():
            opened.close()
        self._raw.clear()

    def generation(self) -> int:
        """Return how often nftables changed."""
        return self._generation.number()

    def tables(self, family: Family) -> bytes:
        """Return what changes with the number and the size of the rules of legacy iptables.

        Ask only where our rules are: asking would load a table that is not there.
        """
        if family not in self._raw:
            kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
            self._raw[family] = socket.socket(_INET[family], kind, socket.IPPROTO_RAW)
        return b"".join(self._table(family, name) for name in HOOKS)

    def elements(self, name: str) -> int | None:
        """Return how many members a set has; None where there is no such set."""
        question = (
            attribute(_IPSET_PROTOCOL, bytes([_IPSET_VERSION]))
            + attribute(_IPSET_SETNAME, name.encode() + b"\0")
            + attribute(_IPSET_FLAGS, struct.pack("!I", _LIST_HEADER))
        )
        try:
            answer = self._ipset.ask(_IPSET_LIST, _DUMP, question)
        except OSError:
            return None
        header = attributes(answer or b"").get(_IPSET_DATA, b"")
        return _number(attributes(header).get(_IPSET_ELEMENTS, b""))

    def _table(self, family: Family, name: str) -> bytes:
        """Return struct ipt_getinfo: hooks, underflows, number of entries and their size."""
        info = ctypes.create_string_buffer(name.encode(), _INFO_BYTES)
        length = ctypes.c_uint32(_INFO_BYTES)
        number, level = self._raw[family].fileno(), _LEVEL[family]
        failed = self._c.getsockopt(number, level, _GET_INFO, info, ctypes.byref(length))
        return b"" if failed else info.raw


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")
