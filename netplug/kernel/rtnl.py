"""The few rtnetlink messages of a container's start and stop, packed and read by hand.

The kernel carries a request out inside send(2) and has queued its answer when that returns, so a
request is one send and one recv on the event loop, some 10 to 100 us; a general library spends
0.3 to 2.3 ms on building and parsing the same bytes. `encode_*` and `decode_*` are pure; `Rtnl` is
the socket. Errors are pyroute2's `NetlinkError`, with the kernel's own words.

Not here: the messages of routes and neighbours (`netplug.kernel.routes`), and the removal of links,
which takes the kernel 20-40 ms.
Source: Linux net/core/rtnetlink.c, net/netlink/af_netlink.c.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Generic, TypeVar

from pyroute2.netlink.exceptions import NetlinkError

from netplug.kernel import sublinks
from netplug.kernel.nlattr import (
    NLA_F_NESTED,
    U32,
    attribute,
    attributes,
    number,
    string,
    text,
)
from netplug.model import IPInterface

T = TypeVar("T")

# linux/netlink.h
NLM_F_REQUEST, NLM_F_ACK = 0x001, 0x004
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLM_F_DUMP, NLM_F_DUMP_INTR = 0x300, 0x10
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200  # of an acknowledgement
NLMSG_ERROR, NLMSG_DONE, NLMSGERR_ATTR_MSG = 2, 3, 1
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 10, 11, 12

# linux/rtnetlink.h
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR, RT_SCOPE_LINK = 20, 21, 22, 253
RTEXT_FILTER_SKIP_STATS = 0x08

# linux/if_link.h, linux/veth.h, linux/if.h
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 4, 5, 10, 18
IFLA_IFALIAS, IFLA_AF_SPEC, IFLA_GROUP, IFLA_EXT_MASK, IFLA_NUM_TX_QUEUES = 20, 26, 27, 29, 31
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED, VETH_INFO_PEER = 4, 33, 1
IFF_UP, IFF_LOOPBACK = 0x1, 0x8

# linux/if_link.h, linux/ip.h, linux/ipv6.h: switches of a link, as arrays of numbers
IFLA_INET_CONF, IFLA_INET6_CONF = 1, 2
_IPV4_FORWARDING, _IPV4_RP_FILTER, _IPV4_ROUTE_LOCALNET = 0, 7, 25
_IPV6_FORWARDING, _IPV6_DISABLED = 0, 26

# linux/if_addr.h
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
IFA_F_NODAD = 0x02  # no duplicate address detection, usable at once

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix, flags, scope, index
_S32 = struct.Struct("=i")
_TIMEVAL = struct.Struct("@ll")

_ANSWER_S = 2  # it is there when send(2) returns; a bound all the same
_ANSWER_BYTES = 32 * 1024  # the kernel's largest datagram of a dump; one link takes about 1 KiB
_DUMP_TRIES = 5
_FIRST_OF_DUMPS = 0x8000_0000  # of sequence numbers; other requests have those below


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
    is_hairpin: bool | None = None
    parent: int | None = None
    """The link that it is on top of; of a veth, the other end, whose index may be another
    namespace's."""
    mode: str | None = None
    flag: str | None = None
    vlan_id: int | None = None
    peer: Link | None = None
    """The other end of a veth pair; in requests only."""
    index: int = 0
    """In answers only, as all that follows: requests name their link, so nothing can be renamed by
    mistake."""
    is_loopback: bool = False
    forwards_ipv4: bool = False
    forwards_ipv6: bool = False
    has_ipv6: bool = False
    is_strict: bool = False
    """Its own rp_filter is 1."""
    is_loose: bool = False
    """Its own rp_filter is 2, which wins over that of all links."""
    routes_localnet: bool = False


