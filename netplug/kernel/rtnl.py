"""The few rtnetlink messages of a container's start and stop, packed and read by hand.

The kernel carries a request out inside send(2) and has queued its answer when that returns, so a
request is one send and one recv on the event loop, some 10 to 100 us; a general library spends
0.3 to 2.3 ms on building and parsing the same bytes. `encode_*` and `decode_*` are pure; `Rtnl` is
the socket. Errors are pyroute2's `NetlinkError`, with the kernel's own words.

Not here: other dumps, routes, and the removal of links, which takes the kernel 20-40 ms.
Source: Linux net/core/rtnetlink.c, net/netlink/af_netlink.c.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from pyroute2.netlink.exceptions import NetlinkError

# linux/netlink.h
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 0x001, 0x004, 0x200, 0x400
NLM_F_DUMP, NLM_F_DUMP_INTR = 0x300, 0x10
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200  # of an acknowledgement
NLMSG_ERROR, NLMSG_DONE, NLMSGERR_ATTR_MSG = 2, 3, 1
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11
NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF

# linux/rtnetlink.h
RTM_NEWLINK, RTM_GETLINK, RTM_SETLINK, RTM_NEWADDR, RTM_DELADDR = 16, 18, 19, 20, 21
RTEXT_FILTER_SKIP_STATS = 0x08

# linux/if_link.h, linux/veth.h, linux/if.h
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 4, 10, 18
IFLA_IFALIAS, IFLA_GROUP, IFLA_EXT_MASK = 20, 27, 29
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
IFLA_BRPORT_ISOLATED, VETH_INFO_PEER, IFF_UP = 33, 1, 0x1

# linux/if_addr.h
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
IFA_F_NODAD = 0x02  # no duplicate address detection, usable at once

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix, flags, scope, index
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_U32 = struct.Struct("=I")
_S32 = struct.Struct("=i")
_TIMEVAL = struct.Struct("@ll")

_ANSWER_S = 2  # it is there when send(2) returns; a bound all the same
_ANSWER_BYTES = 32 * 1024  # the kernel's largest datagram of a dump; one link takes about 1 KiB
_DUMP_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link as it is sent and read; in a request, `None` stays as it is."""

    name: str | None = None
    kind: str | None = None
    group: int | None = None
    mtu: int | None = None
    address: str | None = None
    master: int | None = None
    alias: str | None = None
    is_up: bool | None = None
    is_isolated: bool | None = None
    peer: Link | None = None
    """The other end of a veth pair; in requests only."""
    index: int = 0
    """In answers only: requests name their link, so nothing can be renamed by mistake."""


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each attribute's type, without its flags, and its value."""
    at = 0
    while at + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4:
            return
        yield kind & NLA_TYPE_MASK, data[at + 4 : at + length]
        at += length + -length % 4


def encode_link(link: Link) -> bytes:
    """Return `struct ifinfomsg` and the attributes of those fields that are not `None`."""
    flags = IFF_UP if link.is_up else 0
    change = 0 if link.is_up is None else IFF_UP
    parts = [_LINK.pack(socket.AF_UNSPEC, 0, 0, flags, change)]
    if link.name is not None:
        parts.append(attribute(IFLA_IFNAME, _text(link.name)))
    if link.mtu is not None:
        parts.append(attribute(IFLA_MTU, _U32.pack(link.mtu)))
    if link.group is not None:
        parts.append(attribute(IFLA_GROUP, _U32.pack(link.group)))
    if link.master is not None:
        parts.append(attribute(IFLA_MASTER, _U32.pack(link.master)))
    if link.address is not None:
        parts.append(attribute(IFLA_ADDRESS, bytes.fromhex(link.address.replace(":", ""))))
    if link.alias is not None:
        parts.append(attribute(IFLA_IFALIAS, _text(link.alias)))
    if info := _link_info(link):
        parts.append(attribute(IFLA_LINKINFO | NLA_F_NESTED, info))
    return b"".join(parts)


