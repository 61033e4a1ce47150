"""What every Kernel promises. integration/kernel asks the same of the real one."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from netplug.contract.kernel import Kernel
from netplug.errors import Conflict, KernelRefused, PortTaken, PynetError
from netplug.kernel.memory import MemoryKernel
from netplug.model import Protocol
from netplug.plan.diff import Change, Create, Delete, diff, differing_fields
from netplug.plan.objects import (
    Address,
    Bridge,
    DirectAnswer,
    EngineSubnet,
    Firewall,
    Foreign,
    HostPort,
    Hub,
    KernelObject,
    LinkPolicy,
    LocalSubnet,
    Masquerade,
    OpenPort,
    PeerSubnet,
    PortForward,
    SandboxLink,
    SpoofGuard,
    Sysctl,
    Veth,
)

BRIDGE = Bridge(
    name="py-web",
    mac="02:50:00:00:00:01",
    mtu_bytes=1400,
    policy=LinkPolicy.NO_EGRESS,
    has_ipv6=False,
)
VETH = Veth(
    name="pyvweb1",
    peer="pypweb1",
    peer_mac="02:42:0a:09:00:02",
    mtu_bytes=1400,
    bridge=BRIDGE.name,
    is_isolated=True,
    is_guarded=False,
)
FREE_VETH = replace(VETH, bridge=None, is_isolated=None)
GATEWAY = Address(link=BRIDGE.name, address=ip_interface("10.9.0.1/24"))
FIREWALL = Firewall(has_ipv6=False, filters_bridged=False)
MASQUERADE = Masquerade(subnet=ip_network("10.9.0.0/24"))
LOCAL = LocalSubnet(subnet=ip_network("10.9.0.0/24"), link=BRIDGE.name)
PEER = PeerSubnet(subnet=ip_network("10.9.0.0/24"), link="py-other")
HUB = Hub(address=ip_address("10.9.0.2"))
DIRECT = DirectAnswer(address=ip_address("10.9.0.2"), link="py-other")
ENGINES = EngineSubnet(subnet=ip_network("172.17.0.0/16"))
OPENED = OpenPort(protocol=Protocol.TCP, address=ip_address("10.9.0.2"), port=80)
FORWARD = PortForward(
    protocol=Protocol.TCP,
    address=ip_address("0.0.0.0"),
    first=8080,
    to_address=ip_address("10.9.0.2"),
    to_port=80,
)
RUN = replace(FORWARD, address=ip_address("192.0.2.1"), first=9000, count=10, to_port=9000)
SHIFTED = replace(FORWARD, protocol=Protocol.UDP, first=7000, count=3)
GUARD = SpoofGuard(
    link=VETH.name,
    mac="02:42:0a:09:00:02",
    addresses=frozenset({ip_address("10.9.0.2"), ip_address("fd09::2")}),
)
BARE_GUARD = SpoofGuard(link="pyvweb2", mac="02:43:00:00:00:02")
SETS = (MASQUERADE, LOCAL, HUB, PEER, DIRECT, ENGINES, OPENED)
MEMBERS = (*SETS, FORWARD, RUN, SHIFTED, GUARD, BARE_GUARD)
HELD = HostPort(protocol=Protocol.TCP, address=ip_address("0.0.0.0"), first=47_000, count=2)
FORWARDING = Sysctl(name="net/ipv4/ip_forward", value="1")

Stranger = Callable[[str], None]
"""Makes a link of that name which is not pynet's."""

Vandal = Callable[[Firewall | Masquerade], None]
"""Takes that away behind the kernel's back: of the firewall, its rules."""


def inside(netns: str) -> SandboxLink:
    return SandboxLink(
        host_link=VETH.name,
        peer="pypweb1",
        netns=netns,
        name="eth0",
        mac=VETH.peer_mac,
        addresses=(ip_interface("10.9.0.2/24"),),
        gateways=(ip_address("10.9.0.1"),),
    )


async def make(kernel: Kernel, *objects: KernelObject) -> None:
    for obj in objects:
        await kernel.apply(Create(obj))


async def seen(kernel: Kernel, obj: KernelObject) -> KernelObject | Foreign | None:
    return next((o for o in await kernel.look([obj]) if o.key == obj.key), None)


async def holds(kernel: Kernel, obj: KernelObject) -> bool:
    """Return whether `obj` exists with every field that is asked for."""
    present = await seen(kernel, obj)
    if present is None or isinstance(present, Foreign):
        return False
    return not differing_fields(obj, present)


