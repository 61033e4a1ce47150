"""The text of our nftables, and what we read of those that are there."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplug.kernel.firewall.rules import IPV4, IPV6, Family
from netplug.kernel.firewall.tables import elements, forward_of, install_text, table_of
from netplug.kernel.firewall.translations import parse_map
from netplug.model import Protocol
from netplug.plan.objects import GROUP_BASE, GROUP_MASK, LinkPolicy, PortForward

ONE = PortForward(
    protocol=Protocol.TCP,
    address=ip_address("192.0.2.1"),
    first=8080,
    to_address=ip_address("10.9.0.2"),
    to_port=80,
)
ANY = replace(ONE, address=ip_address("0.0.0.0"))
RUN = replace(ANY, first=9000, count=100, to_port=9000)
SHIFTED = replace(ANY, first=7000, count=3, to_port=17_000, protocol=Protocol.UDP)
SIX = replace(ONE, address=ip_address("2001:db8::1"), to_address=ip_address("fd09::2"))

MAP = """{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"map": {"family": "ip",
  "name": "ports", "table": "pynet", "type": ["ipv4_addr", "inet_proto", "inet_service"],
  "map": "ipv4_addr . inet_service", "stmt": [{"counter": null}], "elem": [
  [{"elem": {"val": {"concat": ["192.0.2.1", "tcp", 8080]},
             "counter": {"packets": 3, "bytes": 180}}}, {"concat": ["10.9.0.2", 80]}],
  [{"concat": ["192.0.2.1", "udp", 53]}, {"concat": ["10.9.0.3", 5353]}]
]}}]}"""
RANGES = """{"nftables": [{"map": {"elem": [
  [{"elem": {"val": {"concat": [{"prefix": {"addr": "0.0.0.0", "len": 0}}, "tcp",
   {"range": [9000, 9099]}]}, "counter": {"packets": 1, "bytes": 60}}}, "10.9.0.2"]]}}]}"""


@pytest.mark.parametrize(
    ("forward", "texts"),
    [
        (ONE, ["ip pynet ports 192.0.2.1 . tcp . 8080 : 10.9.0.2 . 80"]),
        (ANY, ["ip pynet any_ports tcp . 8080 : 10.9.0.2 . 80"]),
        (RUN, ["ip pynet ranges 0.0.0.0/0 . tcp . 9000-9099 : 10.9.0.2"]),
        (
            replace(RUN, address=ONE.address),
            ["ip pynet ranges 192.0.2.1 . tcp . 9000-9099 : 10.9.0.2"],
        ),
        (
            SHIFTED,
            [
                "ip pynet any_ports udp . 7000 : 10.9.0.2 . 17000",
                "ip pynet any_ports udp . 7001 : 10.9.0.2 . 17001",
                "ip pynet any_ports udp . 7002 : 10.9.0.2 . 17002",
            ],
        ),
        (SIX, ["ip6 pynet ports 2001:db8::1 . tcp . 8080 : fd09::2 . 80"]),
    ],
    ids=["one", "any", "run", "run-on-one-address", "shifted-run", "ipv6"],
)
def test_elements_of_a_forward_are_as_few_as_the_kernel_allows(
    forward: PortForward, texts: list[str]
) -> None:
    assert [f"{e.table} {e.map} {e.text}" for e in elements(forward)] == texts


@given(
    address=st.ip_addresses(),
    protocol=st.sampled_from(Protocol),
    first=st.integers(1, 60_000),
    count=st.sampled_from([1, 2, 500]),
)
def test_forward_of_its_only_element_is_the_forward(
    address: object, protocol: Protocol, first: int, count: int
) -> None:
    host = ip_address(str(address))
    inside = ip_address("10.9.0.2" if host.version == 4 else "fd09::2")
    forward = PortForward(
        protocol=protocol,
        address=host,
        first=first,
        count=count,
        to_address=inside,
        to_port=first if count > 1 else 80,
    )

    (element,) = elements(forward)

    assert forward_of(element) == forward


def test_parse_map_reads_counters_and_elements_without_one() -> None:
    rows = [(e.text, hits.packets, hits.bytes) for e, hits in parse_map("ip pynet", "ports", MAP)]

    assert rows == [
        ("192.0.2.1 . tcp . 8080 : 10.9.0.2 . 80", 3, 180),
        ("192.0.2.1 . udp . 53 : 10.9.0.3 . 5353", 0, 0),
    ]


def test_parse_map_reads_runs_as_they_are_written() -> None:
    ((element, hits),) = parse_map("ip pynet", "ranges", RANGES)

    assert (forward_of(element), hits.packets) == (RUN, 1)


@pytest.mark.parametrize("family", [IPV4, IPV6], ids=["ipv4", "ipv6"])
def test_install_text_keeps_elements_and_takes_three_look_ups(family: object) -> None:
    text = install_text(IPV4 if family is IPV4 else IPV6)

    assert not {"delete element", "delete map", "delete table", "flush map"} & {
        " ".join(line.split()[:2]) for line in text.splitlines()
    }
    assert text.count(" map @") == 3


@pytest.mark.parametrize("family", [IPV4, IPV6], ids=["ipv4", "ipv6"])
def test_install_text_lets_ip_in_by_bridges_only_not_by_their_ports(family: Family) -> None:
    port_or_doomed = LinkPolicy.PORT | LinkPolicy.DOOMED
    start = f"add rule {table_of(family)} martians "
    rules = [line for line in install_text(family).splitlines() if line.startswith(start)]

    assert rules[:2] == [
        f"{start}meta iifgroup & {GROUP_MASK:#x} != {GROUP_BASE:#x} accept",
        f"{start}meta iifgroup & {port_or_doomed:#x} != 0x0 drop",
    ]
    assert all(rule.endswith("drop") for rule in rules[1:])


@pytest.mark.parametrize("family", [IPV4, IPV6], ids=["ipv4", "ipv6"])
def test_install_text_asks_of_routed_endpoints_only_where_there_are_some(family: Family) -> None:
    without = install_text(family).splitlines()
    whole = install_text(family, filters_routed=True).splitlines()
    more = [line for line in whole if line not in without]

    assert f"delete chain {table_of(family)} routed" in without
    assert {line.split()[4] for line in more} == {"routed", "martians"}
    assert not any(" routed " in line for line in without if line.startswith("add rule"))
