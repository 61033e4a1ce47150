"""When what goes to a routed endpoint is passed on: only while something decides about it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from netplug.errors import DeadlineExceeded, KernelRefused
from netplug.kernel.firewall.iptables import Iptables
from netplug.kernel.firewall.nft import Nft
from netplug.kernel.firewall.rules import IPV4, IPV6, Family
from netplug.kernel.firewall.sets import Sets
from netplug.kernel.firewall.tables import table_of
from netplug.plan.objects import Firewall

FIREWALL = Firewall(has_ipv6=True, filters_bridged=False)
PASSES = "--dst-group 0x50590010/0xffff0010 -j RETURN"
TABLES = [table_of(family) for family in (IPV4, IPV6)]


class Host(Nft):
    """Our rules on a host: which tables have the chain, and which families pass packets on.

    `failing` is what a change of a table, or of a family's rules, fails with.
    """

    def __init__(self) -> None:
        super().__init__()
        self.deciding: set[str] = set()
        self.passing: set[str] = set()
        self.failing: dict[str, BaseException] = {}
        self.has_been_open = False

    async def run(self, text: str, *, is_json: bool = False, is_terse: bool = False) -> str:
        if text.startswith("list table "):
            table = text.removeprefix("list table ")
            return f"chain {'routed' if table in self.deciding else 'martians'} {{"
        for table in [t for t in TABLES if f"add table {t}\n" in text]:
            self._fail(table)
            (self.deciding.discard if "delete chain" in text else self.deciding.add)(table)
        self._look()
        return ""

    async def run_program(self, argv: Sequence[str], *, stdin: str = "") -> str:
        table = TABLES[argv[0].startswith("ip6")]
        if argv[0].endswith("-restore"):
            self._fail(argv[0])
            (self.passing.add if PASSES in stdin else self.passing.discard)(table)
            self._look()
        return ""

    def _fail(self, name: str) -> None:
        if error := self.failing.get(name):
            raise error

    def _look(self) -> None:
        self.has_been_open |= not self.passing <= self.deciding


class NoSets(Sets):
    """The sets where nobody asks for one."""

    async def create(self, family: Family) -> None:
        pass


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def firewall(host: Host) -> Iptables:
    made = Iptables(host, host.run_program)
    made.accepted = FIREWALL
    return made


async def test_packets_are_passed_on_only_while_something_decides(
    host: Host, firewall: Iptables
) -> None:
    await firewall.filter_routed(wanted=True)
    assert host.passing == host.deciding == set(TABLES)
    assert firewall.filters_routed

    await firewall.filter_routed(wanted=False)
    assert host.passing == host.deciding == set()
    assert not firewall.filters_routed
    assert not host.has_been_open


@pytest.mark.parametrize("failing", [*TABLES, "iptables-restore", "ip6tables-restore"])
@pytest.mark.parametrize(
    "error",
    [
        KernelRefused("change nftables", "out of memory"),
        DeadlineExceeded("nftables", 10),
        asyncio.CancelledError(),
    ],
    ids=["refused", "late", "cancelled"],
)
async def test_what_could_not_be_made_passes_nothing_on_and_is_made_whole_when_wanted_again(
    host: Host, firewall: Iptables, failing: str, error: BaseException
) -> None:
    host.failing = {failing: error}
    with pytest.raises(type(error)):
        await firewall.filter_routed(wanted=True)

    assert not firewall.filters_routed
    assert not host.has_been_open

    host.failing = {}
    await firewall.filter_routed(wanted=True)
    assert firewall.filters_routed
    assert host.passing == host.deciding == set(TABLES)


@pytest.mark.parametrize("failing", [*TABLES, "iptables-restore", "ip6tables-restore"])
async def test_what_could_not_be_removed_is_found_in_part_and_made_whole_when_wanted_again(
    host: Host, firewall: Iptables, failing: str
) -> None:
    await firewall.filter_routed(wanted=True)
    host.failing = {failing: DeadlineExceeded("nftables", 10)}
    with pytest.raises(DeadlineExceeded):
        await firewall.filter_routed(wanted=False)

    assert not firewall.filters_routed
    assert not host.has_been_open
    assert await firewall.finds_routed_filter(is_wanted=False)

    host.failing = {}
    await firewall.filter_routed(wanted=True)
    assert host.passing == host.deciding == set(TABLES)


async def test_filter_that_one_family_lacks_is_not_there_for_who_wants_it(
    host: Host, firewall: Iptables
) -> None:
    await firewall.filter_routed(wanted=True)
    assert await firewall.finds_routed_filter(is_wanted=True)

    host.deciding.remove(table_of(IPV6))

    assert not await firewall.finds_routed_filter(is_wanted=True)
    assert await firewall.finds_routed_filter(is_wanted=False)


async def test_firewall_made_anew_passes_nothing_on_before_what_nobody_wants_is_removed(
    host: Host, firewall: Iptables
) -> None:
    host.deciding, host.passing = set(TABLES), set(TABLES)  # as an earlier run left it
    firewall.sets, firewall.accepted = NoSets(), None
    await firewall.filter_routed(wanted=False)

    await firewall.install(FIREWALL)

    assert host.passing == host.deciding == set()
    assert not host.has_been_open


async def test_firewall_made_anew_keeps_what_an_earlier_run_left(
    host: Host, firewall: Iptables
) -> None:
    host.deciding = set(TABLES)
    firewall.sets, firewall.accepted = NoSets(), None

    await firewall.install(FIREWALL)

    assert host.passing == host.deciding == set(TABLES)
    assert firewall.filters_routed


async def test_firewall_passes_nothing_on_where_nothing_decides(
    host: Host, firewall: Iptables
) -> None:
    firewall.sets, firewall.accepted = NoSets(), None

    await firewall.install(FIREWALL)

    assert host.passing == set()


async def test_firewall_passes_nothing_on_in_a_family_whose_table_is_refused(
    host: Host, firewall: Iptables
) -> None:
    host.deciding = set(TABLES)
    host.failing = {table_of(IPV6): KernelRefused("change nftables", "out of memory")}
    firewall.sets, firewall.accepted = NoSets(), None

    await firewall.install(FIREWALL)

    assert host.passing == {table_of(IPV4)}
