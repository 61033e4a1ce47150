"""What a macvlan in a sandbox sends and takes, by rules in the sandbox itself.

Two namespaces with a macvlan on one veth each; frames go from one to the other by the cable.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import pytest

from integration.kernel.forgeries import (
    ALWAYS_FORGED,
    FORGED,
    HONEST,
    HOP,
    OWN,
    OWN_IPV4,
    OWN_IPV6,
    THEIR,
    THEIR_IPV4,
    THEIR_IPV6,
)
from integration.lab import eventually, probes, talk
from integration.lab.frames import ETH_P_ARP, ETH_P_IP, LISTENING, ipv4, listener, send
from integration.lab.namespace import Namespace
from integration.lab.process import Completed, Process, run
from integration.lab.talk import NOBODY, tcp, udp
from netplug.kernel import netns
from netplug.kernel.firewall import sandboxed, texts
from netplug.kernel.firewall.image import Image, read
from netplug.kernel.firewall.netfilter import open_socket
from netplug.kernel.sandboxfilters import SandboxFilters
from netplug.kernel.sandboxforms import SandboxForms
from netplug.model import Protocol
from netplug.plan.objects import SandboxFilter

INSTANCE = "0f3a"
LINK, NAME = "pypa", "eth0"
ADDRESSES = frozenset(map(ip_address, (OWN_IPV4, OWN_IPV6)))
OPEN = frozenset({(Protocol.TCP, 80, 81), (Protocol.UDP, 53, 53)})
SETTLED_S = 10.0
FIRST_TABLE = f"table netdev pynet-{LINK} {{ # handle 1"  # handles are not used again

pytestmark = pytest.mark.needs(*probes.OF_A_LAB, "macvlan", "nft")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a raw socket sends its frames."""

    kind: int = 0
    past_queues: bool = False

    def send(self, world: World, frames: Sequence[bytes]) -> None:
        send(world.run, NAME, frames, kind=self.kind, past_queues=self.past_queues)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Who sends, who prints what arrives, and the filters of this process."""

    filters: SandboxFilters
    left: Namespace
    right: Namespace
    folder: Path

    @property
    def netns(self) -> str:
        return f"/proc/{self.left.pid}/ns/net"

    @property
    def guard(self) -> SandboxFilter:
        return SandboxFilter(link=LINK, netns=self.netns, mac=OWN, addresses=ADDRESSES, guards=True)

    def run(
        self, argv: Sequence[str], *, check: bool = True, stdin: str | None = None
    ) -> Completed:
        """Run a command in the left namespace."""
        return run(argv, prefix=self.left.entry, check=check, stdin=stdin)

    def move_in(self, *, name: str = NAME) -> None:
        """Make the left link, move it in and set it up, as dockerd does."""
        self.put_in()
        if name != LINK:
            self.rename(name)
        address(self.run, name, (OWN_IPV4, OWN_IPV6))

    def put_in(self) -> None:
        """Make the left link and move it in; it is down."""
        add_macvlan("left0", LINK, OWN)
        run(["ip", "link", "set", LINK, "alias", f"pynet {INSTANCE} {LINK}"])
        run(["ip", "link", "set", LINK, "netns", str(self.left.pid)])

    def rename(self, name: str = NAME) -> None:
        """Give the left link the name that it keeps."""
        self.run(["ip", "link", "set", LINK, "name", name])

    async def put(self, wish: SandboxFilter) -> None:
        """Put a filter and wait until it is there."""
        self.filters.put(wish)
        await self.settle()

    async def settle(self) -> None:
        """Wait until nothing is on its way."""
        async with asyncio.timeout(SETTLED_S):
            await self.filters.settle()

    async def is_whole(self, wish: SandboxFilter) -> bool:
        return await self.filters.inventory([wish]) == {wish}

    async def arriving(self, frames: dict[str, bytes], way: Way | None = None) -> set[str]:
        """Return which of `frames` arrive."""
        return await asyncio.to_thread(self._arriving, frames, way or Way())

    def _arriving(self, frames: dict[str, bytes], way: Way) -> set[str]:
        last = ipv4(HOP, OWN_IPV4, THEIR_IPV4, b"this is the last one")
        with self.right.popen(listener(NAME), log=self.folder / "frames") as listening:
            eventually(lambda: LISTENING in listening.output(), "the listener is up")
            way.send(self, list(frames.values()))
            Way().send(self, [last])
            eventually(
                lambda: last.hex() in listening.output(),
                "the last frame arrives",
                detail=listening.tail,
            )
            lines = listening.output().splitlines()
        return {
            name
            for name, frame in frames.items()
            if any(line.endswith(frame[18:].hex()) for line in lines)
        }

    def serve(self, *ports: str) -> Process:
        serving = self.left.popen(talk.server("left", ports), log=self.folder / "server")
        eventually(lambda: talk.LISTENING in serving.output(), "the server listens")
        return serving

    def misheard(self, expected: talk.Expected) -> str:
        """Ask from the right namespace."""
        return talk.misheard(partial(run, prefix=self.right.entry), expected)


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something while the loop goes on."""
    await asyncio.to_thread(eventually, condition, what)


