"""The bytes of our netlink messages, beside the layout in the kernel's headers and pyroute2."""

from __future__ import annotations

import errno
import os
import sys
from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from netplug.kernel import rtnl
from netplug.kernel.rtnl import Link

VETH = Link(
    name="pyvweb1",
    kind="veth",
    group=0x50594000,
    mtu=1400,
    master=7,
    peer=Link(name="pypweb1", mtu=1400, address="02:42:0a:09:00:02"),
)
REQUEST = rtnl.encode_message(rtnl.RTM_SETLINK, rtnl.NLM_F_REQUEST, 5, b"12345678")
WORDS = rtnl.attribute(2, b"\1\0\0\0") + rtnl.attribute(1, b"mtu less than device minimum\0")

little_endian = pytest.mark.skipif(sys.byteorder == "big", reason="the bytes are little endian")

u32 = st.integers(0, 0xFFFF_FFFF)
names = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,14}", fullmatch=True)
links = st.builds(
    Link,
    name=names,
    kind=st.none() | st.sampled_from(["bridge", "veth"]),
    group=st.none() | u32,
    mtu=st.none() | u32,
    address=st.none() | st.binary(min_size=6, max_size=6).map(lambda mac: mac.hex(":")),
    master=st.none() | u32,
    alias=st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40),
    is_up=st.booleans(),
    is_isolated=st.none() | st.booleans(),
)


def refusal(code: int, *, flags: int, echoed: bytes = REQUEST[:16], words: bytes = b"") -> bytes:
    body = (-code).to_bytes(4, sys.byteorder, signed=True) + echoed + words
    return rtnl.encode_message(rtnl.NLMSG_ERROR, flags, 5, body)


def as_pyroute2_reads(message: type, body: bytes) -> Any:
    read = message(rtnl.encode_message(0, 0, 1, body))
    read.decode()
    return read


@little_endian
@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (Link(name="lo"), "00000000 00000000 00000000 00000000 0700 0300 6c6f00 00"),
        (
            Link(name="lo", is_up=True, alias="a"),
            "00000000 00000000 01000000 01000000 0700 0300 6c6f00 00 0600 1400 6100 0000",
        ),
        (
            Link(name="lo", is_up=False, group=0x50598000),
            "00000000 00000000 00000000 01000000 0700 0300 6c6f00 00 0800 1b00 00805950",
        ),
        (
            Link(name="br0", kind="bridge", address="02:50:00:00:00:01", mtu=1400),
            "00000000 00000000 00000000 00000000 0800 0300 62723000 0800 0400 78050000"
            "0a00 0100 025000000001 0000 1000 1280 0b00 0100 62726964676500 00",
        ),
        (
            Link(name="v0", is_isolated=True, master=7),
            "00000000 00000000 00000000 00000000 0700 0300 763000 00 0800 0a00 07000000"
            "1c00 1280 0b00 0400 62726964676500 00 0c00 0580 0500 2100 01 000000",
        ),
        (
            Link(name="v0", kind="veth", peer=Link(name="p0")),
            "00000000 00000000 00000000 00000000 0700 0300 763000 00"
            "3000 1280 0900 0100 7665746800 000000"
            "2000 0280 1c00 0180 00000000 00000000 00000000 00000000 0700 0300 703000 00",
        ),
    ],
    ids=["name", "up", "down", "bridge", "port", "veth"],
)
def test_encode_link_is_ifinfomsg_and_the_attributes_that_are_set(
    link: Link, expected: str
) -> None:
    assert rtnl.encode_link(link).hex(" ", 4) == bytes.fromhex(expected).hex(" ", 4)


@little_endian
@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.9.0.1/24", "02180000 03000000 0800 0200 0a090001 0800 0100 0a090001"),
        (
            "fd09::1/64",
            "0a400000 03000000 1400 0200 fd090000000000000000000000000001"
            "1400 0100 fd090000000000000000000000000001 0800 0800 02000000",
        ),
    ],
)
def test_encode_address_is_ifaddrmsg_local_and_flags(address: str, expected: str) -> None:
    assert rtnl.encode_address(3, ip_interface(address)) == bytes.fromhex(expected)


@little_endian
def test_encode_message_is_nlmsghdr_and_body() -> None:
    message = rtnl.encode_message(rtnl.RTM_SETLINK, rtnl.NLM_F_REQUEST, 5, b"1234")

    assert message == bytes.fromhex("14000000 1300 0100 05000000 00000000") + b"1234"


def test_pyroute2_reads_a_veth_pair_as_it_was_meant() -> None:
    read = as_pyroute2_reads(ifinfmsg, rtnl.encode_link(VETH))

    info = read.get("IFLA_LINKINFO")
    peer = info.get("IFLA_INFO_DATA").get("VETH_INFO_PEER")
    assert (read.get("IFLA_IFNAME"), read.get("IFLA_GROUP")) == ("pyvweb1", 0x50594000)
    assert (read.get("IFLA_MTU"), read.get("IFLA_MASTER")) == (1400, 7)
    assert info.get("IFLA_INFO_KIND") == "veth"
    assert (peer.get("IFLA_IFNAME"), peer.get("IFLA_MTU")) == ("pypweb1", 1400)
    assert peer.get("IFLA_ADDRESS") == "02:42:0a:09:00:02"