def decode_link(body: bytes) -> Link:
    """Return the link of an RTM_NEWLINK message."""
    _, _, index, flags, _ = _LINK.unpack_from(body)
    found = dict(attributes(body[_LINK.size :]))
    info = dict(attributes(found.get(IFLA_LINKINFO, b"")))
    address = found.get(IFLA_ADDRESS)
    isolated = None
    if info.get(IFLA_INFO_SLAVE_KIND) == b"bridge\0":
        port = dict(attributes(info.get(IFLA_INFO_SLAVE_DATA, b"")))
        isolated = port.get(IFLA_BRPORT_ISOLATED)
    return Link(
        index=index,
        name=_string(found.get(IFLA_IFNAME)),
        kind=_string(info.get(IFLA_INFO_KIND)),
        group=_number(found.get(IFLA_GROUP)),
        mtu=_number(found.get(IFLA_MTU)),
        address=None if address is None else address.hex(":"),
        master=_number(found.get(IFLA_MASTER)),
        alias=_string(found.get(IFLA_IFALIAS)),
        is_up=bool(flags & IFF_UP),
        is_isolated=None if isolated is None else isolated != b"\0",
    )


def encode_address(index: int, address: IPv4Interface | IPv6Interface) -> bytes:
    """Return `struct ifaddrmsg` and the attributes of an address of the link with that index."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    head = _ADDRESS.pack(family, address.network.prefixlen, 0, 0, index)
    body = attribute(IFA_LOCAL, address.ip.packed) + attribute(IFA_ADDRESS, address.ip.packed)
    if address.version == 6:
        body += attribute(IFA_FLAGS, _U32.pack(IFA_F_NODAD))
    return head + body


def encode_message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Return a whole message: `struct nlmsghdr` and `body`."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body


def decode_answer(data: bytes, sequence: int) -> tuple[int, bytes] | None:
    """Return type and body of the answer with that sequence number; `None` if it is another's.

    Raises:
        NetlinkError: the answer is a refusal; with the kernel's words, or those of its errno.
    """
    length, kind, flags, answered, _ = _HEADER.unpack_from(data)
    if answered != sequence:
        return None
    body = data[_HEADER.size : length]
    if kind == NLMSG_ERROR and (code := -_S32.unpack_from(body)[0]):
        raise NetlinkError(code, _words(body, flags) or os.strerror(code))
    return kind, body


class Rtnl:
    """One rtnetlink socket, for one thread. Requests block, for as long as the kernel is at it."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._sequence = 0

    def open(self) -> None:
        """Open the socket in the caller's network namespace; only the kernel can send to it."""
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        opened.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        opened.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(_ANSWER_S, 0))
        opened.connect((0, 0))
        self._socket = opened

    def close(self) -> None:
        """Close the socket; a second time does no harm."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def link(self, name: str) -> Link | None:
        """Return the link of that name, `None` if there is none."""
        wish = encode_link(Link(name=name))
        wish += attribute(IFLA_EXT_MASK, _U32.pack(RTEXT_FILTER_SKIP_STATS))
        try:
            return decode_link(self._ask(RTM_GETLINK, 0, wish))
        except NetlinkError as error:
            if error.code in (errno.ENODEV, errno.ERANGE):  # ERANGE: longer than any link's name
                return None
            raise

    def links(self) -> list[Link]:
        """Return every link; a list that changed while it was read is read again.

        Raises:
            NetlinkError: refused, or EINTR where it went on changing.
        """
        for _ in range(_DUMP_TRIES):
            found = self._list_links()
            if found is not None:
                return found
        raise NetlinkError(errno.EINTR, "the links went on changing")

    def add_link(self, link: Link) -> None:
        """Make a link. Its alias takes a second message: rtnl_newlink_create ignores it."""
        self._ask(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, encode_link(link))

    def set_link(self, link: Link) -> None:
        """Give the link of that name the other fields.

        By RTM_SETLINK where that can: before Linux 5.19, RTM_NEWLINK with a group and the name of
        no link changes every link of the group. The isolation of a port is only in RTM_NEWLINK.
        """
        kind = RTM_SETLINK if link.is_isolated is None else RTM_NEWLINK
        self._ask(kind, NLM_F_ACK, encode_link(link))

    def add_address(self, index: int, address: IPv4Interface | IPv6Interface) -> None:
        """Add an address to the link with that index."""
        flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
        self._ask(RTM_NEWADDR, flags, encode_address(index, address))

    def remove_address(self, index: int, address: IPv4Interface | IPv6Interface) -> None:
        """Remove an address from the link with that index."""
        self._ask(RTM_DELADDR, NLM_F_ACK, encode_address(index, address))

    def _list_links(self) -> list[Link] | None:
        """Return every link, `None` where the kernel says that they changed meanwhile."""
        wish = encode_link(Link()) + attribute(IFLA_EXT_MASK, _U32.pack(RTEXT_FILTER_SKIP_STATS))
        found: list[Link] = []
        is_whole = True
        opened = self._send(RTM_GETLINK, NLM_F_DUMP, wish)
        while True:
            for kind, flags, sequence, body in messages(_received(opened)):
                if sequence != self._sequence:
                    continue
                is_whole = is_whole and not flags & NLM_F_DUMP_INTR
                if kind == NLMSG_DONE:
                    return found if is_whole else None
                if kind == NLMSG_ERROR:
                    code = -_S32.unpack_from(body)[0]
                    raise NetlinkError(code, os.strerror(code))
                found.append(decode_link(body))

    def _ask(self, kind: int, flags: int, body: bytes) -> bytes:
        """Send a request and return the body of its answer; answers to earlier ones are skipped.

        Raises:
            NetlinkError: refused; ETIMEDOUT without an answer, ENOBUFS where it was lost.
        """
        opened = self._send(kind, flags, body)
        while True:
            answer = decode_answer(_received(opened), self._sequence)
            if answer is not None:
                return answer[1]

    def _send(self, kind: int, flags: int, body: bytes) -> socket.socket:
        if self._socket is None:
            raise NetlinkError(errno.EBADF, "the netlink socket is not open")
        self._sequence = self._sequence % 0xFFFF_FFFF + 1
        try:
            self._socket.send(encode_message(kind, NLM_F_REQUEST | flags, self._sequence, body))
        except OSError as error:
            raise NetlinkError(error.errno or errno.EIO, error.strerror) from error
        return self._socket


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield type, flags, sequence number and body of each message of one datagram."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, flags, sequence, data[at + _HEADER.size : at + length]
        at += length + -length % 4


def _received(opened: socket.socket) -> bytes:
    try:
        return opened.recv(_ANSWER_BYTES)
    except BlockingIOError as error:
        raise NetlinkError(errno.ETIMEDOUT, f"no answer in {_ANSWER_S} s") from error
    except OSError as error:
        raise NetlinkError(error.errno or errno.EIO, error.strerror) from error


def _link_info(link: Link) -> bytes:
    info = b""
    if link.kind is not None:
        info += attribute(IFLA_INFO_KIND, _text(link.kind))
    if link.peer is not None:
        peer = attribute(VETH_INFO_PEER | NLA_F_NESTED, encode_link(link.peer))
        info += attribute(IFLA_INFO_DATA | NLA_F_NESTED, peer)
    if link.is_isolated is not None:
        port = attribute(IFLA_BRPORT_ISOLATED, bytes([link.is_isolated]))
        info += attribute(IFLA_INFO_SLAVE_KIND, _text("bridge"))
        info += attribute(IFLA_INFO_SLAVE_DATA | NLA_F_NESTED, port)
    return info


def _words(body: bytes, flags: int) -> str | None:
    """Return the message of an extended acknowledgement, behind the request that it may echo."""
    if not flags & NLM_F_ACK_TLVS:
        return None
    echoed = _HEADER.size if flags & NLM_F_CAPPED else _HEADER.unpack_from(body, 4)[0]
    behind = dict(attributes(body[4 + echoed + -echoed % 4 :]))
    return _string(behind.get(NLMSGERR_ATTR_MSG))


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


def _string(value: bytes | None) -> str | None:
    return None if value is None else value.split(b"\0", 1)[0].decode(errors="replace")


def _number(value: bytes | None) -> int | None:
    return None if value is None else int(_U32.unpack(value)[0])