def encode_link(link: Link) -> bytes:
    """Return `struct ifinfomsg` and the attributes of those fields that are not `None`."""
    flags = IFF_UP if link.is_up else 0
    change = 0 if link.is_up is None else IFF_UP
    parts = [_LINK.pack(socket.AF_UNSPEC, 0, 0, flags, change)]
    if link.name is not None:
        parts.append(attribute(IFLA_IFNAME, text(link.name)))
    if link.mtu is not None:
        parts.append(attribute(IFLA_MTU, U32.pack(link.mtu)))
    if link.group is not None:
        parts.append(attribute(IFLA_GROUP, U32.pack(link.group)))
    if link.master is not None:
        parts.append(attribute(IFLA_MASTER, U32.pack(link.master)))
    if link.parent is not None:
        parts.append(attribute(IFLA_LINK, U32.pack(link.parent)))
    if link.address is not None:
        parts.append(attribute(IFLA_ADDRESS, bytes.fromhex(link.address.replace(":", ""))))
    if link.alias is not None:
        parts.append(attribute(IFLA_IFALIAS, text(link.alias)))
    if info := _link_info(link):
        parts.append(attribute(IFLA_LINKINFO | NLA_F_NESTED, info))
    return b"".join(parts)


def decode_link(body: bytes) -> Link:
    """Return the link of an RTM_NEWLINK message."""
    _, _, index, flags, _ = _LINK.unpack_from(body)
    found = dict(attributes(body[_LINK.size :]))
    info = dict(attributes(found.get(IFLA_LINKINFO, b"")))
    kind = string(info.get(IFLA_INFO_KIND))
    data = dict(attributes(info.get(IFLA_INFO_DATA, b"")))
    mode, flag, vlan_id = sublinks.decode(kind, data)
    of_family = dict(attributes(found.get(IFLA_AF_SPEC, b"")))
    ipv4 = _numbers(of_family.get(socket.AF_INET), IFLA_INET_CONF)
    ipv6 = _numbers(of_family.get(socket.AF_INET6), IFLA_INET6_CONF)
    address = found.get(IFLA_ADDRESS)
    isolated = hairpin = None
    if info.get(IFLA_INFO_SLAVE_KIND) == b"bridge\0":
        port = dict(attributes(info.get(IFLA_INFO_SLAVE_DATA, b"")))
        isolated = port.get(IFLA_BRPORT_ISOLATED)
        hairpin = port.get(IFLA_BRPORT_MODE)
    return Link(
        index=index,
        name=string(found.get(IFLA_IFNAME)),
        kind=kind,
        group=number(found.get(IFLA_GROUP)),
        mtu=number(found.get(IFLA_MTU)),
        address=None if address is None else address.hex(":"),
        master=number(found.get(IFLA_MASTER)),
        alias=string(found.get(IFLA_IFALIAS)),
        is_up=bool(flags & IFF_UP),
        is_isolated=None if isolated is None else isolated != b"\0",
        is_hairpin=None if hairpin is None else hairpin != b"\0",
        parent=number(found.get(IFLA_LINK)),
        mode=mode,
        flag=flag,
        vlan_id=vlan_id,
        is_loopback=bool(flags & IFF_LOOPBACK),
        forwards_ipv4=_at(ipv4, _IPV4_FORWARDING) == 1,
        is_strict=_at(ipv4, _IPV4_RP_FILTER) == 1,
        is_loose=_at(ipv4, _IPV4_RP_FILTER) == 2,
        routes_localnet=_at(ipv4, _IPV4_ROUTE_LOCALNET) == 1,
        forwards_ipv6=_at(ipv6, _IPV6_FORWARDING) == 1,
        has_ipv6=_at(ipv6, _IPV6_DISABLED) == 0,
    )


def encode_address(index: int, address: IPInterface) -> bytes:
    """Return `struct ifaddrmsg` and the attributes of an address of the link with that index.

    One of IPv4's link-local addresses has the scope of the link, so that the host takes it for no
    source of what it sends elsewhere.
    """
    is_of_ipv4 = address.version == 4
    scope = RT_SCOPE_LINK if is_of_ipv4 and address.ip.is_link_local else 0
    family = socket.AF_INET if is_of_ipv4 else socket.AF_INET6
    head = _ADDRESS.pack(family, address.network.prefixlen, 0, scope, index)
    body = attribute(IFA_LOCAL, address.ip.packed) + attribute(IFA_ADDRESS, address.ip.packed)
    if address.version == 6:
        body += attribute(IFA_FLAGS, U32.pack(IFA_F_NODAD))
    return head + body


