"""The rules inside a sandbox, as a text and as copies; integration/kernel sends the packets."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import ip_address

import pytest

from netplug.errors import Unsupported
from netplug.kernel.firewall.image import (
    NFPROTO_INET,
    NFPROTO_NETDEV,
    Chain,
    Hook,
    Image,
    Set,
    element,
)
from netplug.kernel.firewall.netfilter import attribute
from netplug.kernel.firewall.sandboxed import (
    install_text,
    names,
    sample_text,
    samples,
    table_of,
    tables,
)
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


SETS = tuple(Set(f"{kept}\0".encode(), b"", frozenset()) for kept in ("ipv4", "ipv6", "macs"))
GUARD_FORM = Image(
    family=NFPROTO_NETDEV,
    name="pynet-sample",
    what=b"",
    chains=(Chain(b"", Hook(bytes(4), bytes(4), (b"lo\0",))),),
    sets=SETS,
    rules=(),
)


def ports_form() -> Image:
    """Return a form with the one rule that has a number in it, as the sample has it."""
    (sample,) = samples(CLOSED, can_guard=True)
    number = int(sample_text(sample).partition("iif != ")[2].split()[0])
    return Image(
        family=NFPROTO_INET,
        name="pynet-sample",
        what=b"",
        chains=(),
        sets=(Set(b"ports\0", b"", frozenset()),),
        rules=(b"iif" + attribute(1, struct.pack("=I", number)) + b"accept",),
    )


def lines(wish: SandboxFilter) -> list[str]:
    return install_text(wish, name="eth0", index=7).splitlines()


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
        (MACVLAN, True, [NFPROTO_NETDEV]),
        (MACVLAN, False, []),
        (CLOSED, True, [NFPROTO_INET]),
        (replace(CLOSED, guards=True), True, [NFPROTO_NETDEV, NFPROTO_INET]),
        (replace(CLOSED, guards=True), False, [NFPROTO_INET]),
    ],
)
def test_samples_are_those_that_the_kernel_can_have(
    wish: SandboxFilter, can_guard: bool, needed: list[int]
) -> None:
    found = list(samples(wish, can_guard=can_guard))

    assert [table_of(sample) for sample in found] == [(f, "pynet-sample") for f in needed]
    for sample in found:
        assert sample_text(sample).count("create table") == 1


def test_filters_with_the_same_rules_share_a_sample() -> None:
    other = replace(MACVLAN, link="pyp2", mac="02:42:0a:09:00:03", netns="/run/netns/two")
    bare = replace(MACVLAN, addresses=frozenset())

    def of(*wishes: SandboxFilter) -> set[SandboxFilter]:
        return {sample for wish in wishes for sample in samples(wish, can_guard=True)}

    assert len(of(MACVLAN, other)) == 1
    assert len(of(MACVLAN, IPVLAN, bare)) == 3
    assert len(of(CLOSED, replace(CLOSED, ports=frozenset({(TCP, 80, 80)})))) == 1


def test_guard_is_bound_to_the_present_name_and_holds_what_the_link_may_send() -> None:
    (made,) = tables([GUARD_FORM], MACVLAN, name="eth0", index=7)

    mac = bytes.fromhex("02420a090002")
    assert (made.family, made.name) == names("pyp1")[0]
    assert made.chains[0].hook is not None
    assert made.chains[0].hook.devices == (b"eth0\0",)
    held = {one.name: one.elements for one in made.sets}
    ipv4 = element(mac + b"\0\0" + bytes([10, 9, 0, 2]))
    ipv6 = {
        element(mac + b"\0\0" + ip_address(address).packed)
        for address in ("fd09::2", "fe80::42:aff:fe09:2")
    }
    assert held == {b"macs\0": {element(mac)}, b"ipv4\0": {ipv4}, b"ipv6\0": ipv6}


def test_guard_of_an_ipvlan_holds_addresses_alone() -> None:
    (made,) = tables([GUARD_FORM], IPVLAN, name="eth0", index=7)

    held = {one.name: one.elements for one in made.sets}
    assert held[b"macs\0"] == frozenset()
    assert held[b"ipv4\0"] == {element(bytes([10, 9, 0, 2]))}
    assert held[b"ipv6\0"] == {element(ip_address("fd09::2").packed)}


def test_ports_are_those_of_the_link_with_its_number() -> None:
    wish = replace(CLOSED, ports=frozenset({(UDP, 53, 53), (TCP, 80, 81)}))
    (made,) = tables([ports_form()], wish, name="eth0", index=7)

    assert (made.family, made.name) == names("pyp1")[1]
    assert made.rules == (b"iif" + attribute(1, struct.pack("=I", 7)) + b"accept",)
    assert made.sets[0].elements == {
        element(b"\x11\0\0\0\0\x35\0\0", b"\x11\0\0\0\0\x35\0\0"),
        element(b"\x06\0\0\0\0\x50\0\0", b"\x06\0\0\0\0\x51\0\0"),
    }


def test_ports_are_refused_where_the_number_of_the_sample_is_written_otherwise() -> None:
    (rule,) = ports_form().rules
    form = replace(ports_form(), rules=(rule[::-1],))

    with pytest.raises(Unsupported, match="table pynet-pyp1"):
        tables([form], CLOSED, name="eth0", index=7)
