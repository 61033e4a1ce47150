"""What a guarded endpoint sends arrives if it is its own, and never if it is not.

Two namespaces on one bridge; one sends frames made by hand, the other prints what arrives.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_interface
from pathlib import Path

import pytest

from integration.kernel.forgeries import (
    ALWAYS_FORGED,
    FORGED,
    HONEST,
    HOP,
    OTHERS,
    OTHERS_IPV4,
    OTHERS_IPV6,
    OWN,
    OWN_IPV4,
    OWN_IPV6,
    THEIR,
    THEIR_IPV4,
    THEIR_IPV6,
)
from integration.lab import eventually, probes
from integration.lab.frames import (
    LISTENING,
    Hop,
    ipv4,
    ipv6,
    listener,
    send,
)
from integration.lab.namespace import Namespace
from integration.lab.process import Completed, run
from netplug.kernel.linux import LinuxKernel
from netplug.plan.diff import Change, Create, Delete, differing_fields
from netplug.plan.objects import (
    GROUP_BASE,
    Address,
    Bridge,
    Firewall,
    KernelObject,
    LinkPolicy,
    SandboxLink,
    SpoofGuard,
    Veth,
)

FIREWALL = Firewall(has_ipv6=True, filters_bridged=Path("/proc/sys/net/bridge").exists())
BRIDGE = Bridge(name="py-web", mac="02:50:00:00:00:01", has_ipv6=True, is_up=True)
GATEWAY = Address(link=BRIDGE.name, address=ip_interface("10.9.0.1/24"))

pytestmark = pytest.mark.needs(*probes.OF_A_LAB, "iptables", "ip6tables", "ipset", "nft")


HEARD_BY_THE_HOST = """
    add table inet probe
    add set inet probe seen { type ipv4_addr; flags dynamic; }
    add chain inet probe input { type filter hook input priority 0; }
    add rule inet probe input udp dport 9 counter
    add rule inet probe input udp dport 9 add @seen { ip saddr }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A namespace with a link on the bridge."""

    space: Namespace
    name: str
    mac: str
    addresses: tuple[str, ...]

    @property
    def veth(self) -> Veth:
        return Veth(
            name=f"pyv{self.name}",
            peer=f"pyp{self.name}",
            peer_mac=self.mac,
            bridge=BRIDGE.name,
            is_guarded=True,
            is_up=True,
        )

    @property
    def guard(self) -> SpoofGuard:
        own = frozenset(ip_interface(a).ip for a in self.addresses)
        return SpoofGuard(link=self.veth.name, mac=self.mac, addresses=own)

    @property
    def inside(self) -> SandboxLink:
        return SandboxLink(
            host_link=self.veth.name,
            peer=f"pyp{self.name}",
            netns=f"/proc/{self.space.pid}/ns/net",
            name="eth0",
            mac=self.mac,
            addresses=tuple(map(ip_interface, self.addresses)),
        )

    def run(
        self, argv: Sequence[str], *, check: bool = True, stdin: str | None = None
    ) -> Completed:
        return run(argv, prefix=self.space.entry, check=check, stdin=stdin)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Who sends, and who prints what arrives."""

    kernel: LinuxKernel
    left: Box
    right: Box
    log: Path

    async def make(self, *objects: KernelObject) -> None:
        for obj in objects:
            await self.kernel.apply(Create(obj))

    async def change(self, wish: KernelObject, present: KernelObject) -> None:
        await self.kernel.apply(Change(wish, present, differing_fields(wish, present)))

    def arriving(self, frames: dict[str, bytes]) -> set[str]:
        """Return which of `frames` arrive; one more, which always does, ends the wait."""
        last = ipv4(HOP, OWN_IPV4, THEIR_IPV4, b"this is the last one")
        with self.right.space.popen(listener("eth0"), log=self.log) as listening:
            eventually(lambda: LISTENING in listening.output(), "the listener is up")
            send(self.left.run, "eth0", [*frames.values(), last])
            eventually(
                lambda: last.hex() in listening.output(),
                "the last frame arrives",
                detail=listening.tail,
            )
            lines = listening.output().splitlines()
        # the kernel takes a tag off what it hands to the listener
        return {
            name
            for name, frame in frames.items()
            if any(line.endswith(frame[18:].hex()) for line in lines)
        }


