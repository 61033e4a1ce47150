"""Who reaches routed endpoints: elements as the kernel keeps them, and what nft shows of them."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from itertools import pairwise

import msgspec
import pytest

from netplug.kernel.firewall.routed import Range, Reachable, element_of, parse_set
from netplug.kernel.firewall.rules import IPV4, IPV6, Family, chains
from netplug.kernel.firewall.tables import PAIRS, PORTS, SOURCES, install_text, table_of
from netplug.model import Protocol
from netplug.plan.objects import RoutedPair, RoutedPort, RoutedSource

WEB, DB = ip_network("10.9.1.0/24"), ip_network("10.9.2.0/30")
PAIR = RoutedPair(source=WEB, destination=DB)
PORT = RoutedPort(protocol=Protocol.TCP, address=ip_address("10.9.1.2"), first=80)
SOURCE = RoutedSource(link="pyv0123456789ab", address=ip_address("10.9.2.2"))
RUN = RoutedPort(protocol=Protocol.UDP, address=ip_address("fd09::2"), first=8000, count=100)


@pytest.mark.parametrize(
    ("obj", "element"),
    [
        (PAIR, (PAIRS, "0a090100 0a090200", "0a0901ff 0a090203")),
        (PORT, (PORTS, "0a090102 06000000 00500000", "0a090102 06000000 00500000")),
        (SOURCE, (SOURCES, b"pyv0123456789ab\0".hex() + "0a090202", "")),
        (
            RUN,
            (
                PORTS,
                "fd09" + "0" * 27 + "2 11000000 1f400000",
                "fd09" + "0" * 27 + "2 11000000 1fa30000",
            ),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_element_spans_each_part_of_what_it_lets_through(
    obj: Reachable, element: tuple[str, str, str]
) -> None:
    name, first, last = element

    assert element_of(obj) == Range(name, bytes.fromhex(first), bytes.fromhex(last))


def listed(*elements: object) -> str:
    return msgspec.json.encode(
        {"nftables": [{"metainfo": {}}, {"set": {"elem": elements}}]}
    ).decode()


def test_parse_set_reads_pairs() -> None:
    prefix = {"prefix": {"addr": "10.9.1.0", "len": 24}}
    host = {"concat": ["10.9.3.3", {"prefix": {"addr": "0.0.0.0", "len": 0}}]}
    text = listed({"concat": [prefix, {"prefix": {"addr": "10.9.2.0", "len": 30}}]}, host)

    one_host = RoutedPair(source=ip_network("10.9.3.3/32"), destination=ip_network("0.0.0.0/0"))
    assert list(parse_set(PAIRS, text)) == [PAIR, one_host]


def test_parse_set_reads_ports_and_passes_over_what_is_none() -> None:
    run = {"concat": ["fd09::2", "udp", {"range": [8000, 8099]}]}
    hosts = {"concat": [{"range": ["10.9.1.2", "10.9.1.5"]}, "tcp", 80]}
    text = listed({"concat": ["10.9.1.2", "tcp", 80]}, hosts, {"concat": ["::1", "dccp", 5]}, run)

    assert list(parse_set(PORTS, text)) == [PORT, RUN]


def test_parse_set_reads_sources() -> None:
    text = listed({"concat": ["pyv0123456789ab", "10.9.2.2"]}, {"concat": ["pyv1", "nothing"]})

    assert list(parse_set(SOURCES, text)) == [SOURCE]


def test_parse_set_of_an_empty_one_finds_nothing() -> None:
    assert list(parse_set(PAIRS, '{"nftables": [{"set": {"name": "routed_pairs"}}]}')) == []


@pytest.mark.parametrize("family", [IPV4, IPV6], ids=["ipv4", "ipv6"])
def test_rules_pass_on_what_goes_to_an_endpoint_only_where_nftables_decide(family: Family) -> None:
    to_endpoint = "-m devgroup --dst-group 0x50590010/0xffff0010"
    decided = chains(family, filters_bridged=True, filters_routed=True)["mangle"]
    undecided = chains(family, filters_bridged=True)["mangle"]

    assert [rule for rule in decided if rule not in undecided] == [
        f"{to_endpoint} -m set --match-set {family.engine_set} src -j DROP",
        f"{to_endpoint} -j RETURN",
    ]
    assert [rule for rule in undecided if rule not in decided] == [f"{to_endpoint} -j DROP"]


@pytest.mark.parametrize("family", [IPV4, IPV6], ids=["ipv4", "ipv6"])
def test_rules_let_nothing_new_to_an_endpoint_but_what_is_established_while_nothing_decides(
    family: Family,
) -> None:
    rules = chains(family, filters_bridged=True)["mangle"]
    before = rules[: rules.index("-m devgroup --dst-group 0x50590010/0xffff0010 -j DROP")]

    assert [rule for rule in before if "RETURN" in rule] == [
        "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
        "-m devgroup ! --src-group 0x50590000/0xffff0000 "
        "--dst-group 0x50590000/0xffff0010 -m conntrack --ctstate DNAT -j RETURN",
        "-m devgroup ! --src-group 0x50590000/0xffff0000 "
        "! --dst-group 0x50590000/0xffff0000 -j RETURN",
        "-m physdev --physdev-is-bridged -j RETURN",
    ]


@pytest.mark.parametrize("family", [IPV4, IPV6], ids=["ipv4", "ipv6"])
def test_what_is_internal_or_apart_is_dropped_before_published_ports_let_it_in(
    family: Family,
) -> None:
    start = f"add rule {table_of(family)} routed "
    text = install_text(family, filters_routed=True)
    rules = [line for line in text.splitlines() if line.startswith(start)]
    order = [
        next(number for number, rule in enumerate(rules) if part in rule)
        for part in (
            f"@{PAIRS}",
            "0x50590001 drop",
            "0x50590008 drop",
            f"@{PORTS}",
            "0x50590000 drop",
        )
    ]

    assert all(one < other for one, other in pairwise(order))
    assert rules[-1] == f"{start}drop"
