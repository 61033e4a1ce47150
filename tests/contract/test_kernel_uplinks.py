"""What every Kernel promises of links on the host's own network, and of what stands on them.

integration/kernel asks the same of the real one.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from netplug.contract.driver import FactsWish
from netplug.contract.kernel import Kernel
from netplug.errors import Conflict, KernelRefused, PynetError
from netplug.kernel.memory import MemoryKernel
from netplug.model import LinkFacts, Parent, Protocol, StaticRoute
from netplug.plan.diff import Change, Create, Delete, diff, differing_fields
from netplug.plan.objects import (
    Address,
    Bridge,
    Firewall,
    Foreign,
    KernelObject,
    LinkPolicy,
    ProxyNeighbour,
    Route,
    RoutedFilter,
    RoutedPair,
    RoutedPort,
    RoutedSource,
    RoutedVeth,
    SandboxFilter,
    SandboxLink,
    SandboxMtu,
    Shim,
    Sublink,
    Sysctl,
    Vlan,
)
from netplug.plan.order import is_on_uplink
from tests.contract.test_kernel import holds, make, seen

PARENT = "eth0"
ROUTED = RoutedVeth(
    name="pyvweb1",
    peer="pypweb1",
    peer_mac="02:42:0a:09:00:02",
    mac="02:50:00:00:00:01",
    mtu_bytes=1400,
    policy=LinkPolicy.ROUTED_LINK | LinkPolicy.OPEN,
    has_ipv6=True,
    is_up=True,
    is_lent=False,
)
STRICT = replace(ROUTED, policy=LinkPolicy.ROUTED_LINK | LinkPolicy.STRICT, is_loose=False)
GATEWAY = Address(link=ROUTED.name, address=ip_interface("169.254.64.1/32"))
ROUTE = Route(destination=ip_network("10.9.0.2/32"), link=ROUTED.name)
ROUTE6 = Route(destination=ip_network("2001:db8::2/128"), link=ROUTED.name)
WIDE_ROUTE = Route(destination=ip_network("10.8.0.0/24"), link=ROUTED.name)
PROXY = ProxyNeighbour(address=ip_address("10.9.0.2"), link=PARENT)
PROXY6 = ProxyNeighbour(address=ip_address("2001:db8::2"), link=PARENT)
BORROWED = Sysctl(name=f"net/ipv4/conf/{PARENT}/forwarding", value="1", is_borrowed=True)
VLAN = Vlan(name="eth0.10", parent=PARENT, vlan_id=10, is_up=True)
MACVLAN = Sublink(
    name="pypmac1",
    kind="macvlan",
    parent=PARENT,
    mode="bridge",
    mac="02:42:0a:09:00:03",
    mtu_bytes=1400,
    is_lent=False,
)
IPVLAN = Sublink(
    name="pypip1", kind="ipvlan", parent=PARENT, mode="l2", flag="bridge", mtu_bytes=1400
)
SHIM = Shim(name="pyh0123456789ab", parent=PARENT, mac="02:50:00:00:00:02", has_ipv6=False)
LINKS = (ROUTED, VLAN, MACVLAN, IPVLAN, SHIM)
ON_LINKS = (GATEWAY, ROUTE, ROUTE6, WIDE_ROUTE, PROXY, PROXY6)
FIREWALL = Firewall(has_ipv6=False, filters_bridged=False)
RULES = (
    RoutedFilter(),
    RoutedPair(source=ip_network("10.9.0.0/24"), destination=ip_network("10.9.0.0/24")),
    RoutedPort(protocol=Protocol.TCP, address=ip_address("10.9.0.2"), first=80),
    RoutedPort(protocol=Protocol.UDP, address=ip_address("10.9.0.2"), first=8000, count=3),
    RoutedSource(link=ROUTED.name, address=ip_address("10.8.0.2")),
)

Mover = Callable[[str, str], None]
"""Takes a link into a namespace and renames it there, as dockerd does."""


def routed_inside(netns: str) -> SandboxLink:
    gateway = ip_address("169.254.64.1")
    return SandboxLink(
        host_link=ROUTED.name,
        peer="pypweb1",
        netns=netns,
        name="eth0",
        mac=ROUTED.peer_mac,
        addresses=(ip_interface("10.9.0.2/24"), ip_interface("2001:db8::2/64")),
        routes=(
            StaticRoute(destination=ip_network("10.9.0.0/25"), next_hop=gateway),
            StaticRoute(destination=ip_network("10.9.0.128/25"), next_hop=gateway),
            StaticRoute(destination=ip_network("169.254.64.1/32")),
            StaticRoute(destination=ip_network("2001:db8:1::/64")),
        ),
        gateways=(gateway, ip_address("fe80::50:ff:fe00:1")),
    )


def sublink_inside(netns: str, sublink: Sublink = MACVLAN) -> SandboxLink:
    return SandboxLink(
        host_link=sublink.parent,
        peer=sublink.name,
        netns=netns,
        name="eth0",
        mac=sublink.mac,
        addresses=(ip_interface("10.9.0.3/24"),),
        routes=(StaticRoute(destination=ip_network("0.0.0.0/0")),),
        sublink=sublink,
    )


def made_with(link: KernelObject, *rest: object) -> pytest.ParameterSet:
    """A case for kernels that have links of the type of `link`; the fake has all."""
    return pytest.param(link, *rest, marks=pytest.mark.needs(_type_of(link)))


def _type_of(link: KernelObject) -> str:
    match link:
        case Sublink(kind=kind):
            return kind
        case Vlan():
            return "vlan"
        case Shim():
            return "macvlan"
        case _:
            return "veth"


class UplinkContract:
    """The suite. A heir gives the fixtures `kernel`, with a link eth0, `mover` and `netns`.

    Those of `needs_rules` and `needs_filters` may skip.
    """

    @pytest.fixture
    def needs_rules(self) -> None: ...

    @pytest.fixture
    def needs_filters(self) -> None: ...

    async def test_look_at_what_is_not_there_finds_nothing(self, kernel: Kernel) -> None:
        assert await kernel.look([*LINKS, *ON_LINKS]) == frozenset()

    async def test_create_in_order_makes_every_object_hold(
        self, kernel: Kernel, netns: str
    ) -> None:
        wanted = {ROUTED, SHIM, MACVLAN, BORROWED, *ON_LINKS, routed_inside(netns)}

        for step in diff(wanted, await kernel.look(wanted)).steps:
            await kernel.apply(step)

        assert diff(wanted, await kernel.look(wanted)).steps == ()
        assert diff(wanted, await kernel.inventory(wanted)).steps == ()
        on_uplinks = {o for o in wanted if is_on_uplink(o)}
        assert diff(on_uplinks, await kernel.on_uplinks(wanted)).steps == ()

    @pytest.mark.parametrize(
        "link", [made_with(link) for link in LINKS], ids=lambda link: link.name
    )
    async def test_create_link_that_exists_is_refused(
        self, kernel: Kernel, link: KernelObject
    ) -> None:
        await make(kernel, link)
        before = await kernel.inventory([])
        assert await holds(kernel, link)

        with pytest.raises(KernelRefused) as refusal:
            await kernel.apply(Create(link))

        assert refusal.value.code == errno.EEXIST
        assert await kernel.inventory([]) == before

    @pytest.mark.parametrize(
        "link",
        [made_with(link) for link in [VLAN, MACVLAN, IPVLAN, SHIM]],
        ids=lambda link: link.name,
    )
    async def test_create_link_on_a_missing_parent_leaves_nothing(
        self, kernel: Kernel, link: Vlan | Sublink | Shim
    ) -> None:
        with pytest.raises(KernelRefused) as refusal:
            await kernel.apply(Create(replace(link, parent="no-such")))

        assert refusal.value.code == errno.ENODEV
        assert await kernel.inventory([link]) == frozenset()

    @pytest.mark.parametrize("obj", ON_LINKS, ids=lambda o: o.key.kind)
    async def test_create_on_a_missing_link_is_refused(
        self, kernel: Kernel, obj: Address | Route | ProxyNeighbour
    ) -> None:
        with pytest.raises(KernelRefused) as refusal:
            await kernel.apply(Create(replace(obj, link="no-such")))

        assert refusal.value.code == errno.ENODEV

    async def test_create_repeated_for_what_is_no_link_is_harmless(
        self, kernel: Kernel, netns: str
    ) -> None:
        rest = (*ON_LINKS, routed_inside(netns), sublink_inside(netns, _SECOND))
        await make(kernel, ROUTED)
        inside = replace(sublink_inside(netns, _SECOND), name="eth1", routes=())
        await make(kernel, *ON_LINKS, routed_inside(netns), inside)
        before = await kernel.inventory([*ON_LINKS, routed_inside(netns), inside])
        assert len(before) == len(rest) + 1

        await make(kernel, *ON_LINKS, routed_inside(netns), inside)

        assert await kernel.inventory([*ON_LINKS, routed_inside(netns), inside]) == before

    @pytest.mark.parametrize(
        ("made", "wish"),
        [
            made_with(ROUTED, replace(ROUTED, mac="02:50:00:00:00:09")),
            made_with(ROUTED, replace(ROUTED, mtu_bytes=1300)),
            made_with(ROUTED, STRICT),
            made_with(STRICT, replace(ROUTED, policy=LinkPolicy.ROUTED_LINK)),
            made_with(STRICT, replace(STRICT, is_loose=True)),
            made_with(replace(STRICT, is_loose=True), replace(STRICT, is_loose=False)),
            made_with(replace(ROUTED, is_loose=True), replace(ROUTED, is_loose=False)),
            made_with(replace(STRICT, is_loose=True), replace(ROUTED, is_loose=True)),
            made_with(ROUTED, replace(ROUTED, has_ipv6=False)),
            made_with(replace(ROUTED, has_ipv6=False), ROUTED),
            made_with(ROUTED, replace(ROUTED, is_up=False)),
            made_with(VLAN, replace(VLAN, is_up=False)),
            made_with(VLAN, replace(VLAN, vlan_id=11)),
            made_with(MACVLAN, replace(MACVLAN, mac="02:42:0a:09:00:09")),
            made_with(MACVLAN, replace(MACVLAN, mtu_bytes=1300)),
            made_with(MACVLAN, replace(MACVLAN, mode="private")),
            made_with(IPVLAN, replace(IPVLAN, mode="l3", flag="private")),
            made_with(SHIM, replace(SHIM, mac="02:50:00:00:00:09")),
            made_with(SHIM, replace(SHIM, has_ipv6=True)),
            made_with(SHIM, replace(SHIM, is_up=False)),
        ],
        ids=lambda link: link.name,
    )
    async def test_change_of_a_field_makes_it_hold_and_leaves_the_rest(
        self, kernel: Kernel, made: KernelObject, wish: KernelObject
    ) -> None:
        await make(kernel, made)

        await kernel.apply(Change(wish, made, differing_fields(wish, made)))

        assert await holds(kernel, wish)

    @pytest.mark.parametrize(
        "sublink",
        [made_with(link) for link in [IPVLAN, replace(MACVLAN, mode="passthru")]],
        ids=lambda link: link.kind,
    )
    async def test_sublink_that_has_the_mac_of_its_parent_never_changes_it(
        self, kernel: Kernel, sublink: Sublink
    ) -> None:
        parent = await kernel.find(Parent(name=PARENT))
        assert parent is not None
        wish = replace(sublink, mac="02:42:0a:09:00:09")
        await make(kernel, replace(sublink, mac=None))

        if sublink.kind == "macvlan":
            await kernel.apply(Change(wish, sublink, frozenset({"mac"})))

        assert await holds(kernel, replace(sublink, mac=parent.mac))
        assert await kernel.find(Parent(name=PARENT)) == parent

    async def test_change_that_turns_ipv6_off_takes_what_needs_it_along(
        self, kernel: Kernel
    ) -> None:
        await make(kernel, ROUTED, ROUTE, ROUTE6)

        await kernel.apply(Change(replace(ROUTED, has_ipv6=False), ROUTED, frozenset({"has_ipv6"})))

        assert await seen(kernel, ROUTE6) is None
        assert await holds(kernel, ROUTE)

    @pytest.mark.parametrize(
        "link", [made_with(link) for link in LINKS], ids=lambda link: link.name
    )
    async def test_delete_link_frees_its_name_at_the_next_look(
        self, kernel: Kernel, link: KernelObject
    ) -> None:
        await make(kernel, link)

        await kernel.apply(Delete(link))

        assert await seen(kernel, link) is None
        await kernel.apply(Create(link))
        assert await holds(kernel, link)

    async def test_delete_routed_link_takes_what_stands_on_it_along(
        self, kernel: Kernel, netns: str
    ) -> None:
        inside = routed_inside(netns)
        await make(kernel, ROUTED, GATEWAY, ROUTE, ROUTE6, PROXY, inside)

        await kernel.apply(Delete(ROUTED))

        await kernel.settle()
        gone = [ROUTED, GATEWAY, ROUTE, ROUTE6, inside]
        assert await kernel.look([*gone, PROXY]) == {PROXY}

    async def test_delete_of_what_is_not_there_is_harmless(
        self, kernel: Kernel, netns: str
    ) -> None:
        absent = (*LINKS, *ON_LINKS, sublink_inside(netns), sublink_inside("/run/netns/no-such"))
        for obj in absent:
            await kernel.apply(Delete(obj))

        assert await kernel.inventory([]) == frozenset()

    async def test_delete_of_what_is_never_deleted_is_a_bug(
        self, kernel: Kernel, netns: str
    ) -> None:
        for obj in (BORROWED, SandboxMtu(link="pypweb1", netns=netns, mtu_bytes=1400)):
            with pytest.raises(PynetError, match="not at all"):
                await kernel.apply(Delete(obj))

    @pytest.mark.parametrize("obj", ON_LINKS[1:], ids=lambda o: str(o.key))
    async def test_delete_leaves_the_others(self, kernel: Kernel, obj: KernelObject) -> None:
        await make(kernel, ROUTED, *ON_LINKS)

        await kernel.apply(Delete(obj))

        assert await kernel.look(ON_LINKS) == set(ON_LINKS) - {obj}

    @pytest.mark.parametrize("route", [ROUTE, ROUTE6, WIDE_ROUTE], ids=lambda r: str(r.key))
    async def test_create_route_that_leads_elsewhere_is_a_conflict(
        self, kernel: Kernel, route: Route
    ) -> None:
        second = replace(ROUTED, name="pyvweb2", peer="pypweb2")
        await make(kernel, ROUTED, second, route)
        elsewhere = replace(route, link=second.name)

        with pytest.raises(Conflict, match="exists"):
            await kernel.apply(Create(elsewhere))

        assert await kernel.look([route, elsewhere]) == {route}

    async def test_inventory_shows_what_nobody_wants_and_no_switch(self, kernel: Kernel) -> None:
        ours = (ROUTED, SHIM, MACVLAN, *ON_LINKS)
        await make(kernel, *ours, BORROWED)

        found = await kernel.inventory([])

        assert {o.key for o in found} == {o.key for o in ours}

    async def test_on_uplinks_shows_what_nobody_wants_and_nothing_else(
        self, kernel: Kernel
    ) -> None:
        ours = (ROUTED, SHIM, ROUTE, ROUTE6, PROXY, PROXY6)
        await make(kernel, *ours, GATEWAY, MACVLAN, BORROWED, Bridge(name="py-other"))

        unwanted = await kernel.on_uplinks([GATEWAY, Bridge(name="py-other")])
        wanted = await kernel.on_uplinks([BORROWED, ROUTED])

        assert {o.key for o in unwanted} == {o.key for o in ours}
        assert {o.key for o in wanted} == {o.key for o in (*ours, BORROWED)}

    async def test_look_at_a_link_of_the_host_says_foreign(self, kernel: Kernel) -> None:
        wish = replace(VLAN, name=PARENT)

        assert isinstance(await seen(kernel, wish), Foreign)

    async def test_look_at_a_switch_says_whether_it_is_to_be_given_back(
        self, kernel: Kernel
    ) -> None:
        for wish in (BORROWED, replace(BORROWED, is_borrowed=None)):
            assert await seen(kernel, wish) == replace(wish, value="0")

    async def test_switch_of_a_link_of_ours_is_there_when_that_is(self, kernel: Kernel) -> None:
        bridge = Bridge(name="py-other")
        switch = Sysctl(name=f"net/ipv4/conf/{bridge.name}/rp_filter", value="2", link=bridge.name)
        wanted = {bridge, switch}

        for _ in range(2):
            for step in diff(wanted, await kernel.look(wanted)).steps:
                await kernel.apply(step)

            assert diff(wanted, await kernel.look(wanted)).steps == ()
            await kernel.apply(Delete(bridge))
            await kernel.settle()
            assert await kernel.look(wanted) == frozenset()

    async def test_sublink_in_a_sandbox_is_out_of_sight(
        self, kernel: Kernel, netns: str, mover: Mover
    ) -> None:
        lent = replace(MACVLAN, is_lent=True)
        await make(kernel, lent)

        mover(lent.name, netns)

        assert await seen(kernel, lent) is None
        assert diff([lent], await kernel.inventory([lent])) == diff([], [])

    @pytest.mark.parametrize(
        ("link", "inside"), [(ROUTED, "pypweb1"), (MACVLAN, MACVLAN.name)], ids=["veth", "macvlan"]
    )
    async def test_mtu_in_a_sandbox_is_found_and_changed(
        self, kernel: Kernel, netns: str, mover: Mover, link: RoutedVeth | Sublink, inside: str
    ) -> None:
        await make(kernel, link)
        wish = SandboxMtu(link=inside, netns=netns, mtu_bytes=1300)
        assert await holds(kernel, wish)  # nobody is in there yet

        mover(inside, netns)
        present = await seen(kernel, wish)
        assert present == replace(wish, mtu_bytes=1400)
        assert await kernel.on_uplinks([wish]) >= {present}
        await kernel.apply(Change(wish, present, frozenset({"mtu_bytes"})))

        assert await holds(kernel, wish)
        assert await kernel.on_uplinks([wish]) >= {wish}

    async def test_mtu_in_a_namespace_that_is_gone_needs_no_mending(self, kernel: Kernel) -> None:
        wish = SandboxMtu(link="pypweb1", netns="/run/netns/no-such", mtu_bytes=1300)
        await make(kernel, ROUTED)

        await kernel.apply(Create(wish))

        assert await holds(kernel, wish)

    @pytest.mark.parametrize(
        "sublink", [made_with(link) for link in [MACVLAN, IPVLAN]], ids=lambda link: link.kind
    )
    async def test_fill_by_a_sublink_makes_it_hold_until_it_is_deleted(
        self, kernel: Kernel, netns: str, sublink: Sublink
    ) -> None:
        wish = sublink_inside(netns, sublink)
        assert await seen(kernel, wish) is None

        await kernel.apply(Create(wish))
        assert await holds(kernel, wish)
        assert await seen(kernel, sublink) is None
        await kernel.apply(Delete(wish))

        assert await seen(kernel, wish) is None
        await kernel.apply(Create(wish))
        assert await holds(kernel, wish)

    async def test_fill_of_an_unknown_namespace_leaves_no_sublink(self, kernel: Kernel) -> None:
        with pytest.raises(KernelRefused) as refusal:
            await kernel.apply(Create(sublink_inside("/run/netns/no-such")))

        assert refusal.value.code == errno.ENOENT
        assert await kernel.inventory([MACVLAN]) == frozenset()

    async def test_fill_by_a_sublink_where_the_name_is_taken_is_a_conflict(
        self, kernel: Kernel, netns: str
    ) -> None:
        await make(kernel, sublink_inside(netns))

        with pytest.raises(Conflict, match="exists in"):
            await make(kernel, sublink_inside(netns, _SECOND))

        assert await seen(kernel, _SECOND) is None

    async def test_change_of_routes_inside_adds_them(self, kernel: Kernel, netns: str) -> None:
        wish = routed_inside(netns)
        bare = replace(wish, routes=(), gateways=())
        await make(kernel, ROUTED, bare)

        await kernel.apply(Change(wish, bare, frozenset({"routes", "gateways"})))

        assert await holds(kernel, wish)

    async def test_facts_tell_of_the_links_and_types_that_are_wished_for(
        self, kernel: Kernel
    ) -> None:
        wish = FactsWish(
            links=frozenset({PARENT, "no-such"}), kinds=frozenset({"macvlan", "no-such"})
        )

        facts = await kernel.facts(wish)

        assert facts.links.keys() == {PARENT}
        link = facts.links[PARENT]
        assert (link.name, link.mtu_bytes, link.master) == (PARENT, 1500, "")
        assert (link.is_up, link.is_loopback, link.is_wireless) == (True, False, False)
        assert facts.link_kinds == {"macvlan"}
        assert await kernel.inventory([]) == frozenset()

    async def test_find_goes_by_the_name_then_the_index_then_the_mac(self, kernel: Kernel) -> None:
        facts = (await kernel.facts(FactsWish(links=frozenset({PARENT})))).links[PARENT]

        async def found(parent: Parent) -> LinkFacts | None:
            return await kernel.find(parent)

        assert await found(Parent(name=PARENT)) == facts
        assert await found(Parent(name=PARENT, index=99, mac=facts.mac)) == facts
        assert await found(Parent(name="was", index=facts.index, mac=facts.mac)) == facts
        assert await found(Parent(name="was", index=99, mac=facts.mac)) == facts
        assert await found(Parent(name="was", index=facts.index, mac="02:00:00:00:00:bb")) is None
        assert await found(Parent(name="was", index=facts.index)) is None

    async def test_moved_by_forwarding_tells_what_it_turns(self, kernel: Kernel) -> None:
        everywhere = Sysctl(name="net/ipv6/conf/all/forwarding", value="1")
        before = await kernel.moved_by(everywhere)

        await kernel.apply(Create(everywhere))

        here = {f"net/ipv6/conf/{PARENT}/{name}" for name in ("forwarding", "accept_ra")}
        assert here | {"net/ipv6/conf/default/forwarding"} <= before.keys()
        assert {before[name] for name in here} == {"0", "1"}
        for name, value in before.items():
            moved = "2" if name.endswith("accept_ra") else "1"
            assert await holds(kernel, Sysctl(name=name, value=moved))
            assert value != moved
        assert await kernel.moved_by(BORROWED) == {}

    async def test_rules_of_routed_endpoints_hold_until_they_are_deleted(
        self, kernel: Kernel, needs_rules: None
    ) -> None:
        await make(kernel, FIREWALL)
        assert await kernel.look(RULES) == {FIREWALL}
        await make(kernel, *RULES)
        assert await kernel.look(RULES) == {FIREWALL, *RULES}
        assert await kernel.inventory(RULES) == {FIREWALL, *RULES}
        for rule in RULES:
            await kernel.apply(Delete(rule))

        assert await kernel.inventory([]) == {FIREWALL}

    async def test_rules_of_routed_endpoints_stay_when_the_firewall_is_changed(
        self, kernel: Kernel, needs_rules: None
    ) -> None:
        await make(kernel, FIREWALL, *RULES)
        wish = replace(FIREWALL, has_ipv6=True)

        await kernel.apply(Change(wish, FIREWALL, frozenset({"has_ipv6"})))

        assert await kernel.inventory(RULES) == {wish, *RULES}

    async def test_rules_of_routed_endpoints_go_with_the_firewall(
        self, kernel: Kernel, needs_rules: None
    ) -> None:
        await make(kernel, FIREWALL, *RULES)

        await kernel.apply(Delete(FIREWALL))
        await make(kernel, FIREWALL)

        assert await kernel.inventory(RULES) == {FIREWALL}

    async def test_filter_in_a_sandbox_holds_until_it_is_deleted(
        self, kernel: Kernel, netns: str, needs_filters: None
    ) -> None:
        wish = SandboxFilter(
            link=MACVLAN.name,
            netns=netns,
            mac="02:42:0a:09:00:03",
            addresses=frozenset({ip_address("10.9.0.3")}),
            guards=True,
            ports=frozenset({(Protocol.TCP, 80, 80)}),
        )

        await make(kernel, wish)
        assert await seen(kernel, wish) == wish
        await kernel.apply(Delete(wish))

        assert await seen(kernel, wish) is None


_SECOND = replace(MACVLAN, name="pypmac2", mac="02:42:0a:09:00:04")


class TestMemoryUplinks(UplinkContract):
    @pytest.fixture
    def netns(self) -> str:
        return "/run/netns/web1"

    @pytest.fixture
    def kernel(self, netns: str) -> MemoryKernel:
        return MemoryKernel(namespaces=[netns])

    @pytest.fixture
    def mover(self, kernel: MemoryKernel) -> Mover:
        return kernel.move

    async def test_find_follows_a_link_that_is_renamed(self, kernel: MemoryKernel) -> None:
        facts = kernel.uplinks[PARENT]
        kernel.unplug(PARENT)
        kernel.plug(replace(facts, name="lan0"))

        found = await kernel.find(Parent(name=PARENT, index=facts.index, mac=facts.mac))

        assert found == replace(facts, name="lan0")

    async def test_kind_that_the_kernel_lacks_is_refused(self) -> None:
        kernel = MemoryKernel(link_kinds={"macvlan"})

        with pytest.raises(KernelRefused) as refusal:
            await make(kernel, VLAN)

        assert refusal.value.code == errno.EOPNOTSUPP