class KernelContract:
    """The suite. A heir gives the fixtures `kernel`, `stranger`, `vandal` and `netns`."""

    async def test_look_at_what_is_not_there_finds_nothing(self, kernel: Kernel) -> None:
        absent = [BRIDGE, VETH, GATEWAY, FIREWALL, *MEMBERS, HELD]

        assert await kernel.look(absent) == frozenset()

    async def test_create_in_order_makes_every_object_hold(
        self, kernel: Kernel, netns: str
    ) -> None:
        wanted = {FORWARDING, FIREWALL, BRIDGE, GATEWAY, VETH, inside(netns), HELD, *MEMBERS}

        for step in diff(wanted, await kernel.look(wanted)).steps:
            await kernel.apply(step)

        assert diff(wanted, await kernel.look(wanted)).steps == ()
        assert diff(wanted, await kernel.inventory(wanted)).steps == ()

    @pytest.mark.parametrize("link", [BRIDGE, FREE_VETH])
    async def test_create_link_that_exists_is_refused(
        self, kernel: Kernel, link: KernelObject
    ) -> None:
        await make(kernel, link)
        before = await kernel.inventory([])

        with pytest.raises(KernelRefused) as refusal:
            await kernel.apply(Create(link))

        assert refusal.value.code == errno.EEXIST
        assert await kernel.inventory([]) == before

    async def test_create_bridge_of_a_strangers_name_is_refused(
        self, kernel: Kernel, stranger: Stranger
    ) -> None:
        stranger(BRIDGE.name)

        with pytest.raises(KernelRefused) as refusal:
            await kernel.apply(Create(BRIDGE))

        assert refusal.value.code == errno.EEXIST
        assert isinstance(await seen(kernel, BRIDGE), Foreign)

    async def test_create_veth_whose_peer_name_is_taken_is_refused(
        self, kernel: Kernel, stranger: Stranger
    ) -> None:
        stranger("pypweb1")
        await make(kernel, BRIDGE)

        with pytest.raises(KernelRefused) as refusal:
            await kernel.apply(Create(VETH))

        assert refusal.value.code == errno.EEXIST
        assert await seen(kernel, VETH) is None

    async def test_create_veth_on_a_missing_bridge_leaves_nothing(self, kernel: Kernel) -> None:
        with pytest.raises(KernelRefused) as refusal:
            await kernel.apply(Create(VETH))

        assert refusal.value.code == errno.ENODEV
        assert await kernel.inventory([VETH]) == frozenset()

    async def test_create_address_on_a_missing_link_is_refused(self, kernel: Kernel) -> None:
        with pytest.raises(KernelRefused) as refusal:
            await kernel.apply(Create(GATEWAY))

        assert refusal.value.code == errno.ENODEV

    async def test_create_ipv6_address_where_ipv6_is_off_is_refused(self, kernel: Kernel) -> None:
        await make(kernel, BRIDGE)

        with pytest.raises(KernelRefused) as refusal:
            await make(kernel, Address(link=BRIDGE.name, address=ip_interface("fd09::1/64")))

        assert refusal.value.code == errno.EACCES

    async def test_create_on_a_strangers_link_is_not_refused(
        self, kernel: Kernel, stranger: Stranger
    ) -> None:
        stranger(BRIDGE.name)

        await make(kernel, GATEWAY)

        assert await holds(kernel, GATEWAY)

    async def test_create_veth_on_a_strangers_bridge_is_a_conflict(
        self, kernel: Kernel, stranger: Stranger
    ) -> None:
        stranger(BRIDGE.name)

        with pytest.raises(Conflict):
            await kernel.apply(Create(VETH))

        assert await seen(kernel, VETH) is None

    async def test_create_unknown_switch_is_refused(self, kernel: Kernel) -> None:
        with pytest.raises(KernelRefused) as refusal:
            await kernel.apply(Create(Sysctl(name="net/ipv4/no_such_switch", value="1")))

        assert refusal.value.code == errno.ENOENT

    @pytest.mark.parametrize("member", MEMBERS, ids=lambda m: m.key.kind)
    async def test_create_member_without_the_firewall_is_refused(
        self, kernel: Kernel, member: KernelObject
    ) -> None:
        with pytest.raises(KernelRefused) as refusal:
            await kernel.apply(Create(member))

        assert refusal.value.code == errno.ENOENT

    async def test_create_ipv6_member_without_an_ipv6_firewall_is_refused(
        self, kernel: Kernel
    ) -> None:
        await make(kernel, FIREWALL)

        with pytest.raises(KernelRefused):
            await make(kernel, Masquerade(subnet=ip_network("fd09::/64")))

    async def test_create_repeated_for_what_is_no_link_is_harmless(
        self, kernel: Kernel, netns: str
    ) -> None:
        rest = (FORWARDING, FIREWALL, GATEWAY, inside(netns), HELD, *MEMBERS)
        await make(kernel, BRIDGE, VETH, *rest)
        before = await kernel.inventory(rest)

        await make(kernel, *rest)

        assert await kernel.inventory(rest) == before

    @pytest.mark.parametrize(
        "wish",
        [
            replace(BRIDGE, mac="02:50:00:00:00:09"),
            replace(BRIDGE, mtu_bytes=1300),
            replace(BRIDGE, policy=LinkPolicy.ROUTED_IPV4),
            replace(BRIDGE, has_ipv6=True),
            replace(BRIDGE, routes_localnet=True),
            replace(BRIDGE, is_up=False),
            replace(VETH, is_up=False),
            replace(VETH, mtu_bytes=1300),
            replace(VETH, is_isolated=False),
            replace(VETH, is_guarded=True),
            replace(VETH, is_hairpin=True),
            replace(VETH, bridge="py-other"),
        ],
        ids=lambda wish: "-".join(sorted(differing_fields(wish, _made(wish)))),
    )
    async def test_change_of_a_field_makes_it_hold_and_leaves_the_rest(
        self, kernel: Kernel, wish: Bridge | Veth
    ) -> None:
        await make(kernel, BRIDGE, VETH, Bridge(name="py-other"))
        present = _made(wish)

        await kernel.apply(Change(wish, present, differing_fields(wish, present)))

        assert await holds(kernel, wish)

    @pytest.mark.parametrize(
        "wish",
        [
            replace(GUARD, mac="02:42:0a:09:00:09"),
            replace(GUARD, addresses=GUARD.addresses - {ip_address("fd09::2")}),
            replace(GUARD, addresses=GUARD.addresses | {ip_address("10.9.0.9")}),
            replace(GUARD, addresses=frozenset()),
        ],
    )
    async def test_change_of_a_guard_leaves_nothing_of_the_old_one(
        self, kernel: Kernel, wish: SpoofGuard
    ) -> None:
        await make(kernel, FIREWALL, GUARD)

        await kernel.apply(Change(wish, GUARD, differing_fields(wish, GUARD)))

        assert await kernel.inventory([]) == {FIREWALL, wish}

    async def test_guard_is_there_before_its_link_and_stays_behind_it(self, kernel: Kernel) -> None:
        guarded = replace(VETH, is_guarded=True)
        await make(kernel, FIREWALL, BRIDGE, GUARD, guarded)
        assert await holds(kernel, guarded)

        await kernel.apply(Delete(guarded))

        await kernel.settle()
        assert await holds(kernel, GUARD)

    async def test_change_of_a_missing_link_is_refused(self, kernel: Kernel) -> None:
        with pytest.raises(KernelRefused) as refusal:
            await kernel.apply(Change(BRIDGE, BRIDGE, frozenset({"mtu_bytes"})))

        assert refusal.value.code == errno.ENODEV

    async def test_change_that_turns_ipv6_off_takes_its_addresses_along(
        self, kernel: Kernel
    ) -> None:
        address = Address(link=BRIDGE.name, address=ip_interface("fd09::1/64"))
        open_bridge = replace(BRIDGE, has_ipv6=True)
        await make(kernel, open_bridge, address, GATEWAY)

        await kernel.apply(Change(BRIDGE, open_bridge, frozenset({"has_ipv6"})))

        assert await seen(kernel, address) is None
        assert await holds(kernel, GATEWAY)

    async def test_delete_bridge_takes_its_addresses_along(self, kernel: Kernel) -> None:
        await make(kernel, BRIDGE, GATEWAY)

        await kernel.apply(Delete(BRIDGE))

        await kernel.settle()
        assert await kernel.look([BRIDGE, GATEWAY]) == frozenset()

    async def test_delete_bridge_leaves_its_port_without_one(self, kernel: Kernel) -> None:
        await make(kernel, BRIDGE, VETH)

        await kernel.apply(Delete(BRIDGE))

        await kernel.settle()
        assert await holds(kernel, replace(VETH, bridge="", is_isolated=False))

    async def test_delete_veth_takes_the_link_inside_along(
        self, kernel: Kernel, netns: str
    ) -> None:
        await make(kernel, BRIDGE, VETH, inside(netns))

        await kernel.apply(Delete(VETH))

        await kernel.settle()
        assert await kernel.look([VETH, inside(netns)]) == frozenset()

    @pytest.mark.parametrize("link", [BRIDGE, FREE_VETH])
    async def test_delete_link_frees_its_name_at_the_next_look(
        self, kernel: Kernel, link: KernelObject
    ) -> None:
        await make(kernel, link)

        await kernel.apply(Delete(link))

        assert await seen(kernel, link) is None
        await kernel.apply(Create(link))
        assert await holds(kernel, link)

    async def test_delete_of_what_is_not_there_is_harmless(self, kernel: Kernel) -> None:
        for obj in (HELD, *MEMBERS, VETH, GATEWAY, BRIDGE, FIREWALL):
            await kernel.apply(Delete(obj))

        assert await kernel.inventory([]) == frozenset()

    async def test_delete_firewall_takes_its_members_along(self, kernel: Kernel) -> None:
        await make(kernel, FIREWALL, *MEMBERS)

        await kernel.apply(Delete(FIREWALL))

        assert await kernel.look([FIREWALL, *MEMBERS]) == frozenset()
        assert await kernel.inventory([]) == frozenset()

    async def test_delete_of_what_is_never_deleted_is_a_bug(
        self, kernel: Kernel, netns: str
    ) -> None:
        for obj in (FORWARDING, inside(netns)):
            with pytest.raises(PynetError, match="not at all"):
                await kernel.apply(Delete(obj))

    async def test_change_of_the_firewall_keeps_its_members(self, kernel: Kernel) -> None:
        await make(kernel, FIREWALL, *MEMBERS)
        wish = Firewall(has_ipv6=True, filters_bridged=False)

        await kernel.apply(Change(wish, FIREWALL, frozenset({"has_ipv6"})))

        assert await kernel.inventory(MEMBERS) == {wish, *MEMBERS}

    async def test_look_at_a_strangers_link_says_foreign(
        self, kernel: Kernel, stranger: Stranger
    ) -> None:
        stranger(BRIDGE.name)

        assert isinstance(await seen(kernel, BRIDGE), Foreign)

    async def test_inventory_shows_strangers_only_where_their_name_is_wanted(
        self, kernel: Kernel, stranger: Stranger
    ) -> None:
        stranger(BRIDGE.name)

        assert await kernel.inventory([]) == frozenset()
        (found,) = await kernel.inventory([BRIDGE])
        assert isinstance(found, Foreign)

    async def test_inventory_shows_what_nobody_wants_and_no_switch(self, kernel: Kernel) -> None:
        whole = [m for m in MEMBERS if m is not SHIFTED]  # nobody knows that its ports are a run
        ours = (FORWARDING, FIREWALL, BRIDGE, GATEWAY, VETH, HELD, *whole)
        await make(kernel, *ours)

        found = await kernel.inventory([])

        assert {o.key for o in found} == {o.key for o in ours} - {FORWARDING.key}

    @pytest.mark.parametrize("forward", [FORWARD, RUN, SHIFTED], ids=lambda f: f.key.name)
    async def test_change_of_a_forward_leads_elsewhere(
        self, kernel: Kernel, forward: PortForward
    ) -> None:
        wish = replace(forward, to_address=ip_address("10.9.0.9"))
        await make(kernel, FIREWALL, forward)

        await kernel.apply(Change(wish, forward, frozenset({"to_address"})))

        assert await holds(kernel, wish)
        assert await kernel.inventory([wish]) == {FIREWALL, wish}

    async def test_delete_of_a_forward_leaves_the_others(self, kernel: Kernel) -> None:
        await make(kernel, FIREWALL, FORWARD, RUN, SHIFTED)

        await kernel.apply(Delete(SHIFTED))

        assert await kernel.inventory([FORWARD, RUN]) == {FIREWALL, FORWARD, RUN}
        assert set(await kernel.translations()) == {FORWARD.key, RUN.key}

    async def test_create_host_port_that_overlaps_one_of_ours_is_taken(
        self, kernel: Kernel
    ) -> None:
        await make(kernel, HELD)

        with pytest.raises(PortTaken):
            await make(kernel, replace(HELD, address=ip_address("127.0.0.1"), first=HELD.first + 1))

        assert await kernel.inventory([]) == {HELD}

    async def test_delete_host_port_frees_it(self, kernel: Kernel) -> None:
        await make(kernel, HELD)

        await kernel.apply(Delete(HELD))

        assert not await holds(kernel, HELD)
        await make(kernel, replace(HELD, address=ip_address("127.0.0.1")))

    async def test_fill_of_an_unknown_namespace_is_refused(self, kernel: Kernel) -> None:
        await make(kernel, BRIDGE, VETH)

        with pytest.raises(KernelRefused) as refusal:
            await kernel.apply(Create(inside("/run/netns/no-such")))

        assert refusal.value.code == errno.ENOENT
        assert await kernel.look([inside("/run/netns/no-such")]) == frozenset()

    async def test_fill_without_its_link_is_refused(self, kernel: Kernel, netns: str) -> None:
        with pytest.raises(KernelRefused) as refusal:
            await kernel.apply(Create(inside(netns)))

        assert refusal.value.code == errno.ENODEV

    async def test_fill_where_the_name_is_taken_is_a_conflict(
        self, kernel: Kernel, netns: str
    ) -> None:
        second = replace(VETH, name="pyvweb2", peer="pypweb2")
        await make(kernel, BRIDGE, VETH, inside(netns), second)

        with pytest.raises(Conflict, match="exists in"):
            await make(kernel, replace(inside(netns), host_link="pyvweb2", peer="pypweb2"))

    async def test_change_of_a_sandbox_link_adds_the_address(
        self, kernel: Kernel, netns: str
    ) -> None:
        bare = replace(inside(netns), addresses=(), gateways=())
        await make(kernel, BRIDGE, VETH, bare)
        wish = inside(netns)

        await kernel.apply(Change(wish, bare, frozenset({"addresses", "gateways"})))

        assert await holds(kernel, wish)

    async def test_reached_leaves_out_what_is_on_links_of_ours(self, kernel: Kernel) -> None:
        await make(kernel, BRIDGE, GATEWAY)

        reached = await kernel.reached((4, 6))

        assert not [r for r in reached if r.network.overlaps(GATEWAY.address.network)]

    async def test_has_changed_after_a_read_only_when_others_did_something(
        self, kernel: Kernel, vandal: Vandal
    ) -> None:
        await make(kernel, FIREWALL)
        await kernel.firewall([FIREWALL])
        await make(kernel, MASQUERADE, BRIDGE)
        after_our_own = kernel.has_changed()

        vandal(MASQUERADE)

        assert (after_our_own, kernel.has_changed()) == (False, True)
        assert await kernel.firewall([FIREWALL, MASQUERADE]) == {FIREWALL}
        assert kernel.has_changed()  # whoever looks first must not hide it from who mends
        await make(kernel, MASQUERADE)
        assert await kernel.firewall([FIREWALL, MASQUERADE]) == {FIREWALL, MASQUERADE}
        assert not kernel.has_changed()

    async def test_has_changed_without_a_firewall_says_no(self, kernel: Kernel) -> None:
        await make(kernel, BRIDGE)

        assert not kernel.has_changed()

    async def test_firewall_that_somebody_cleared_has_faults_until_it_is_mended(
        self, kernel: Kernel, vandal: Vandal
    ) -> None:
        wanted = {FIREWALL, MASQUERADE}
        await make(kernel, FIREWALL, MASQUERADE, BRIDGE)
        await kernel.firewall(wanted)
        vandal(FIREWALL)

        assert kernel.has_changed()
        plan = diff(wanted, await kernel.firewall(wanted))
        still_off = kernel.has_changed()
        for step in plan.steps:
            await kernel.apply(step)

        assert [step.object for step in plan.steps] == [FIREWALL]
        assert isinstance(plan.steps[0], Change)
        assert still_off
        assert await kernel.firewall(wanted) == wanted
        assert not kernel.has_changed()

    async def test_addresses_are_found_where_they_are(self, kernel: Kernel, netns: str) -> None:
        bridge, veth = replace(BRIDGE, is_up=True), replace(VETH, is_up=True)
        await make(kernel, bridge, GATEWAY, veth, inside(netns))
        here, there, nowhere = (ip_address(f"10.9.0.{n}") for n in (1, 2, 77))

        within = await kernel.sandboxes([netns, "/run/netns/none"])
        answering = await kernel.answering([here, there, nowhere])

        assert within[netns].addresses == {there}
        assert "/run/netns/none" not in within
        assert answering == {here: BRIDGE.name, there: BRIDGE.name}


def _made(wish: Bridge | Veth) -> Bridge | Veth:
    return BRIDGE if isinstance(wish, Bridge) else VETH


class TestMemoryKernel(KernelContract):
    @pytest.fixture
    def netns(self) -> str:
        return "/run/netns/web1"

    @pytest.fixture
    def kernel(self, netns: str) -> MemoryKernel:
        return MemoryKernel(namespaces=[netns])

    @pytest.fixture
    def stranger(self, kernel: MemoryKernel) -> Stranger:
        def make_link(name: str) -> None:
            link = Foreign(key=Bridge(name=name).key, description="a bridge link")
            kernel.foreign[link.key] = link

        return make_link

    @pytest.fixture
    def vandal(self, kernel: MemoryKernel) -> Vandal:
        return kernel.lose