def decode_address(body: bytes) -> tuple[int, IPInterface]:
    """Return the index of the link and the address of an RTM_NEWADDR message."""
    _, prefix, _, _, index = _ADDRESS.unpack_from(body)
    found = dict(attributes(body[_ADDRESS.size :]))
    return index, ip_interface((found.get(IFA_LOCAL) or found[IFA_ADDRESS], prefix))


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
        self._dump_sequence = _FIRST_OF_DUMPS  # the same for each, so that they can be compared
        self._links = Memo(decode_link)

    def open(self) -> None:
        """Open the socket in the caller's network namespace; only the kernel can send to it."""
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        opened.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        opened.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        with suppress(OSError):  # before Linux 4.20 a dump is whole, whatever it was asked for
            opened.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
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
        return self._look_up(encode_link(Link(name=name)))

    def link_of(self, index: int) -> Link | None:
        """Return the link of that index, `None` if there is none."""
        return self._look_up(_LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0)) if index else None

    def _look_up(self, wish: bytes) -> Link | None:
        wish += attribute(IFLA_EXT_MASK, U32.pack(RTEXT_FILTER_SKIP_STATS))
        try:
            return decode_link(self.ask(RTM_GETLINK, 0, wish))
        except NetlinkError as error:
            if error.code in (errno.ENODEV, errno.ERANGE):  # ERANGE: longer than any link's name
                return None
            raise

    def links(self) -> list[Link]:
        """Return every link.

        Raises:
            NetlinkError: refused, or EINTR where they went on changing.
        """
        wish = encode_link(Link()) + attribute(IFLA_EXT_MASK, U32.pack(RTEXT_FILTER_SKIP_STATS))
        return self.dump(RTM_GETLINK, wish, self._links)

    def addresses(self, index: int = 0) -> list[tuple[int, IPInterface]]:
        """Return each address with the index of its link: those of the link `index`, or all."""
        wish = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, index)
        found = self.dump(RTM_GETADDR, wish, Memo(decode_address))
        return [pair for pair in found if index in (0, pair[0])]

    def add_link(self, link: Link) -> None:
        """Make a link. Its alias takes a second message: rtnl_newlink_create ignores it."""
        self.ask(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, encode_link(link))

    def set_link(self, link: Link) -> None:
        """Give the link of that name the other fields.

        By RTM_SETLINK where that can: before Linux 5.19, RTM_NEWLINK with a group and the name of
        no link changes every link of the group. The switches of a port are only in RTM_NEWLINK.
        """
        is_of_port = link.is_isolated is not None or link.is_hairpin is not None
        kind = RTM_NEWLINK if is_of_port else RTM_SETLINK
        self.ask(kind, NLM_F_ACK, encode_link(link))

    def remove_link(self, name: str) -> None:
        """Remove a link, which takes the kernel 20-40 ms."""
        self.ask(RTM_DELLINK, NLM_F_ACK, encode_link(Link(name=name)))

    def add_address(self, index: int, address: IPInterface) -> None:
        """Add an address to the link with that index."""
        flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
        self.ask(RTM_NEWADDR, flags, encode_address(index, address))

    def remove_address(self, index: int, address: IPInterface) -> None:
        """Remove an address from the link with that index."""
        self.ask(RTM_DELADDR, NLM_F_ACK, encode_address(index, address))

    def dump(self, kind: int, body: bytes, memo: Memo[T]) -> list[T]:
        """Return what each message means; a list that changed while it was read is read again.

        Raises:
            NetlinkError: refused, or EINTR where it went on changing.
        """
        for _ in range(_DUMP_TRIES):
            try:
                found = self._list(kind, body, memo)
            except NetlinkError:
                self._dump_sequence = _FIRST_OF_DUMPS | (self._dump_sequence + 1)
                raise
            if found is not None:
                return found
        raise NetlinkError(errno.EINTR, "the list went on changing")

    def _list(self, kind: int, wish: bytes, memo: Memo[T]) -> list[T] | None:
        """Return every item, `None` where the kernel says that they changed meanwhile."""
        found: list[T] = []
        is_whole = True
        parts: dict[bytes, Part[T]] = {}
        opened = self._send(kind, NLM_F_DUMP, wish, self._dump_sequence)
        while True:
            datagram = _received(opened)
            part = memo.read(datagram)
            if part.sequence != self._dump_sequence:
                continue
            if part.code:
                raise NetlinkError(part.code, os.strerror(part.code))
            parts[datagram] = part
            found += part.items
            is_whole = is_whole and part.is_whole
            if part.is_last:
                memo.keep(parts)
                return found if is_whole else None

    def ask(self, kind: int, flags: int, body: bytes) -> bytes:
        """Send a request and return the body of its answer; answers to earlier ones are skipped.

        Raises:
            NetlinkError: refused; ETIMEDOUT without an answer, ENOBUFS where it was lost.
        """
        self._sequence = self._sequence % (_FIRST_OF_DUMPS - 1) + 1
        opened = self._send(kind, flags, body, self._sequence)
        while True:
            answer = decode_answer(_received(opened), self._sequence)
            if answer is not None:
                return answer[1]

    def _send(self, kind: int, flags: int, body: bytes, sequence: int) -> socket.socket:
        if self._socket is None:
            raise NetlinkError(errno.EBADF, "the netlink socket is not open")
        try:
            self._socket.send(encode_message(kind, NLM_F_REQUEST | flags, sequence, body))
        except OSError as error:
            raise NetlinkError(error.errno or errno.EIO, error.strerror) from error
        return self._socket


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """One datagram of a dump; `code` is the errno where it is refused."""

    items: tuple[T, ...]
    sequence: int
    is_whole: bool
    is_last: bool
    code: int