def read_tables(link: str) -> tuple[Image | None, ...]:
    """Return the tables of a link in the thread's namespace."""
    with closing(open_socket()) as opened:
        return tuple(read(opened, *name) for name in sandboxed.names(link))


def add_macvlan(parent: str, name: str, mac: str) -> None:
    kind = ["type", "macvlan", "mode", "bridge"]
    run(["ip", "link", "add", "link", parent, "name", name, "address", mac, *kind])


def address(runner: Callable[[Sequence[str]], Completed], name: str, own: Sequence[str]) -> None:
    runner(["sysctl", "-qw", f"net.ipv6.conf.{name}.accept_dad=0"])
    for one in own:
        prefix = 64 if ":" in one else 24
        runner(["ip", "address", "add", f"{one}/{prefix}", "dev", name])
    runner(["ip", "link", "set", name, "up"])


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
    """A cable with a right box on it; the left one is the test's own to fill."""
    run(["ip", "link", "add", "left0", "type", "veth", "peer", "name", "right0"])
    for end in ("left0", "right0"):
        run(["ip", "link", "set", end, "up"])
    left, right = spaces
    add_macvlan("right0", "pypb", THEIR)
    run(["ip", "link", "set", "pypb", "netns", str(right.pid)])

    def inside(argv: Sequence[str]) -> Completed:
        return run(argv, prefix=right.entry)

    inside(["ip", "link", "set", "pypb", "name", NAME])
    address(inside, NAME, (THEIR_IPV4, THEIR_IPV6))
    inside(["ip", "link", "set", NAME, "allmulticast", "on"])
    filters = SandboxFilters(INSTANCE)
    try:
        yield World(filters=filters, left=left, right=right, folder=tmp_path)
    finally:
        await filters.close()


@pytest.fixture
async def world(bare_world: World) -> World:
    """The same with a guarded left box."""
    bare_world.move_in()
    await bare_world.put(bare_world.guard)
    return bare_world


async def test_guarded_link_sends_what_is_its_own(world: World) -> None:
    assert await world.arriving(HONEST) == set(HONEST)


async def test_guarded_link_speaks_to_its_neighbours(world: World) -> None:
    for to in (THEIR_IPV4, THEIR_IPV6, "fe80::42:aff:fe09:3%eth0"):
        assert world.run(["ping", "-c", "1", "-W", "2", to], check=False).returncode == 0, to


