"""Our own netlink messages and pyroute2's mean the same to the kernel: made by one, read by both.

Each test runs in a network namespace of its own, which this process enters with its main thread.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_interface
from typing import Any

import pytest
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from integration.lab import probes
from netplug.kernel import rtnl, switches
from netplug.kernel.linkops import index_of
from netplug.kernel.rtnl import Link, Rtnl

_TIMEVAL_10_MS = rtnl._TIMEVAL.pack(0, 10_000)

BRIDGE = Link(name="br0", kind="bridge", group=0x50590001, mtu=1400, address="02:50:00:00:00:01")
PEER = Link(name="p0", mtu=1400, address="02:42:0a:09:00:02")

pytestmark = pytest.mark.needs(*probes.OF_A_LAB)


@pytest.fixture
def ours(network: None) -> Iterator[Rtnl]:
    ours = Rtnl()
    ours.open()
    yield ours
    ours.close()


@pytest.fixture
def theirs(network: None) -> Iterator[IPRoute]:
    with IPRoute(ext_ack=True) as theirs:
        yield theirs


def veth(number: int) -> Link:
    peer = Link(name=f"p{number}", mtu=1400, address="02:42:0a:09:00:02")
    return Link(
        name=f"v{number}", kind="veth", group=7, mtu=1400, master=index_of("br0"), peer=peer
    )


def as_they_see(theirs: IPRoute, name: str) -> Link:
    (message,) = theirs.link("get", index=index_of(name))
    info = message.get("IFLA_LINKINFO")
    port = info.get("IFLA_INFO_SLAVE_DATA")
    return Link(
        index=message["index"],
        name=message.get("IFLA_IFNAME"),
        kind=info.get("IFLA_INFO_KIND"),
        group=message.get("IFLA_GROUP"),
        mtu=message.get("IFLA_MTU"),
        address=message.get("IFLA_ADDRESS"),
        master=message.get("IFLA_MASTER"),
        alias=message.get("IFLA_IFALIAS"),
        is_up=bool(message["flags"] & 1),
        is_isolated=bool(port.get("IFLA_BRPORT_ISOLATED")) if port else None,
        is_hairpin=bool(port.get("IFLA_BRPORT_MODE")) if port else None,
        parent=message.get("IFLA_LINK"),
        forwards_ipv4=switches.read(f"net/ipv4/conf/{name}/forwarding") == "1",
        forwards_ipv6=switches.read(f"net/ipv6/conf/{name}/forwarding") == "1",
        has_ipv6=switches.has_ipv6_on(name),
        routes_localnet=switches.read(f"net/ipv4/conf/{name}/route_localnet") == "1",
        is_strict=switches.read(f"net/ipv4/conf/{name}/rp_filter") == "1",
        is_loose=switches.read(f"net/ipv4/conf/{name}/rp_filter") == "2",
    )


def addresses(theirs: IPRoute) -> set[tuple[Any, ...]]:
    asked = ("IFA_ADDRESS", "IFA_LOCAL", "IFA_BROADCAST", "IFA_FLAGS")
    return {
        (a["index"], a["prefixlen"], a["scope"], *(a.get(name) for name in asked))
        for a in theirs.addr("dump")
    }


def test_link_of_theirs_reads_the_same(ours: Rtnl, theirs: IPRoute) -> None:
    theirs.link("add", ifname="br0", kind="bridge", group=9, address="02:50:00:00:00:01")
    bridge = index_of("br0")
    theirs.link("add", ifname="v0", kind="veth", mtu=1300, master=bridge, peer={"ifname": "p0"})
    theirs.link("set", index=index_of("v0"), kind="bridge_slave", isolated=1)
    theirs.link("set", index=index_of("v0"), state="up", ifalias="pynet 0f3a")

    for name in ("br0", "v0", "p0"):
        assert ours.link(name) == as_they_see(theirs, name)
    seen = ours.link("v0")
    assert seen is not None
    assert (seen.alias, seen.is_up, seen.is_isolated) == ("pynet 0f3a", True, True)


def test_add_and_set_link_of_ours_read_the_same(ours: Rtnl, theirs: IPRoute) -> None:
    ours.add_link(BRIDGE)
    ours.add_link(veth(0))
    ours.set_link(Link(name="v0", is_isolated=True, is_up=True, alias="pynet 0f3a"))

    for name in ("br0", "v0", "p0"):
        assert ours.link(name) == as_they_see(theirs, name)


def test_add_link_is_down_and_has_all_it_was_asked_for(ours: Rtnl) -> None:
    ours.add_link(BRIDGE)
    ours.add_link(veth(0))

    bridge, port, peer = ours.link("br0"), ours.link("v0"), ours.link("p0")
    assert bridge == Link(
        index=index_of("br0"),
        name="br0",
        kind="bridge",
        group=0x50590001,
        mtu=1400,
        address="02:50:00:00:00:01",
        is_up=False,
        has_ipv6=True,
    )
    assert port is not None
    assert (port.group, port.mtu, port.master, port.is_up) == (7, 1400, bridge.index, False)
    assert peer is not None
    assert (peer.mtu, peer.address) == (1400, "02:42:0a:09:00:02")


def test_add_link_leaves_the_alias_to_a_second_message(ours: Rtnl) -> None:
    ours.add_link(Link(name="br0", kind="bridge", alias="pynet 0f3a"))

    seen = ours.link("br0")
    assert seen is not None
    assert seen.alias is None


@pytest.mark.parametrize(
    "wish",
    [
        Link(name="v0", mtu=1300),
        Link(name="v0", group=0x50598000),
        Link(name="v0", address="02:42:00:00:00:09"),
        Link(name="v0", alias="ü" * 20),
        Link(name="v0", is_up=False),
        Link(name="v0", is_isolated=False),
    ],
    ids=["mtu", "group", "address", "alias", "down", "isolated"],
)
def test_set_link_changes_that_field_and_no_other(ours: Rtnl, wish: Link) -> None:
    ours.add_link(BRIDGE)
    ours.add_link(veth(0))
    ours.set_link(Link(name="v0", is_isolated=True, is_up=True, alias="pynet 0f3a"))
    before = ours.link("v0")

    ours.set_link(wish)

    after = ours.link("v0")
    for field in ("name", "mtu", "group", "address", "alias", "is_up", "is_isolated", "master"):
        source = before if getattr(wish, field) is None else wish
        assert getattr(after, field) == getattr(source, field)


def test_set_link_of_no_link_changes_none_of_its_group(ours: Rtnl) -> None:
    ours.add_link(BRIDGE)

    with pytest.raises(NetlinkError) as refused:
        ours.set_link(Link(name="br9", group=BRIDGE.group, mtu=1300))

    seen = ours.link("br0")
    assert seen is not None
    assert (refused.value.code, seen.mtu) == (errno.ENODEV, 1400)


@pytest.mark.parametrize(
    "switch",
    [
        "net/ipv4/conf/v0/forwarding",
        "net/ipv6/conf/v0/forwarding",
        "net/ipv4/conf/v0/rp_filter",
        "net/ipv4/conf/v0/route_localnet",
        "net/ipv6/conf/v0/disable_ipv6",
    ],
)
def test_switches_of_a_link_read_the_same(ours: Rtnl, theirs: IPRoute, switch: str) -> None:
    ours.add_link(Link(name="v0", kind="veth", peer=PEER))
    switches.write(switch, "1")

    assert ours.link("v0") == as_they_see(theirs, "v0")


def test_link_of_an_index_is_the_one_of_its_name(ours: Rtnl) -> None:
    ours.add_link(BRIDGE)

    assert ours.link_of(index_of("br0")) == ours.link("br0")
    assert ours.link_of(99) is None


@pytest.mark.parametrize("name", ["br9", "", "a-name-longer-than-15"])
def test_link_of_a_name_that_none_has_is_none(ours: Rtnl, name: str) -> None:
    assert ours.link(name) is None


def test_links_are_read_again_only_where_they_changed(ours: Rtnl) -> None:
    ours.add_link(Link(name="v0", kind="veth", peer=PEER))
    before, again = ours.links(), ours.links()
    changes = ours._links.changes
    ours.set_link(Link(name="v0", mtu=1300))

    after = ours.links()

    assert [link.name for link in before] == [link.name for link in after]
    assert all(one is two for one, two in zip(before, again, strict=True))
    assert [link.mtu for link in after if link.name == "v0"] == [1300]
    assert ours._links.changes == changes + 1


@pytest.mark.parametrize("text", ["10.9.0.1/24", "169.254.64.1/32", "fd09::1/64"])
def test_address_of_ours_is_the_one_that_they_add(ours: Rtnl, theirs: IPRoute, text: str) -> None:
    address = ip_interface(text)
    ours.add_link(Link(name="br0", kind="bridge"))
    index = index_of("br0")
    empty = addresses(theirs)
    flags = {"flags": rtnl.IFA_F_NODAD} if address.version == 6 else {}
    if address.ip.is_link_local:
        flags["scope"] = rtnl.RT_SCOPE_LINK
    theirs.addr(
        "add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen, **flags
    )
    expected = addresses(theirs)

    ours.remove_address(index, address)
    assert addresses(theirs) == empty
    ours.add_address(index, address)

    assert addresses(theirs) == expected
    assert ours.addresses(index) == [(index, address)]
    with pytest.raises(NetlinkError) as refused:
        ours.add_address(index, address)
    assert refused.value.code == errno.EEXIST


@pytest.mark.parametrize(
    "wish",
    [
        {"ifname": "v0", "mtu": 30},
        {"ifname": "v0", "mtu": 100_000},
        {"ifname": "v0", "address": "ff:ff:ff:ff:ff:ff"},
        {"ifname": "v0", "master": 99},
    ],
    ids=lambda wish: "-".join(str(value) for value in wish.values()),
)
def test_refusal_has_the_errno_and_the_words_that_they_get(
    ours: Rtnl, theirs: IPRoute, wish: dict[str, Any]
) -> None:
    ours.add_link(Link(name="v0", kind="veth", peer=PEER))
    fields = {key: value for key, value in wish.items() if key != "ifname"}

    with pytest.raises(NetlinkError) as expected:
        theirs.link("set", index=index_of("v0"), **fields)
    with pytest.raises(NetlinkError) as refused:
        ours.set_link(Link(name="v0", **fields))

    assert refused.value.args == expected.value.args


def test_answer_to_an_earlier_request_is_skipped(ours: Rtnl) -> None:
    ours.add_link(BRIDGE)
    unread = rtnl.encode_link(Link(name="lo"))
    for _ in range(3):
        ours._socket.send(rtnl.encode_message(rtnl.RTM_GETLINK, rtnl.NLM_F_REQUEST, 0, unread))

    seen = ours.link("br0")

    assert seen is not None
    assert seen.name == "br0"


def test_request_without_an_answer_ends_by_itself_and_the_next_one_works(ours: Rtnl) -> None:
    ours._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL_10_MS)

    with pytest.raises(NetlinkError, match="no answer") as refused:
        ours.ask(rtnl.RTM_SETLINK, 0, rtnl.encode_link(Link(name="lo", is_up=True)))

    assert refused.value.code == errno.ETIMEDOUT
    assert ours.link("lo") is not None


def test_overrun_is_an_error_and_does_not_last(ours: Rtnl) -> None:
    ours._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL_10_MS)
    ours._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    unread = rtnl.encode_link(Link(name="lo"))
    message = rtnl.encode_message(rtnl.RTM_GETLINK, rtnl.NLM_F_REQUEST, 0, unread)
    for _ in range(20):
        with suppress(OSError):
            ours._socket.send(message)

    codes = []
    for _ in range(3):
        try:
            assert ours.link("lo") is not None
        except NetlinkError as error:
            codes.append(error.code)

    assert codes
    assert set(codes) <= {errno.ENOBUFS, errno.ETIMEDOUT}
    assert ours.link("lo") is not None