@pytest.fixture
def spaces(tmp_path: Path) -> Iterator[list[Namespace]]:
    opened: list[Namespace] = []
    with ExitStack() as stack:
        for name in ("left", "right"):
            opened.append(Namespace(name, log=tmp_path / name))
            stack.callback(opened[-1].close)
        yield opened


@pytest.fixture
async def bare_world(
    network: None, spaces: list[Namespace], tmp_path: Path
) -> AsyncIterator[World]:
    """A bridge, and a right box on it; the left one is the test's own to make."""
    kernel = LinuxKernel("0f3a")
    await kernel.open()
    left, right = spaces
    world = World(
        kernel=kernel,
        left=Box(space=left, name="a", mac=OWN, addresses=(f"{OWN_IPV4}/24", f"{OWN_IPV6}/64")),
        right=Box(
            space=right, name="b", mac=THEIR, addresses=(f"{THEIR_IPV4}/24", f"{THEIR_IPV6}/64")
        ),
        log=tmp_path / "frames",
    )
    try:
        await world.make(FIREWALL, BRIDGE, GATEWAY)
        await world.make(world.right.guard, world.right.veth, world.right.inside)
        yield world
    finally:
        await kernel.close()


@pytest.fixture
async def world(bare_world: World) -> World:
    """The same with a guarded left box."""
    left = bare_world.left
    await bare_world.make(left.guard, left.veth, left.inside)
    return bare_world


async def test_guarded_endpoint_sends_what_is_its_own(world: World) -> None:
    assert world.arriving(HONEST) == set(HONEST)


async def test_guarded_endpoint_sends_nothing_that_is_not_its_own(world: World) -> None:
    assert world.arriving(FORGED) == set()


async def test_unguarded_endpoint_sends_all_of_it(bare_world: World) -> None:
    left = bare_world.left
    await bare_world.make(replace(left.veth, is_guarded=False), left.inside)

    assert bare_world.arriving(FORGED) == set(FORGED)
    assert bare_world.arriving(HONEST) == set(HONEST)


async def test_guarded_endpoints_reach_each_other_and_the_host(world: World) -> None:
    links = world.left.run(["ip", "-6", "address", "show", "dev", "eth0", "tentative"])
    eventually(
        lambda: not world.left.run(["ip", "-6", "addr", "show", "tentative"]).stdout,
        f"no address is tentative: {links.stdout}",
    )
    their_link_local = "fe80::42:aff:fe09:3%eth0"

    for address in (THEIR_IPV4, THEIR_IPV6, their_link_local, "10.9.0.1"):
        ping = ["ping", "-c", "1", "-W", "2", address]
        assert world.left.run(ping, check=False).returncode == 0, address


async def test_guarded_endpoint_without_a_guard_sends_nothing(bare_world: World) -> None:
    left = bare_world.left
    await bare_world.make(left.veth, left.inside)
    ping = ["ping", "-c", "1", "-W", "1", THEIR_IPV4]

    assert left.run(ping, check=False).returncode != 0

    await bare_world.make(left.guard)
    eventually(lambda: left.run(ping, check=False).returncode == 0, "its neighbour is asked again")
    await bare_world.kernel.apply(Delete(left.guard))
    assert left.run(ping, check=False).returncode != 0


@pytest.mark.parametrize("last", ["02", "03", "0e"])
async def test_guarded_endpoint_does_not_reach_the_host_by_group_addresses_of_bridges(
    world: World, last: str
) -> None:
    around = Hop(OWN, f"01:80:c2:00:00:{last}")
    run(["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.pyva.rp_filter=0"])
    own_address = "fd09::1"
    run(["ip", "address", "add", f"{own_address}/64", "dev", BRIDGE.name, "nodad"])
    run(["nft", "-f", "-"], stdin=HEARD_BY_THE_HOST)
    frames = [
        ipv4(around, OTHERS_IPV4, "10.9.0.1", b"others"),
        ipv4(around, OWN_IPV4, "10.9.0.1", b"own"),
        ipv6(around, OTHERS_IPV6, own_address, b"others"),
        ipv6(around, OWN_IPV6, own_address, b"own"),
    ]
    honest = ipv4(Hop(OWN, str(BRIDGE.mac)), OWN_IPV4, "10.9.0.1", b"the last one")

    send(world.left.run, "eth0", [*frames, honest])

    eventually(lambda: "10.9.0.2" in heard(), "the last frame arrives", detail=heard)
    assert "packets 1 " in heard()


