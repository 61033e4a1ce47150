"""What Docker's resolver was told by the user still holds, and port 53 is everybody's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from integration.docker.conftest import PYNET_IPAM, World
from integration.docker.names import is_ours, replies, reply, told, unknown
from integration.lab import Lab, dns_client, eventually
from integration.lab.dns_client import Question
from integration.lab.upstream import Upstream

WEB, CLIENT = "10.93.1.10", "10.93.1.11"
LOOPBACK = "127.0.1.1"

pytestmark = pytest.mark.usefixtures("blue")


@pytest.fixture
def blue(world: World, upstream: Upstream) -> None:
    """A network with a container `web`, which has a name that only pynet knows."""
    assert upstream.address
    world.network("blue", *PYNET_IPAM, "--subnet", "10.93.1.0/24")
    world.box("web", "blue", "--ip", WEB, "--network-alias", "db.inner")


@pytest.fixture
def second(lab: Lab) -> Iterator[Upstream]:
    """Another DNS server, which knows a name that the host's resolver does not."""
    server = Upstream(lab.underlay, lab.underlay.internet_v4, {"only.there": "203.0.113.77"})
    yield server
    server.stop()


def client(world: World, *words: str) -> str:
    """Start a container that asks, and wait until pynet answers it."""
    world.box("client", "blue", "--ip", CLIENT, *words)
    told(world.run_in("client"), "web.blue.pynet", WEB)
    return "client"


# What the user told Docker


def test_server_of_the_user_is_asked_for_what_is_not_ours(world: World, second: Upstream) -> None:
    run = world.run_in(client(world, "--dns", second.address))

    assert reply(run, "only.there").values == ["203.0.113.77"]
    assert is_ours(reply(run, "web"))
    assert "only.there" in second.asked()
    assert not [name for name in second.asked() if name.endswith("pynet")]


def test_search_domains_of_the_user_are_tried(world: World) -> None:
    client(world, "--dns-search", "inner.blue.pynet")

    assert world.pings("client", "db")
    assert not world.pings("client", "db.nowhere")


def test_number_of_dots_of_the_user_is_heeded(world: World, upstream: Upstream) -> None:
    client(world, "--dns-opt", "ndots:2", "--dns-search", "pynet")

    assert "ndots:2" in world.exec("client", "cat", "/etc/resolv.conf").stdout
    assert world.pings("client", "web.blue")
    assert reply(world.run_in("client"), "solitary").values == []
    assert "solitary" not in upstream.asked()  # as Docker has it when dots are wanted


def test_link_has_the_name_that_its_container_gave_it(world: World) -> None:
    run = world.run_in(client(world, "--link", "web:site", "--link", "web:other"))
    world.box("other", "blue")
    address = world.address("other", "blue")
    told(world.run_in("other"), "other.blue.pynet", address)

    assert reply(run, "site").values == [WEB]
    assert reply(world.run_in("other"), "site").rcode == "NXDOMAIN"
    assert world.pings("client", "site")
    for name in ("other", "other.blue"):  # a container has the name too
        eventually(lambda: reply(run, name).values == [WEB], f"{name} is the link")  # noqa: B023
        assert reply(world.run_in("other"), name).values == [address]
    assert reply(run, "other.blue.pynet").values == [address]


def test_internal_network_has_names_and_asks_nobody_outside(
    world: World, upstream: Upstream
) -> None:
    world.network("inside", *PYNET_IPAM, "--internal", "--subnet", "10.93.4.0/24")
    world.box("one", "inside", "--ip", "10.93.4.10")
    world.box("two", "inside")

    told(world.run_in("two"), "one.inside.pynet", "10.93.4.10")
    told(world.run_in("two"), "one", "10.93.4.10")
    (outside,) = dns_client.ask(world.run_in("two"), Question(f"inside.{Upstream.zone}"))

    assert outside is None or outside.values == []
    assert f"inside.{Upstream.zone}" not in upstream.asked()


def test_internal_network_comes_behind_one_that_leads_outside(world: World) -> None:
    world.network("aside", *PYNET_IPAM, "--internal", "--subnet", "10.93.4.0/24")
    world.box("inner-web", "aside", "--ip", "10.93.4.10", "--network-alias", "twin")
    world.box("outer-web", "blue", "--ip", "10.93.1.20", "--network-alias", "twin")
    world.box("client", "aside")
    world.docker("network", "connect", "blue", "client")

    told(world.run_in("client"), "twin.aside.pynet", "10.93.4.10")
    told(world.run_in("client"), "twin", "10.93.1.20")


def test_resolver_of_the_host_on_its_loopback_is_asked(world: World, upstream: Upstream) -> None:
    own = Upstream(world.host, LOOPBACK, {"only.here": "203.0.113.78"})
    try:
        world.set_resolver(LOOPBACK)
        run = world.run_in(client(world))
        for protocol in ("udp", "tcp"):
            assert reply(run, "only.here", protocol=protocol).values == ["203.0.113.78"]
        assert not [name for name in own.asked() if name.endswith("pynet")]
    finally:
        world.set_resolver(upstream.address)
        own.stop()


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_routable_resolver_of_the_host_is_asked(world: World, protocol: str) -> None:
    run = world.run_in(client(world))

    assert reply(run, f"www.{Upstream.zone}", protocol=protocol).values == [Upstream.answer]


def test_answer_from_upstream_is_kept_for_its_ttl(world: World, upstream: Upstream) -> None:
    run = world.run_in(client(world))
    name = f"kept.{Upstream.zone}"

    heard = replies(run, *([Question(name)] * 3))

    assert all(r.values == [Upstream.answer] for r in heard)
    assert upstream.asked().count(name) == 1


# Port 53


def test_container_serves_dns_of_its_own(world: World, lab: Lab) -> None:
    world.box("server", "blue", "--ip", "10.93.1.30", "-p", "53:53/udp", "-p", "53:53/tcp")
    words = ("--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts")
    served = ("dnsmasq", *words, "--host-record=mine.test,203.0.113.79")
    run = world.run_in(client(world))
    told(world.run_in("server"), "web.blue.pynet", WEB)
    with world.popen_in("server", served, log="dns-server") as server:
        for protocol in ("udp", "tcp"):
            near = reply(run, "mine.test", server="10.93.1.30", protocol=protocol)
            assert near.values == ["203.0.113.79"], server.tail()
            far = reply(
                lab.underlay.run, "mine.test", server=str(world.host.v4.ip), protocol=protocol
            )
            assert far.values == ["203.0.113.79"], server.tail()
        assert is_ours(reply(world.run_in("server"), "web"))
        assert reply(world.run_in("server"), "mine.test").values == []
    unknown(run, "mine.test")