class Memo(Generic[T]):
    """What a dump means, decoded once: most datagrams are the same as last time.

    `changes` counts the dumps that differed from the one before.
    """

    def __init__(self, decode: Callable[[bytes], T]) -> None:
        self._decode = decode
        self._known: dict[bytes, Part[T]] = {}
        self.changes = 0

    def read(self, datagram: bytes) -> Part[T]:
        """Return what one datagram means."""
        if (known := self._known.get(datagram)) is not None:
            return known
        items: list[T] = []
        is_whole, is_last, code, answered = True, False, 0, 0
        for kind, flags, sequence, body in messages(datagram):
            answered = sequence
            is_whole = is_whole and not flags & NLM_F_DUMP_INTR
            if kind == NLMSG_DONE:
                is_last = True
            elif kind == NLMSG_ERROR:
                code = -_S32.unpack_from(body)[0]
            else:
                items.append(self._decode(body))
        return Part(tuple(items), answered, is_whole, is_last, code)

    def keep(self, parts: dict[bytes, Part[T]]) -> None:
        """Remember the datagrams of a dump, and forget those of the one before."""
        self.changes += parts.keys() != self._known.keys()
        self._known = parts


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
        info += attribute(IFLA_INFO_KIND, text(link.kind))
    if link.peer is not None:
        peer = attribute(VETH_INFO_PEER | NLA_F_NESTED, encode_link(link.peer))
        info += attribute(IFLA_INFO_DATA | NLA_F_NESTED, peer)
    data = sublinks.encode(link.kind or "", mode=link.mode, flag=link.flag, vlan_id=link.vlan_id)
    if data:
        info += attribute(IFLA_INFO_DATA | NLA_F_NESTED, data)
    switches = ((IFLA_BRPORT_MODE, link.is_hairpin), (IFLA_BRPORT_ISOLATED, link.is_isolated))
    port = b"".join(attribute(kind, bytes([on])) for kind, on in switches if on is not None)
    if port:
        info += attribute(IFLA_INFO_SLAVE_KIND, text("bridge"))
        info += attribute(IFLA_INFO_SLAVE_DATA | NLA_F_NESTED, port)
    return info


def _words(body: bytes, flags: int) -> str | None:
    """Return the message of an extended acknowledgement, behind the request that it may echo."""
    if not flags & NLM_F_ACK_TLVS:
        return None
    echoed = _HEADER.size if flags & NLM_F_CAPPED else _HEADER.unpack_from(body, 4)[0]
    behind = dict(attributes(body[4 + echoed + -echoed % 4 :]))
    return string(behind.get(NLMSGERR_ATTR_MSG))


def _numbers(data: bytes | None, kind: int) -> bytes:
    return b"" if data is None else dict(attributes(data)).get(kind, b"")


def _at(numbers: bytes, place: int) -> int | None:
    end = 4 * place + 4
    return int(U32.unpack(numbers[end - 4 : end])[0]) if len(numbers) >= end else None
