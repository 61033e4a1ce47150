"""The real kernel keeps the promises about the host's own network, and what is particular to it."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_interface

import pytest

from integration.kernel.test_kernel_contract import another, netns
from integration.lab import probes
from integration.lab.process import run
from netplug.contract.driver import FactsWish
from netplug.errors import Conflict
from netplug.kernel import switches
from netplug.kernel.linkops import index_of
from netplug.kernel.linux import LinuxKernel
from netplug.kernel.uplinks import link_local
from netplug.model import Parent
from netplug.plan.diff import Change, Create, Delete, diff
from netplug.plan.objects import GROUP_BASE, Foreign, LinkPolicy, Sysctl
from netplug.plan.order import is_on_uplink
from tests.contract.test_kernel import holds, make, seen
from tests.contract.test_kernel_uplinks import (
    GATEWAY,
    MACVLAN,
    PARENT,
    PROXY,
    PROXY6,
    ROUTE,
    ROUTE6,
    ROUTED,
    SHIM,
    VLAN,
    Mover,
    UplinkContract,
    made_with,
    sublink_inside,
)

__all__ = ["netns"]

pytestmark = pytest.mark.needs(*probes.OF_A_LAB, "iptables", "ip6tables", "ipset")


@pytest.fixture
async def kernel(network: None) -> AsyncIterator[LinuxKernel]:
    run(["ip", "link", "add", PARENT, "type", "veth", "peer", "name", "lan0"])
    for name in (PARENT, "lan0"):
        run(["ip", "link", "set", name, "up"])
    async with another() as kernel:
        yield kernel


@pytest.fixture
def mover() -> Mover:
    def move(link: str, netns: str) -> None:
        pid = netns.split("/")[2]
        run(["ip", "link", "set", link, "netns", pid, "name", "eth7"])

    return move


def inside(netns: str, *words: str) -> str:
    return run(["nsenter", f"--net={netns}", *words]).stdout


class TestLinuxUplinks(UplinkContract):
    @pytest.fixture
    def needs_rules(self) -> None:
        _need("netplug.kernel.firewall.routed")

    @pytest.fixture
    def needs_filters(self) -> None:
        _need("netplug.kernel.sandboxfilters")

    async def test_routes_of_others_are_neither_shown_nor_removed(
        self, kernel: LinuxKernel
    ) -> None:
        await make(kernel, ROUTED)
        for destination in ("10.9.0.2/32", "2001:db8::2/128"):
            run(["ip", "route", "add", destination, "dev", ROUTED.name, "proto", "static"])

        for route in (ROUTE, ROUTE6):
            assert await seen(kernel, route) is None
            with pytest.raises(Conflict, match=f"on {ROUTED.name} \\(protocol 4\\)"):
                await kernel.apply(Create(route))
            await kernel.apply(Delete(route))

        assert {o.key for o in await kernel.on_uplinks([])} == {ROUTED.key}
        assert "10.9.0.2" in run(["ip", "route"]).stdout
        assert "2001:db8::2" in run(["ip", "-6", "route"]).stdout

    async def test_route_is_found_though_another_table_comes_first(
        self, kernel: LinuxKernel
    ) -> None:
        run(["ip", "address", "add", "192.0.2.1/24", "dev", PARENT])
        run(["ip", "route", "add", "default", "via", "192.0.2.3", "table", "52"])
        run(["ip", "rule", "add", "table", "52", "priority", "100"])
        await make(kernel, ROUTED)
        assert await seen(kernel, ROUTE) is None

        await make(kernel, ROUTE, ROUTE)

        assert await holds(kernel, ROUTE)

    async def test_route_that_has_no_carrier_is_found_where_such_are_passed_over(
        self, kernel: LinuxKernel
    ) -> None:
        run(["ip", "address", "add", "192.0.2.1/24", "dev", PARENT])
        run(["ip", "route", "add", "default", "via", "192.0.2.3"])
        switches.write("net/ipv4/conf/all/ignore_routes_with_linkdown", "1")
        await make(kernel, ROUTED)

        await make(kernel, ROUTE, ROUTE)

        assert ROUTE in await kernel.on_uplinks([ROUTE])

    async def test_host_is_told_a_mac_that_it_asks_for_in_vain(self, kernel: LinuxKernel) -> None:
        await make(kernel, ROUTED, ROUTE, ROUTE6)
        addresses = [ROUTE.destination.network_address, ROUTE6.destination.network_address]
        run(["ip", "neighbour", "add", str(addresses[0]), "dev", ROUTED.name, "nud", "incomplete"])

        await kernel.introduce(addresses, "02:42:0a:09:00:02", ROUTED.name)
        await kernel.introduce(addresses, "02:42:0a:09:00:02", "gone0")

        for address in addresses:
            shown = run(["ip", "neighbour", "show", str(address), "dev", ROUTED.name]).stdout
            assert "lladdr 02:42:0a:09:00:02" in shown
            assert "STALE" in shown

    async def test_proxied_address_of_others_counts_as_there_and_stays(
        self, kernel: LinuxKernel
    ) -> None:
        for proxy in (PROXY, PROXY6):
            run(["ip", "neigh", "add", "proxy", str(proxy.address), "dev", PARENT])
        assert await kernel.inventory([]) == frozenset()
        assert await kernel.inventory([PROXY, PROXY6]) == {PROXY, PROXY6}

        for proxy in (PROXY, PROXY6):
            await make(kernel, proxy)
            await kernel.apply(Delete(proxy))

        assert await kernel.look([PROXY, PROXY6]) == {PROXY, PROXY6}
        assert "proto" not in run(["ip", "neigh", "show", "proxy"]).stdout

    async def test_parent_that_was_down_is_mended_by_what_differs(
        self, kernel: LinuxKernel
    ) -> None:
        wanted = (ROUTED, ROUTE, ROUTE6, PROXY, PROXY6)
        await make(kernel, *wanted)
        run(["ip", "link", "set", PARENT, "down"])
        run(["ip", "link", "set", PARENT, "up"])

        steps = diff(wanted, await kernel.on_uplinks(wanted)).steps
        for step in steps:
            await kernel.apply(step)

        assert {step.object for step in steps} == {PROXY, PROXY6}
        assert diff(wanted, await kernel.on_uplinks(wanted)).steps == ()

    async def test_routed_link_that_was_down_gets_its_routes_back(
        self, kernel: LinuxKernel
    ) -> None:
        wanted = (ROUTED, ROUTE, ROUTE6)
        await make(kernel, *wanted)
        run(["ip", "link", "set", ROUTED.name, "down"])

        for step in diff(wanted, await kernel.on_uplinks(wanted)).steps:
            await kernel.apply(step)

        assert diff(wanted, await kernel.on_uplinks(wanted)).steps == ()

    @pytest.mark.parametrize(
        ("switch", "value"),
        [
            ("net/ipv4/ip_forward", "0"),
            (f"net/ipv4/conf/{ROUTED.name}/rp_filter", "0"),
            (f"net/ipv4/conf/{ROUTED.name}/rp_filter", "2"),
            (f"net/ipv6/conf/{ROUTED.name}/forwarding", "0"),
            (f"net/ipv6/conf/{ROUTED.name}/disable_ipv6", "1"),
        ],
    )
    async def test_switch_of_a_routed_link_that_somebody_turned_is_turned_back(
        self, kernel: LinuxKernel, switch: str, value: str
    ) -> None:
        strict = replace(ROUTED, policy=LinkPolicy.ROUTED_LINK | LinkPolicy.STRICT, is_loose=False)
        await make(kernel, strict)
        if switch.endswith("ip_forward"):
            switches.write(switch, "1")
        switches.write(switch, value)

        for step in diff([strict], await kernel.on_uplinks([strict])).steps:
            await kernel.apply(step)

        assert diff([strict], await kernel.on_uplinks([strict])).steps == ()
        for name in ("net/ipv4/conf/{}/forwarding", "net/ipv6/conf/{}/forwarding"):
            assert switches.read(name.format(ROUTED.name)) == "1"
        assert switches.read(f"net/ipv4/conf/{ROUTED.name}/rp_filter") == "1"
        assert switches.read(f"net/ipv6/conf/{ROUTED.name}/disable_ipv6") == "0"

    async def test_routed_link_has_the_addresses_of_gateways_and_no_others(
        self, kernel: LinuxKernel, netns: str, mover: Mover
    ) -> None:
        assert ROUTED.mac
        await make(kernel, ROUTED, GATEWAY)
        mover("pypweb1", netns)
        inside(netns, "ip", "link", "set", "eth7", "up")

        shown = run(["ip", "-o", "address", "show", "dev", ROUTED.name]).stdout

        assert shown.count("inet") == 2
        assert "inet 169.254.64.1/32 scope link" in shown
        assert f"inet6 {link_local(ROUTED.mac)} scope link" in shown
        assert "tentative" not in shown

    async def test_routed_link_with_another_mac_gets_its_link_local_address(
        self, kernel: LinuxKernel
    ) -> None:
        await make(kernel, ROUTED)
        wish = replace(ROUTED, mac="02:50:00:00:00:09")

        await kernel.apply(Change(wish, ROUTED, frozenset({"mac"})))

        shown = run(["ip", "-o", "address", "show", "dev", ROUTED.name]).stdout
        assert f"inet6 {ip_interface('fe80::50:ff:fe00:9/64')} " in shown

    async def test_alias_of_what_leaves_for_a_sandbox_names_it_there(
        self, kernel: LinuxKernel, netns: str, mover: Mover
    ) -> None:
        await make(kernel, ROUTED, MACVLAN)
        assert switches.read(f"net/ipv6/conf/{MACVLAN.name}/disable_ipv6") == "1"

        mover(MACVLAN.name, netns)
        moved = inside(netns, "ip", "link", "show", "eth7")
        silenced = inside(netns, "cat", "/proc/sys/net/ipv6/conf/eth7/disable_ipv6")

        assert f"alias pynet 0f3a {MACVLAN.name}\n" in moved
        assert silenced == "0\n"
        assert "alias pynet 0f3a pypweb1\n" in run(["ip", "link", "show", "pypweb1"]).stdout

    async def test_sublink_takes_no_part_until_it_is_moved(self, kernel: LinuxKernel) -> None:
        await make(kernel, MACVLAN)

        shown = run(["ip", "-d", "link", "show", MACVLAN.name]).stdout

        assert f"group {GROUP_BASE | LinkPolicy.PORT} " in shown
        assert "state DOWN" in shown

    @pytest.mark.parametrize(
        "link", [made_with(link) for link in [MACVLAN, SHIM, VLAN]], ids=lambda link: link.name
    )
    async def test_link_whose_making_broke_off_is_finished(
        self, kernel: LinuxKernel, link: object
    ) -> None:
        assert isinstance(link, type(MACVLAN) | type(SHIM) | type(VLAN))
        groups = {MACVLAN: GROUP_BASE | LinkPolicy.PORT}
        kinds = {VLAN: ["vlan", "id", "10"]}
        add = ["ip", "link", "add", "link", PARENT, "name", link.name]
        kind = kinds.get(link, ["macvlan", "mode", "bridge"])  # type: ignore[call-overload]
        run([*add, "group", str(groups.get(link, GROUP_BASE)), "type", *kind])  # type: ignore[call-overload]
        wish = link if isinstance(link, type(MACVLAN)) else replace(link, is_up=True)

        for step in diff([wish], await kernel.inventory([wish])).steps:
            await kernel.apply(step)

        assert diff([wish], await kernel.inventory([wish])).steps == ()
        assert "alias pynet 0f3a" in run(["ip", "link", "show", link.name]).stdout

    async def test_sublink_of_a_making_that_broke_off_is_moved_in(
        self, kernel: LinuxKernel, netns: str
    ) -> None:
        await make(kernel, MACVLAN)

        await kernel.apply(Create(sublink_inside(netns)))

        assert await holds(kernel, sublink_inside(netns))

    async def test_shim_answers_for_no_address_of_the_parent(self, kernel: LinuxKernel) -> None:
        await make(kernel, SHIM)

        assert switches.read(f"net/ipv4/conf/{SHIM.name}/arp_filter") == "1"
        assert switches.read(f"net/ipv6/conf/{SHIM.name}/accept_ra") == "0"
        group = f"group {GROUP_BASE} "
        assert group in run(["ip", "-d", "link", "show", SHIM.name]).stdout

    async def test_links_go_with_their_parent(self, kernel: LinuxKernel, netns: str) -> None:
        await make(kernel, SHIM, sublink_inside(netns))

        run(["ip", "link", "delete", PARENT])

        assert await kernel.look([SHIM, sublink_inside(netns)]) == frozenset()
        assert await kernel.find(Parent(name=PARENT)) is None

    async def test_links_of_another_installation_are_foreign(self, kernel: LinuxKernel) -> None:
        async with another("9b1c") as neighbour:
            await make(neighbour, ROUTED, SHIM, MACVLAN)

        for link in (ROUTED, SHIM, MACVLAN):
            assert isinstance(await seen(kernel, link), Foreign)
        assert await kernel.inventory([]) == frozenset()

    async def test_parent_is_followed_when_it_is_renamed(self, kernel: LinuxKernel) -> None:
        before = (await kernel.facts(FactsWish(links=frozenset({PARENT})))).links[PARENT]
        run(["ip", "link", "set", PARENT, "down"])
        run(["ip", "link", "set", PARENT, "name", "wan0"])
        run(["ip", "link", "set", "wan0", "up"])

        found = await kernel.find(Parent(name=PARENT, index=before.index, mac=before.mac))

        assert found == replace(before, name="wan0")

    async def test_facts_of_special_links_tell_what_they_are(self, kernel: LinuxKernel) -> None:
        run(["ip", "link", "add", "br0", "type", "bridge"])
        run(["ip", "link", "set", PARENT, "master", "br0"])

        links = (await kernel.facts(FactsWish(links=frozenset({"lo", PARENT, "br0"})))).links

        assert links["lo"].is_loopback
        assert (links[PARENT].kind, links[PARENT].master) == ("veth", "br0")
        assert (links["br0"].kind, links["br0"].is_up) == ("bridge", False)

    async def test_uplink_is_that_of_ipv4_else_that_of_ipv6(self, kernel: LinuxKernel) -> None:
        wish = FactsWish(wants_uplink=True)
        run(["ip", "link", "add", "br0", "type", "bridge"])
        run(["ip", "link", "set", "br0", "up", "mtu", "1400"])
        none = await kernel.facts(wish)
        run(["ip", "-6", "route", "add", "default", "dev", "br0"])
        by_ipv6 = await kernel.facts(wish)
        run(["ip", "address", "add", "192.0.2.1/24", "dev", PARENT])
        run(["ip", "route", "add", "default", "via", "192.0.2.3"])
        by_ipv4 = await kernel.facts(wish)

        assert (none.uplink, dict(none.links)) == ("", {})
        assert (by_ipv6.uplink, by_ipv6.uplink_mtu_bytes, set(by_ipv6.links)) == (
            "br0",
            1400,
            {"br0"},
        )
        assert (by_ipv4.uplink, set(by_ipv4.links)) == (PARENT, {PARENT})

    async def test_look_of_many_shows_each(self, kernel: LinuxKernel) -> None:
        links = [replace(ROUTED, name=f"pyv{n}", peer=f"pyp{n}") for n in range(40)]
        rest = [replace(GATEWAY, link=link.name) for link in links]
        await make(kernel, *links, *rest)

        assert diff([*links, *rest], await kernel.look([*links, *rest])).steps == ()
        assert diff([*links, *rest], await kernel.inventory([])).steps == ()

    async def test_forwarding_is_given_back_with_what_it_moved(self, kernel: LinuxKernel) -> None:
        switch = Sysctl(name="net/ipv6/conf/all/forwarding", value="1")
        before = dict(await kernel.moved_by(switch))
        await make(kernel, switch)

        await make(kernel, replace(switch, value="0"))
        await make(kernel, *[Sysctl(name=name, value=value) for name, value in before.items()])

        assert await kernel.moved_by(switch) == before

    async def test_on_uplinks_is_what_an_inventory_has_of_them(self, kernel: LinuxKernel) -> None:
        wanted = (ROUTED, SHIM, MACVLAN, GATEWAY, ROUTE, ROUTE6, PROXY, PROXY6)
        await make(kernel, *wanted)

        whole = await kernel.inventory(wanted)

        of_uplinks = {o for o in whole if not isinstance(o, Foreign) and is_on_uplink(o)}
        assert await kernel.on_uplinks(wanted) == of_uplinks

    async def test_doomed_links_are_out_of_sight_at_once(self, kernel: LinuxKernel) -> None:
        await make(kernel, ROUTED, SHIM)

        for link in (ROUTED, SHIM):
            await kernel.apply(Delete(link))

        assert await kernel.on_uplinks([ROUTED, SHIM]) == frozenset()
        await kernel.settle()
        assert index_of(ROUTED.name) == index_of(SHIM.name) == 0


def _need(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"there is no {module}")