def heard() -> str:
    return run(["nft", "list", "table", "inet", "probe"]).stdout


async def test_endpoint_without_addresses_is_kept_to_its_mac(bare_world: World) -> None:
    left = bare_world.left
    await bare_world.make(replace(left.guard, addresses=frozenset()), left.veth, left.inside)
    always = {name: FORGED[name] for name in ALWAYS_FORGED}
    rest = {"ipv4": FORGED["ipv4"], "ipv6": FORGED["ipv6"], "arp": FORGED["arp-reply"]}

    assert bare_world.arriving(always | rest) == set(rest)


async def test_change_of_a_guard_takes_the_old_address_away(world: World) -> None:
    other = {"new": FORGED["ipv4"], "old": HONEST["ipv6"]}
    wish = replace(
        world.left.guard, addresses=frozenset({IPv4Address(OWN_IPV4), IPv4Address(OTHERS_IPV4)})
    )

    await world.change(wish, world.left.guard)

    assert world.arriving(other) == {"new"}
    assert wish in await world.kernel.inventory([wish])


async def test_endpoint_of_an_earlier_version_is_guarded_without_a_new_link(
    bare_world: World,
) -> None:
    left = bare_world.left
    before = replace(left.veth, is_guarded=False)
    await bare_world.make(before, left.inside)

    await bare_world.make(left.guard)
    await bare_world.change(left.veth, before)

    assert bare_world.arriving({"forged": FORGED["ipv4"], "own": HONEST["ipv4"]}) == {"own"}


async def test_link_on_its_way_out_sends_nothing(world: World) -> None:
    doomed = str(GROUP_BASE | LinkPolicy.DOOMED)
    run(["ip", "link", "set", world.left.veth.name, "group", doomed])

    ping = ["ping", "-c", "1", "-W", "1", THEIR_IPV4]
    assert world.left.run(ping, check=False).returncode != 0


async def test_renewed_firewall_keeps_the_guards(world: World) -> None:
    await world.change(FIREWALL, Firewall())

    assert world.left.guard in await world.kernel.inventory([])
    assert world.arriving({"forged": FORGED["ipv4"], "own": HONEST["ipv4"]}) == {"own"}


async def test_flushed_ruleset_is_seen_and_mended(world: World) -> None:
    run(["nft", "flush", "table", "bridge", "pynet"])
    run(["nft", "delete", "table", "bridge", "pynet"])

    found = await world.kernel.inventory([])
    assert not {o for o in found if isinstance(o, SpoofGuard)}
    assert {o.faults for o in found if isinstance(o, Firewall)} == {
        ("nftables table bridge pynet",)
    }

    await world.change(FIREWALL, next(o for o in found if isinstance(o, Firewall)))
    await world.make(world.left.guard, world.right.guard)
    assert world.arriving({"forged": FORGED["ipv4"], "own": HONEST["ipv4"]}) == {"own"}


async def test_table_of_another_version_is_replaced_and_what_is_known_stays(world: World) -> None:
    run(["nft", "delete table bridge pynet"])
    run(["nft", "add table bridge pynet; add set bridge pynet ipv4 { type ipv4_addr; }"])

    await world.change(FIREWALL, Firewall())

    assert world.left.guard in await world.kernel.look([world.left.guard])
    assert world.arriving({"forged": FORGED["ipv4"], "own": HONEST["ipv4"]}) == {"own"}


@pytest.mark.parametrize(
    "damage",
    [
        f'delete element bridge pynet macs {{ "pyva" . {OWN} }}',
        f'delete element bridge pynet ipv4 {{ "pyva" . {OWN} . {OWN_IPV4} }}',
        f'add element bridge pynet ipv4 {{ "pyva" . {OWN} . {OTHERS_IPV4} }}',
        'add element bridge pynet bare { "pyva" }',
        f'add element bridge pynet macs {{ "pyva" . {OTHERS} }}',
    ],
)
async def test_changed_elements_are_seen_and_mended(world: World, damage: str) -> None:
    run(["nft", damage])

    (found,) = {o for o in await world.kernel.inventory([]) if o.key == world.left.guard.key}
    assert found != world.left.guard
    assert isinstance(found, SpoofGuard)

    await world.change(world.left.guard, found)
    assert world.left.guard in await world.kernel.inventory([])
