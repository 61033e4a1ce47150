"""The text of the rules inside a sandbox; integration/kernel sends the packets."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from netplug.kernel.firewall.sandboxed import install_text, list_texts, remove_text, tables
from netplug.model import Protocol
from netplug.plan.objects import SandboxFilter

MAC = "02:42:0a:09:00:02"
TCP, UDP = Protocol.TCP, Protocol.UDP
MACVLAN = SandboxFilter(
    link="pyp1",
    netns="/run/netns/one",
    mac=MAC,
    addresses=frozenset({ip_address("10.9.0.2"), ip_address("fd09::2")}),
    guards=True,
)
IPVLAN = replace(MACVLAN, mac="")
CLOSED = replace(MACVLAN, guards=False, ports=frozenset())


def lines(wish: SandboxFilter, *, can_guard: bool = True) -> list[str]:
    return install_text(wish, name="eth0", index=7, can_guard=can_guard).splitlines()


def rules(wish: SandboxFilter) -> list[str]:
    words = (line.split(maxsplit=5) for line in lines(wish) if line.startswith("add rule"))
    return [rule for *_, rule in words]


def test_text_makes_tables_unless_they_are_there_and_binds_the_guard_to_the_present_name() -> None:
    made = lines(replace(MACVLAN, ports=frozenset()))

    table = "netdev pynet-pyp1"
    of_tables = [line for line in made if " table " in line]
    assert of_tables == [f"create table {table}", "create table inet pynet-pyp1"]
    assert (
        f'add chain {table} egress {{ type filter hook egress device "eth0" priority 0; }}' in made
    )


def test_text_of_a_macvlan_has_its_mac_in_each_element() -> None:
    elements = [line for line in lines(MACVLAN) if line.startswith("add element")]

    start = "add element netdev pynet-pyp1"
    assert sorted(elements) == [
        f"{start} ipv4 {{ {MAC} . 10.9.0.2 }}",
        f"{start} ipv6 {{ {MAC} . 0xfd090000000000000000000000000002 }}",
        f"{start} ipv6 {{ {MAC} . 0xfe8000000000000000420afffe090002 }}",
        f"{start} macs {{ {MAC} }}",
    ]
    assert not any("fe80::/10" in rule for rule in rules(MACVLAN))


def test_text_of_an_ipvlan_asks_for_no_mac_and_takes_link_local_addresses() -> None:
    assert not any("ether saddr" in rule or "@macs" in rule for rule in rules(IPVLAN))
    assert any("fe80::/10 accept" in rule for rule in rules(IPVLAN))
    assert "add element netdev pynet-pyp1 ipv4 { 10.9.0.2 }" in lines(IPVLAN)


def test_text_without_addresses_keeps_to_the_mac() -> None:
    bare = replace(MACVLAN, addresses=frozenset())

    elements = [line for line in lines(bare) if line.startswith("add element")]
    assert elements == [f"add element netdev pynet-pyp1 macs {{ {MAC} }}"]
    assert "accept" in rules(bare)
    assert "accept" not in rules(MACVLAN)


def test_text_of_open_ports_has_them_as_runs() -> None:
    made = lines(replace(CLOSED, ports=frozenset({(UDP, 85, 85), (TCP, 90, 95), (TCP, 80, 80)})))

    elements = "tcp . 80-80, tcp . 90-95, udp . 85-85"
    assert f"add element inet pynet-pyp1 ports {{ {elements} }}" in made


def test_text_without_open_ports_adds_no_element() -> None:
    assert not any(line.startswith("add element") for line in lines(CLOSED))
    assert rules(CLOSED)[0] == "iif != 7 accept"
    assert rules(CLOSED)[-1] == "drop"


@pytest.mark.parametrize(
    ("wish", "can_guard", "needed"),
    [
        (MACVLAN, True, ["netdev pynet-pyp1"]),
        (MACVLAN, False, []),
        (CLOSED, True, ["inet pynet-pyp1"]),
        (replace(CLOSED, guards=True), True, ["netdev pynet-pyp1", "inet pynet-pyp1"]),
        (replace(CLOSED, guards=True), False, ["inet pynet-pyp1"]),
    ],
)
def test_tables_are_those_that_the_kernel_can_have(
    wish: SandboxFilter, can_guard: bool, needed: list[str]
) -> None:
    assert tables(wish, can_guard=can_guard) == needed
    assert list_texts(wish, can_guard=can_guard) == [f"list table {name}" for name in needed]
    if not can_guard:
        assert "netdev" not in "".join(lines(wish, can_guard=False))
        assert "netdev" not in remove_text(wish.link, can_guard=False)
