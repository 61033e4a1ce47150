"""Tracked connections: those that no longer lead where a new one would are forgotten.

A tracked connection keeps its translation, and its way through the rules, for as long as one side
goes on sending: a UDP client or an SCTP association talks to a container that is gone, a TCP client
repeats its first packet to it for two minutes, and networks that were parted go on talking.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink.nfctsocket import (
    IPCTNL_MSG_CT_GET,
    IPS_ASSURED,
    AsyncNFCTSocket,
    NFCTAttrTuple,
    nfct_msg,
)

from netplug.model import IPNetwork, Protocol
from netplug.plan.objects import Key, OpenPort, PeerSubnet, PortForward, RoutedPort

log = logging.getLogger(__name__)

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_PROTOCOLS = {
    Protocol.TCP: socket.IPPROTO_TCP,
    Protocol.UDP: socket.IPPROTO_UDP,
    Protocol.SCTP: socket.IPPROTO_SCTP,
}
_PAUSE_S = 0.02

_Port = PortForward | OpenPort | RoutedPort


@dataclass(frozen=True, slots=True)
class _Flow:
    """A connection by its first packet and what answers it. A TCP handshake makes it assured."""

    original: NFCTAttrTuple
    reply: NFCTAttrTuple
    is_assured: bool


class Connections:
    """The connection table of the network namespace in which `open` is called.

    The kernel walks its table for each question, 14 ms at 262 144 buckets: ports that change within
    a moment share one, and nobody waits for it. What fails is logged: the ports themselves are as
    they should be.
    """

    def __init__(self) -> None:
        self._sockets = {version: AsyncNFCTSocket(family) for version, family in _FAMILIES.items()}
        self._changed: dict[Key, _Port] = {}
        self._leading: dict[Key, PortForward] = {}
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the netlink sockets."""
        for opened in self._sockets.values():
            await opened.setup_endpoint()

    async def close(self) -> None:
        """Forget what is to be forgotten, and close them."""
        await self.settle()
        for opened in self._sockets.values():
            opened.close()

    def forget(self, port: _Port, *, is_there: bool) -> None:
        """Soon forget connections to a port that was taken back, or that do not lead where it does.

        The host port is ours, wherever they lead; those that the host has to others' ports of that
        number are left alone. So is TCP whose handshake is done: it ends with its container, or
        goes on if that stays.
        """
        self._changed[port.key] = port
        self._leading.pop(port.key, None)
        if is_there and isinstance(port, PortForward):
            self._leading[port.key] = port
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._forget_changed(), name="forget-connections")

    async def settle(self) -> None:
        """Wait until what is to be forgotten is."""
        if self._task is not None:
            await self._task

    async def forget_peer(self, peer: PeerSubnet, subnets: Collection[IPNetwork]) -> None:
        """Forget all connections from a network to a former peer, which has `subnets`.

        Those to published ports are to the host, and go on.
        """
        await self.forget_between(peer.subnet, subnets)

    async def forget_between(self, source: IPNetwork, targets: Collection[IPNetwork]) -> None:
        """Forget all connections from `source` to the `targets` themselves."""
        wish = NFCTAttrTuple(family=_FAMILIES[source.version])
        alike = [target for target in targets if target.version == source.version]
        await self._forget(wish, lambda flow: _is_between(flow, source, alike))

    async def _forget_changed(self) -> None:
        while self._changed:
            await asyncio.sleep(_PAUSE_S)
            changed, self._changed = self._changed, {}
            leading, self._leading = self._leading, {}
            alike: dict[tuple[int, Protocol], list[_Port]] = {}
            for port in changed.values():
                alike.setdefault((port.address.version, port.protocol), []).append(port)
            for (version, protocol), ports in alike.items():
                wish = NFCTAttrTuple(family=_FAMILIES[version], proto=_PROTOCOLS[protocol])
                if len(ports) == 1:
                    wish = _wish(ports[0])
                await self._forget(wish, _Ports(ports, leading).are_left_by)

    async def _forget(self, wish: NFCTAttrTuple, is_stale: Callable[[_Flow], bool]) -> None:
        """Forget what is like `wish` and stale; kernels before 5.8 know no wishes and tell all."""
        opened = self._sockets[4 if wish.family == socket.AF_INET else 6]
        try:
            found = [_flow(wish.family, message) async for message in await _dump(opened, wish)]
            for flow in found:
                if is_stale(flow):
                    await _delete(opened, flow.original)
        except NetlinkError as error:
            log.warning("old connections are not forgotten", extra={"reason": str(error)})