WAYS = {
    "as-they-are": Way(),
    "by-a-socket-that-takes-them-for-arp": Way(kind=ETH_P_ARP),
    "by-a-socket-that-takes-them-for-ipv4": Way(kind=ETH_P_IP),
    "past-the-queues": Way(past_queues=True),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_forged_frames_arrive_by_no_way_of_a_guarded_link(world: World, way: Way) -> None:
    assert await world.arriving(FORGED, way) == set()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_forged_frames_arrive_by_each_way_of_an_unguarded_link(
    bare_world: World, way: Way
) -> None:
    bare_world.move_in()

    assert await bare_world.arriving(FORGED, way) == set(FORGED)


async def test_link_without_a_mac_of_its_own_is_kept_to_its_addresses(bare_world: World) -> None:
    bare_world.move_in()
    await bare_world.put(replace(bare_world.guard, mac=""))
    of_a_mac = {name for name in FORGED if "mac" in name and name != "mac-of-another-protocol"}
    of_link_local = {"ipv6-link-local"}

    honest = await bare_world.arriving(HONEST)
    assert honest == set(HONEST) - {"another-protocol"}
    assert await bare_world.arriving(FORGED) <= of_a_mac | of_link_local


async def test_link_without_addresses_is_kept_to_its_mac(bare_world: World) -> None:
    bare_world.move_in()
    await bare_world.put(replace(bare_world.guard, addresses=frozenset()))
    always = {name: FORGED[name] for name in ALWAYS_FORGED}

    assert await bare_world.arriving(always) == set()
    assert await bare_world.arriving(HONEST) == set(HONEST)
    assert await bare_world.arriving({"ipv4": FORGED["ipv4"]}) == {"ipv4"}


async def test_filter_is_put_before_its_link_comes_and_follows_its_name(
    bare_world: World,
) -> None:
    bare_world.filters.put(bare_world.guard)
    assert bare_world.filters.known(bare_world.guard.key) == bare_world.guard
    assert await bare_world.is_whole(bare_world.guard)

    bare_world.move_in(name=LINK)
    await until(
        lambda: "egress" in bare_world.run(["nft", "list", "ruleset"]).stdout, "it is filtered"
    )
    bare_world.run(["ip", "link", "set", LINK, "name", NAME])
    await bare_world.settle()

    assert await bare_world.arriving({"forged": FORGED["ipv4"], "own": HONEST["ipv4"]}) == {"own"}
    assert await bare_world.is_whole(bare_world.guard)


async def test_link_that_is_moved_in_down_is_filtered_once_it_has_its_name(
    bare_world: World,
) -> None:
    bare_world.filters.put(bare_world.guard)
    bare_world.put_in()
    assert await bare_world.is_whole(bare_world.guard)

    bare_world.rename()
    await bare_world.settle()

    assert await bare_world.is_whole(bare_world.guard)
    ruleset = bare_world.run(["nft", "-a", "list", "ruleset"]).stdout
    assert ruleset.splitlines()[0] == FIRST_TABLE


async def test_link_that_stays_down_under_its_first_name_is_nothing_to_mend(
    bare_world: World,
) -> None:
    bare_world.put_in()
    bare_world.filters.put(bare_world.guard)
    assert await bare_world.is_whole(bare_world.guard)

    bare_world.run(["ip", "link", "set", LINK, "up"])
    await until(
        lambda: "egress" in bare_world.run(["nft", "list", "ruleset"]).stdout, "it is filtered"
    )
    await bare_world.filters.withdraw(bare_world.guard)


async def test_link_that_is_renamed_later_is_seen_and_mended(world: World) -> None:
    world.run(["ip", "link", "set", NAME, "name", "lan0"])
    assert not await world.is_whole(world.guard)

    await world.put(world.guard)
    world.run(["ip", "link", "set", "lan0", "name", NAME])
    await world.put(world.guard)
    assert await world.is_whole(world.guard)
    assert await world.arriving({"forged": FORGED["ipv4"], "own": HONEST["ipv4"]}) == {"own"}


@pytest.mark.parametrize(
    "damage",
    [
        f"delete table netdev pynet-{LINK}",
        f"flush chain netdev pynet-{LINK} egress",
        f"add element netdev pynet-{LINK} ipv4 {{ {OWN} . 10.9.0.7 }}",
        f"insert rule netdev pynet-{LINK} by_ipv4 accept",
        f"add rule netdev pynet-{LINK} by_ipv4 accept",
        f"add chain netdev pynet-{LINK} other",
        f"add chain netdev pynet-{LINK} egress {{ policy drop; }}",
        f"add table netdev pynet-{LINK} {{ flags dormant; }}",
        f"delete table inet pynet-{LINK}",
        f"add element inet pynet-{LINK} ports {{ tcp . 22 }}",
        "flush ruleset",
    ],
)
async def test_changed_rules_are_seen_and_mended(world: World, damage: str) -> None:
    wish = replace(world.guard, ports=frozenset({(Protocol.TCP, 80, 80)}))
    await world.put(wish)
    assert await world.is_whole(wish)
    world.run(["nft", "add table inet others"])
    assert await world.is_whole(wish)
    assert not await world.is_whole(world.guard)

    world.run(["nft", damage])
    assert not await world.is_whole(wish)

    await world.put(wish)
    assert await world.is_whole(wish)


async def test_rules_that_are_changed_before_anybody_looked_are_seen(world: World) -> None:
    world.run(["nft", f"insert rule netdev pynet-{LINK} egress accept"])

    assert not await world.is_whole(world.guard)


async def test_link_whose_address_another_takes_is_not_whole(world: World) -> None:
    table = f"netdev pynet-{LINK} ipv4"
    world.run(["nft", f"delete element {table} {{ {OWN} . {OWN_IPV4} }}"])
    world.run(["nft", f"add element {table} {{ {OWN} . {THEIR_IPV4} }}"])

    assert not await world.is_whole(world.guard)


WISH = SandboxFilter(link=LINK, netns="", mac=OWN, addresses=ADDRESSES, guards=True, ports=OPEN)
WISHES = {
    "macvlan": WISH,
    "ipvlan": replace(WISH, mac=""),
    "no-addresses": replace(WISH, addresses=frozenset()),
    "ipvlan-without-addresses": replace(WISH, mac="", addresses=frozenset()),
    "no-ports": replace(WISH, ports=frozenset()),
}


@pytest.mark.parametrize("wish", WISHES.values(), ids=WISHES)
async def test_copied_tables_are_those_that_nft_makes_of_the_text(
    world: World, wish: SandboxFilter
) -> None:
    forms = SandboxForms()
    try:
        copies = sandboxed.tables(await forms.of(wish), wish, name=NAME, index=7)
    finally:
        await forms.close()
    await world.filters.withdraw(world.guard)

    world.run(["nft", "-f", "-"], stdin=sandboxed.install_text(wish, name=NAME, index=7))

    assert await netns.inside(world.netns, partial(read_tables, LINK)) == copies


async def test_sample_is_the_same_without_the_library(spaces: list[Namespace]) -> None:
    left, right = (f"/proc/{space.pid}/ns/net" for space in spaces)
    samples = [
        *sandboxed.samples(replace(WISH, ports=None), can_guard=True),
        *sandboxed.samples(replace(WISH, guards=False), can_guard=True),
    ]
    for sample in samples:
        await netns.inside(left, partial(texts.run, sandboxed.sample_text(sample)))
        await texts.fork(right, sandboxed.sample_text(sample))

    made = await netns.inside(left, partial(read_tables, "sample"))
    assert None not in made
    assert await netns.inside(right, partial(read_tables, "sample")) == made


async def test_withdrawn_filter_leaves_nothing(world: World) -> None:
    wish = replace(world.guard, ports=frozenset())
    await world.put(wish)

    await world.filters.withdraw(wish)
    await world.filters.withdraw(wish)

    assert "pynet" not in world.run(["nft", "list", "ruleset"]).stdout
    assert world.filters.known(wish.key) is None
    assert await world.arriving({"forged": FORGED["ipv4"]}) == {"forged"}


async def test_namespace_that_is_gone_or_does_not_come_is_nothing_to_mend(world: World) -> None:
    world.left.close()
    assert await world.is_whole(world.guard)
    await world.filters.withdraw(world.guard)

    nowhere = replace(world.guard, netns="/run/netns/nowhere")
    world.filters.put(nowhere)
    assert await world.is_whole(nowhere)
    await world.filters.withdraw(nowhere)
    await world.settle()


async def test_filter_of_the_hosts_own_namespace_is_never_put(
    bare_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    own = replace(bare_world.guard, netns="/proc/self/ns/net")
    await bare_world.put(own)

    assert [record.message for record in caplog.records] == ["nothing filtered"]
    assert "pynet" not in run(["nft", "list", "ruleset"]).stdout
    await bare_world.filters.withdraw(own)


async def test_only_published_ports_of_the_link_are_reached(bare_world: World) -> None:
    bare_world.move_in()
    bare_world.serve("tcp/79-82", "udp/53-54")
    own = (OWN_IPV4, OWN_IPV6)
    asked = [*((tcp, n) for n in (79, 80, 81, 82)), (udp, 53), (udp, 54)]
    everything = {ask(a, n): f"left:{n}" for a in own for ask, n in asked}
    assert await asyncio.to_thread(bare_world.misheard, everything) == ""

    await bare_world.put(replace(bare_world.guard, guards=False, ports=OPEN))

    closed = {q: NOBODY for q in everything if q.port in (54, 79, 82)}
    assert await asyncio.to_thread(bare_world.misheard, everything | closed) == ""
    for to in (OWN_IPV4, OWN_IPV6):
        ping = ["ping", "-c", "1", "-W", "2", to]
        assert run(ping, prefix=bare_world.right.entry, check=False).returncode == 0, to


async def test_other_links_of_the_sandbox_stay_as_open_as_they_are(bare_world: World) -> None:
    bare_world.move_in()
    bare_world.serve("tcp/79-82")
    await bare_world.put(replace(bare_world.guard, ports=frozenset()))

    by_loopback = {tcp(OWN_IPV4, 80): "left:80", tcp("127.0.0.1", 79): "left:79"}
    assert await asyncio.to_thread(talk.misheard, bare_world.run, by_loopback) == ""
    assert await asyncio.to_thread(bare_world.misheard, {tcp(OWN_IPV4, 80): NOBODY}) == ""


async def test_connections_of_its_own_go_on_while_another_process_takes_over(
    bare_world: World,
) -> None:
    bare_world.move_in()
    wish = replace(bare_world.guard, ports=frozenset())
    await bare_world.put(wish)
    serving = bare_world.right.popen(
        talk.server("right", ["udp/7"]), log=bare_world.folder / "right-server"
    )
    await until(lambda: talk.LISTENING in serving.output(), "the server listens")
    flow = bare_world.left.popen(
        talk.flow(udp(THEIR_IPV4, 7), 0.02), log=bare_world.folder / "flow"
    )
    await until(lambda: len(flow.output().splitlines()) > 5, "it asks")
    before = len(flow.output().splitlines())

    await bare_world.filters.close()
    later = SandboxFilters(INSTANCE)
    try:
        assert await later.inventory([wish]) == set()
        for _ in range(5):
            later.put(wish)
            await later.settle()
        assert await later.inventory([wish]) == {wish}
    finally:
        await later.close()

    await until(lambda: len(flow.output().splitlines()) > before + 10, "it goes on")
    assert all(answer for _, answer in talk.heard(flow.output()))
