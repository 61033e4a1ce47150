"""The words of tests about containers on the host's own network: slices of it, and who is on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from integration.docker.conftest import PYNET_IPAM, World
from integration.lab import Process, Underlay, eventually, talk
from integration.lab.sandboxes import PATIENCE_S, ping_all
from integration.lab.talk import NOBODY, Question, misheard, tcp, udp
from integration.lab.underlay import POOL_V4, POOL_V6

Words = tuple[str, ...]

HEALED_S = 5.0
ROUTER = (str(POOL_V4[1]), str(POOL_V6[1]))
SERVED = ("tcp/80", "udp/80", "tcp/81")


def on_lan(world: World, name: str, *words: str, ipam: Words = PYNET_IPAM) -> None:
    """Make a network of the driver `host` with the slices of the LAN that are ours."""
    world.network(
        name,
        *ipam,
        *("-o", "driver=host", "--ipv6"),
        *("--subnet", str(POOL_V4), "--ip-range", "198.18.9.0/24", "--gateway", ROUTER[0]),
        *("--subnet", str(POOL_V6), "--ip-range", "2001:2::9:0/112", "--gateway", ROUTER[1]),
        *words,
    )


def unused(host: int) -> tuple[str, str]:
    """Return addresses of our slices that no container has so far."""
    return f"198.18.9.{host}", f"2001:2::9:{host:x}"


def behind(world: World, name: str, number: int, *words: str) -> None:
    """Make a network of the driver `host` with subnets that `routed_to` sends to the host."""
    ipv4, ipv6 = subnets_behind(number)
    world.network(
        name, *PYNET_IPAM, "-o", "driver=host", "--ipv6", "--subnet", ipv4, "--subnet", ipv6, *words
    )


def subnets_behind(number: int) -> tuple[str, str]:
    return f"10.94.{number}.0/24", f"fd94:{number}::/64"


@contextmanager
def routed_to(world: World, underlay: Underlay, number: int) -> Iterator[None]:
    """Have the LAN's router send packets for subnets to our host."""
    ways = list(zip(subnets_behind(number), (world.host.v4.ip, world.host.v6.ip), strict=True))
    for subnet, via in ways:
        underlay.run(["ip", "route", "replace", subnet, "via", str(via)])
    try:
        yield
    finally:
        for subnet, _ in ways:
            underlay.run(["ip", "route", "delete", subnet])


def addresses(world: World, box: str, network: str) -> list[str]:
    """Return the IPv4 and the IPv6 address of a container."""
    attached = world.inspect(box)["NetworkSettings"]["Networks"][network]
    return [attached["IPAddress"], attached["GlobalIPv6Address"]]


def reached(
    world: World, box: str, asked: Sequence[object], *, wait_s: int = PATIENCE_S
) -> set[str]:
    """Return which addresses answer a container's pings."""
    return set(world.inside(box, *ping_all(asked, wait_s=wait_s)).stdout.split())


def reached_from_host(
    world: World, asked: Sequence[object], *, wait_s: int = PATIENCE_S
) -> set[str]:
    return set(world.host.run(ping_all(asked, wait_s=wait_s)).stdout.split())


def reached_from_lan(
    underlay: Underlay, asked: Sequence[object], *, wait_s: int = PATIENCE_S
) -> set[str]:
    return set(underlay.run(ping_all(asked, wait_s=wait_s)).stdout.split())


def wait_until_healed(underlay: Underlay, asked: Sequence[object]) -> None:
    """Wait as long as the issue grants until all answer the LAN again."""
    eventually(
        lambda: reached_from_lan(underlay, asked, wait_s=1) == {*map(str, asked)},
        f"{', '.join(map(str, asked))} answer the LAN",
        deadline_s=HEALED_S,
    )


@contextmanager
def lan_server(underlay: Underlay) -> Iterator[Process]:
    """Have the LAN's router answer on ports, as "lan"."""
    with underlay.popen(talk.server("lan", SERVED), log="lan-server") as server:
        eventually(lambda: talk.LISTENING in server.output(), "the LAN's server listens")
        yield server


def assert_only_port_80_is_open(world: World, underlay: Underlay, box: str) -> None:
    """The LAN reaches that port of a container and no other; the container reaches the LAN."""
    world.serve(box, "tcp/80-81", "udp/80-81")
    for address in addresses(world, box, "blue"):
        expected = {
            tcp(address, 80): f"{box}:80",
            udp(address, 80): f"{box}:80",
            tcp(address, 81): NOBODY,
            udp(address, 81): NOBODY,
        }
        assert misheard(underlay.run, expected) == ""
    with lan_server(underlay):
        assert misheard(world.run_in(box), {tcp(ip, 80): "lan:80" for ip in ROUTER}) == ""


def clients_seen(run: talk.Runner, *questions: Question) -> list[str]:
    """Ask servers, and return the address that each saw of the client."""
    answers = talk.ask(run, dict.fromkeys(questions, "somebody"))
    return [answer.client if answer else talk.NOBODY for answer in answers.values()]


def host_state(world: World) -> list[str]:
    """Return all that the host driver may change of the host, a line a fact."""
    told = world.host.run(["sh", "-c", _TELL]).stdout
    return sorted({" ".join(line.split()) for line in told.splitlines()})


# What changes by itself: how many connections there are, how long a route lives on, carriers, and
# IPv6's own routes, which come a second or two after a link went up.
_TELL = """
grep -rsH '' /proc/sys/net | grep -v nf_conntrack_count
for family in -4 -6; do
    ip $family neighbour show proxy
    ip $family route show table all | grep -v -e 'ff00::/8 ' -e 'fe80:' |
        sed 's/ expires [0-9]*sec//; s/ linkdown//'
    ip $family rule
done
ls /sys/class/net | sed 's/^/link /'
"""