class _Ports:
    """Ports of one protocol, found by number; those of `leading` lead somewhere."""

    def __init__(self, ports: Collection[_Port], leading: Mapping[Key, PortForward]) -> None:
        self._leading = leading
        self._runs = [port for port in ports if _count(port) > 1]
        self._by_number: dict[int, list[_Port]] = {}
        for port in ports:
            self._by_number.setdefault(_first(port), []).append(port)

    def are_left_by(self, flow: _Flow) -> bool:
        """Return whether a connection is to one of them, and is to be forgotten."""
        to = flow.original
        if to.proto == socket.IPPROTO_TCP and flow.is_assured:
            return False
        return any(
            _PROTOCOLS[port.protocol] == to.proto
            and _first(port) <= to.dport < _first(port) + _count(port)
            and _is_at(to.daddr, port)
            and not _leads_there(flow, self._leading.get(port.key))
            for port in (*self._by_number.get(to.dport, ()), *self._runs)
        )


def _leads_there(flow: _Flow, forward: PortForward | None) -> bool:
    if forward is None:
        return False
    answerer, port = ip_address(flow.reply.saddr), forward.to_port - forward.first
    return (answerer, flow.reply.sport) == (forward.to_address, flow.original.dport + port)


def _first(port: _Port) -> int:
    return port.port if isinstance(port, OpenPort) else port.first


def _count(port: _Port) -> int:
    return 1 if isinstance(port, OpenPort) else port.count


def _is_at(address: str, port: _Port) -> bool:
    if port.address.is_unspecified:
        return _is_local(address)
    return ip_address(address) == port.address


def _wish(port: _Port) -> NFCTAttrTuple:
    """Return what the kernel compares connections with.

    Of IPv6 not the address, which it takes for the one that is not wished for.
    Source: Linux net/netfilter/nf_conntrack_netlink.c, ctnetlink_filter_match_tuple (6.18).
    """
    to = port.address
    is_compared = to.version == 4 and not to.is_unspecified
    return NFCTAttrTuple(
        family=_FAMILIES[to.version],
        proto=_PROTOCOLS[port.protocol],
        dport=_first(port) if _count(port) == 1 else None,
        daddr=str(to) if is_compared else None,
    )


async def _dump(opened: AsyncNFCTSocket, wish: NFCTAttrTuple) -> Any:
    """Ask for connections like `wish`; of TCP, for those only whose handshake is not done.

    A busy port may have thousands of the others. Source: Linux net/netfilter/nf_conntrack_netlink.c
    ctnetlink_alloc_filter; the status since 5.15.
    """
    asked: dict[str, Any] = {}
    if wish.attrs():
        asked["tuple_orig"] = wish
        asked["cta_filter"] = {"attrs": [["CTA_FILTER_ORIG_FLAGS", wish.flags]]}
    if wish.proto == socket.IPPROTO_TCP:
        asked |= {"status": 0, "status_mask": IPS_ASSURED}
    message = nfct_msg.create_from(**asked)
    return await opened.request(message, IPCTNL_MSG_CT_GET, msg_flags=NLM_F_REQUEST | NLM_F_DUMP)


async def _delete(opened: AsyncNFCTSocket, original: NFCTAttrTuple) -> None:
    try:
        await opened.entry("del", tuple_orig=original)
    except NetlinkError as error:
        if error.code != errno.ENOENT:
            raise


def _flow(family: int, message: Any) -> _Flow:
    original = _tuple(family, message.get_attr("CTA_TUPLE_ORIG"))
    reply = _tuple(family, message.get_attr("CTA_TUPLE_REPLY"))
    return _Flow(original, reply, bool((message.get_attr("CTA_STATUS") or 0) & IPS_ASSURED))


def _tuple(family: int, found: Any) -> NFCTAttrTuple:
    parsed = NFCTAttrTuple.from_netlink(family, found)
    ends = found.get_attr("CTA_TUPLE_PROTO")
    parsed.sport = ends.get_attr("CTA_PROTO_SRC_PORT")  # which it reads for TCP and UDP only
    parsed.dport = ends.get_attr("CTA_PROTO_DST_PORT")
    return parsed


def _is_between(flow: _Flow, source: IPNetwork, targets: Collection[IPNetwork]) -> bool:
    to = ip_address(flow.original.daddr)
    return ip_address(flow.original.saddr) in source and any(to in target for target in targets)


def _is_local(address: str) -> bool:
    """Return whether the host has an address: only then can it be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            return False
    return True