@pytest.mark.parametrize("address", ["10.9.0.1/24", "fd09::1/64"])
def test_pyroute2_reads_an_address_as_it_was_meant(address: str) -> None:
    read = as_pyroute2_reads(ifaddrmsg, rtnl.encode_address(3, ip_interface(address)))

    assert (read["index"], f"{read.get('IFA_LOCAL')}/{read['prefixlen']}") == (3, address)
    assert read.get("IFA_ADDRESS") == read.get("IFA_LOCAL")


@given(links)
def test_decode_link_gives_back_what_was_encoded(link: Link) -> None:
    assert rtnl.decode_link(rtnl.encode_link(link)) == link


@given(st.binary(max_size=80))
def test_attributes_of_any_bytes_come_to_an_end(data: bytes) -> None:
    assert len(list(rtnl.attributes(data))) <= len(data) // 4


def test_decode_answer_returns_type_and_body() -> None:
    answer = rtnl.encode_message(rtnl.RTM_NEWLINK, 0, 5, b"a link")

    assert rtnl.decode_answer(answer, 5) == (rtnl.RTM_NEWLINK, b"a link")


def test_decode_answer_to_an_earlier_request_is_nothing() -> None:
    assert rtnl.decode_answer(refusal(errno.EPERM, flags=0), 6) is None


def test_decode_answer_without_an_error_is_fine_whatever_it_warns_of() -> None:
    flags = rtnl.NLM_F_CAPPED | rtnl.NLM_F_ACK_TLVS

    answer = rtnl.decode_answer(refusal(0, flags=flags, words=WORDS), 5)

    assert answer is not None
    assert answer[0] == rtnl.NLMSG_ERROR


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refusal(22, flags=rtnl.NLM_F_CAPPED), os.strerror(22)),
        (refusal(22, flags=0, echoed=REQUEST), os.strerror(22)),
        (refusal(22, flags=0x300, words=WORDS), "mtu less than device minimum"),
        (refusal(22, flags=0x200, echoed=REQUEST, words=WORDS), "mtu less than device minimum"),
        (refusal(22, flags=0x300, words=rtnl.attribute(2, b"\1\0\0\0")), os.strerror(22)),
    ],
    ids=["capped", "echoed", "capped with words", "echoed with words", "only an offset"],
)
def test_decode_answer_of_a_refusal_raises_errno_and_words(answer: bytes, words: str) -> None:
    with pytest.raises(NetlinkError) as refused:
        rtnl.decode_answer(answer, 5)

    assert (refused.value.code, refused.value.args[1]) == (22, words)


def test_request_before_open_and_after_close_is_refused() -> None:
    closed = rtnl.Rtnl()
    closed.close()

    with pytest.raises(NetlinkError, match="not open"):
        closed.link("lo")


@pytest.mark.parametrize(
    ("link", "data"),
    [
        (rtnl.Link(kind="macvlan", mode="private"), {"IFLA_MACVLAN_MODE": "private"}),
        (rtnl.Link(kind="macvlan", mode="bridge"), {"IFLA_MACVLAN_MODE": "bridge"}),
        (rtnl.Link(kind="macvlan", mode="vepa"), {"IFLA_MACVLAN_MODE": "vepa"}),
        (rtnl.Link(kind="macvlan", mode="passthru"), {"IFLA_MACVLAN_MODE": "passthru"}),
        (
            rtnl.Link(kind="ipvlan", mode="l2", flag="bridge"),
            {"IFLA_IPVLAN_MODE": 0},
        ),
        (
            rtnl.Link(kind="ipvlan", mode="l3", flag="private"),
            {"IFLA_IPVLAN_MODE": 1},
        ),
        (
            rtnl.Link(kind="ipvlan", mode="l3s", flag="vepa"),
            {"IFLA_IPVLAN_MODE": 2},
        ),
        (rtnl.Link(kind="vlan", vlan_id=10), {"IFLA_VLAN_ID": 10}),
    ],
    ids=lambda value: f"{value.kind}-{value.mode}" if isinstance(value, rtnl.Link) else "",
)
def test_link_on_another_is_to_pyroute2_what_it_is_to_us(
    link: rtnl.Link, data: dict[str, object]
) -> None:
    wish = replace(link, name="sub0", parent=7)

    body = rtnl.encode_link(wish)
    theirs = as_pyroute2_reads(ifinfmsg, body)

    info = theirs.get_attr("IFLA_LINKINFO")
    assert (theirs.get_attr("IFLA_IFNAME"), theirs.get_attr("IFLA_LINK")) == ("sub0", 7)
    assert info.get_attr("IFLA_INFO_KIND") == link.kind
    read = dict(info.get_attr("IFLA_INFO_DATA")["attrs"])
    assert {name: read[name] for name in data} == data  # it knows no flags of ipvlan
    assert rtnl.decode_link(body) == replace(wish, is_up=False)


def test_mode_that_nobody_knows_reads_as_its_number() -> None:
    body = rtnl.encode_link(rtnl.Link(kind="macvlan", mode="bridge"))

    unknown = rtnl.decode_link(body.replace(b"\x04\0\0\0", b"\x20\0\0\0"))

    assert unknown.mode == "32"
