"""When a published port is refused, whom it belongs to meanwhile, and when it is free again."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from integration.docker.conftest import IDLE, IMAGE, PYNET_IPAM, World
from integration.lab import Process, Underlay, eventually, talk
from integration.lab.talk import NOBODY, misheard, tcp, udp

Words = tuple[str, ...]

ALWAYS = ("--restart", "always")
FLOW_EVERY_S = 0.05
FLOW_MOVES_S = 2.0
AT_ONCE_S = 0.5


def refusal(world: World, network: str, *words: str) -> str:
    """What docker says when it does not start a container, which is removed then."""
    run = ("run", "-d", "--name", "refused", "--network", network, *words, IMAGE, *IDLE)
    done = world.docker(*run, check=False)
    world.docker("rm", "--force", "refused", check=False)
    assert done.returncode != 0
    return done.stderr


def published(world: World, name: str, network: str, *words: str) -> None:
    """Start a container whose port 80 is 8080 of the host, and a server in it."""
    world.box(name, network, "-p", "8080:80", *words)
    world.serve(name, "tcp/80", "udp/80")


def assert_answered(world: World, underlay: Underlay, by: str) -> None:
    """Prove who answers on port 8080, to the LAN over both families and to the host itself."""
    from_lan = {tcp(world.host.v4.ip, 8080): by, tcp(world.host.v6.ip, 8080): by}
    assert misheard(underlay.run, from_lan) == ""
    assert misheard(world.host.run, {tcp("127.0.0.1", 8080): by, tcp("::1", 8080): by}) == ""


def is_free(world: World, protocol: str = "tcp", port: int = 8080) -> bool:
    return talk.is_free(world.host.run, protocol, port)


def named(world: World, *names: str) -> None:
    """Wait until pynet knows its endpoints by these names."""
    eventually(
        lambda: sorted(e["name"] for e in world.endpoints()) == sorted(names),
        "pynet learns the containers' names",
    )


# What is refused


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_port_of_a_process_is_refused_with_its_name(world: World, protocol: str) -> None:
    world.network("blue", *PYNET_IPAM)

    with world.serve_on_host("stranger", f"{protocol}/8080"):
        said = refusal(world, "blue", "-p", f"8080:80/{protocol}")

    assert "8080" in said
    assert "stranger" in said
    world.box("one", "blue", "-p", f"8080:80/{protocol}")


def test_port_of_another_container_is_refused_with_its_name(world: World) -> None:
    world.network("blue", *PYNET_IPAM)
    world.network("red", *PYNET_IPAM)
    published(world, "holder", "blue")
    named(world, "holder")

    for network in ("blue", "red"):
        for mapping in ("8080:80", "8079-8081:79-81", f"{world.host.v4.ip}:8080:80"):
            said = refusal(world, network, "-p", mapping)

            assert "8080" in said
            assert "holder" in said
    assert misheard(world.host.run, {tcp(world.host.v4.ip, 8080): "holder:80"}) == ""


def test_refused_container_gives_back_the_ports_that_it_got(
    world: World, underlay: Underlay
) -> None:
    world.network("blue", *PYNET_IPAM)
    mappings = ("-p", "8080:80", "-p", "8081:81", "-p", "8090-8099:90-99/udp")

    with world.serve_on_host("stranger", "tcp/8081"):
        refusal(world, "blue", *mappings)

        assert is_free(world)
        assert is_free(world, "udp", 8090)
        assert misheard(underlay.run, {tcp(world.host.v4.ip, 8080): NOBODY}) == ""
        assert world.ports() == []
    world.box("one", "blue", *mappings)
    assert not is_free(world)


def test_address_that_the_host_has_not_is_refused(world: World) -> None:
    world.dual_stack("blue", 1)

    for address, mapping in (
        ("192.0.2.7", "192.0.2.7:8080:80"),
        ("2001:db8:7::7", "[2001:db8:7::7]:8080:80"),
    ):
        assert address in refusal(world, "blue", "-p", mapping)
    assert is_free(world)


def has_sctp() -> bool:
    try:
        socket.socket(type=socket.SOCK_STREAM, proto=socket.IPPROTO_SCTP).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(has_sctp(), reason="needs a kernel without SCTP")
def test_protocol_that_the_kernel_has_not_is_refused(world: World) -> None:
    world.network("blue", *PYNET_IPAM)

    said = refusal(world, "blue", "-p", "8080:80/sctp")

    assert "8080:80/sctp" in said
    assert world.ports() == []


# When a port is free again


@pytest.mark.parametrize(
    ("end", "begin"),
    [
        (("stop", "one"), ("start", "one")),
        (("kill", "one"), ("start", "one")),
        (("network", "disconnect", "blue", "one"), ("network", "connect", "blue", "one")),
        (("rm", "--force", "one"), ()),
    ],
    ids=["stop", "kill", "disconnect", "rm"],
)
def test_port_is_free_once_the_container_is_gone(
    world: World, underlay: Underlay, end: Words, begin: Words
) -> None:
    world.dual_stack("blue", 1)
    published(world, "one", "blue")
    assert_answered(world, underlay, by="one:80")
    assert not is_free(world)

    world.docker(*end)

    eventually(lambda: is_free(world), "port 8080 is free")
    assert_answered(world, underlay, by=NOBODY)
    assert world.ports() == []
    if begin:
        world.docker(*begin)
        serve_again(world, "one")
    else:
        published(world, "one", "blue")
    assert_answered(world, underlay, by="one:80")
    assert not is_free(world)
    world.verify()


def test_port_of_a_run_is_taken_back_alone(world: World, underlay: Underlay) -> None:
    world.dual_stack("blue", 1)
    world.box("one", "blue", "-p", "8080-8082:80-82")
    world.serve("one", "tcp/80-82")
    named(world, "one")

    world.pynet.pynet("ports", "rm", "one", "8081")

    answered = {8080: "one:80", 8081: NOBODY, 8082: "one:82"}
    for host in (world.host.v4.ip, world.host.v6.ip):
        assert misheard(underlay.run, {tcp(host, p): by for p, by in answered.items()}) == ""
    assert is_free(world, port=8081)
    world.verify()
    world.pynet.pynet("ports", "rm", "one", "0.0.0.0:8080-8082")
    assert misheard(underlay.run, {tcp(world.host.v4.ip, 8082): NOBODY}) == ""
    assert misheard(underlay.run, {tcp(world.host.v6.ip, 8082): "one:82"}) == ""
    world.verify()


def test_port_is_reached_at_once_where_a_network_has_its_first_container(
    world: World, underlay: Underlay
) -> None:
    world.dual_stack("blue", 1)
    with (
        underlay.popen(talk.flow(tcp(world.host.v4.ip, 8080), FLOW_EVERY_S), log="ipv4") as ipv4,
        underlay.popen(talk.flow(tcp(world.host.v6.ip, 8080), FLOW_EVERY_S), log="ipv6") as ipv6,
    ):
        published(world, "one", "blue")
        listens_at = time.monotonic()
        for flow in (ipv4, ipv6):
            wait_until_answered(flow, "one", deadline_s=10.0)

    assert first_answer_at(ipv4) - listens_at < AT_ONCE_S
    assert first_answer_at(ipv6) - listens_at < AT_ONCE_S


def first_answer_at(flow: Process) -> float:
    """When the first question was asked that was answered, 0 if none was."""
    return next((at for at, answer in talk.heard(flow.output()) if answer), 0.0)


def test_ports_outlive_a_crash_of_pynet(world: World, underlay: Underlay) -> None:
    world.dual_stack("blue", 1)
    published(world, "one", "blue")
    from_lan = {tcp(world.host.v4.ip, 8080): "one:80", tcp(world.host.v6.ip, 8080): "one:80"}

    world.pynet.kill()
    assert misheard(underlay.run, from_lan) == ""
    world.pynet.start()
    world.wait_until_ready()

    assert_answered(world, underlay, by="one:80")
    assert not is_free(world)
    assert "8080" in refusal(world, "blue", "-p", "8080:80")
    world.verify()
    world.docker("rm", "--force", "one")
    assert is_free(world)


@pytest.mark.parametrize("ipam_driver", ["pynet", "default"])
@pytest.mark.parametrize("how", ["orderly", "crash"])
def test_ports_come_back_after_a_restart_of_dockerd(
    world: World, underlay: Underlay, how: str, ipam_driver: str
) -> None:
    world.dual_stack("blue", 1, "--ipam-driver", ipam_driver)
    published(world, "one", "blue", *ALWAYS)

    if how == "crash":
        world.engine.kill()
        world.engine.start()
    else:
        world.engine.restart()
    eventually(lambda: world.inspect("one")["State"]["Running"], "the container comes back")
    serve_again(world, "one")

    assert_answered(world, underlay, by="one:80")
    assert not is_free(world)
    assert {port["host_port"] for port in world.ports()} == {8080}
    if (how, ipam_driver) != ("crash", "default"):  # 20.10 never says that the endpoint is gone
        world.verify()


def serve_again(world: World, box: str) -> None:
    """Serve in a container that was stopped, or whose server goes on."""
    if talk.is_free(world.run_in(box), "tcp", 80):
        world.serve(box, "tcp/80", "udp/80")


# Who gets the packets


def test_ports_move_to_the_network_that_becomes_the_gateway(
    world: World, underlay: Underlay
) -> None:
    world.dual_stack("blue", 1)
    world.dual_stack("red", 2)
    published(world, "one", "blue")

    for words in (("connect", "red"), ("disconnect", "blue"), ("connect", "blue")):
        world.docker("network", *words, "one")
        assert_answered(world, underlay, by="one:80")
        assert not is_free(world)
    world.docker("network", "disconnect", "red", "one")
    assert_answered(world, underlay, by="one:80")
    world.verify()
    world.docker("network", "disconnect", "blue", "one")

    assert_answered(world, underlay, by=NOBODY)
    assert is_free(world)


def test_flow_of_datagrams_follows_the_port_to_another_container(
    world: World, underlay: Underlay
) -> None:
    world.dual_stack("blue", 1)
    mapping = ("-p", "8080:80/udp")
    world.box("one", "blue", *mapping)
    world.serve("one", "udp/80")

    with flowing(underlay, world.host.v4.ip) as ipv4, flowing(underlay, world.host.v6.ip) as ipv6:
        for flow in (ipv4, ipv6):
            wait_until_answered(flow, "one", deadline_s=10.0)
        world.docker("rm", "--force", "one")
        world.box("two", "blue", *mapping)
        world.serve("two", "udp/80")

        for flow in (ipv4, ipv6):
            wait_until_answered(flow, "two", deadline_s=FLOW_MOVES_S)


def wait_until_answered(flow: Process, by: str, *, deadline_s: float) -> None:
    def heard_last() -> str:
        *_, (_, answer) = [(0.0, None), *talk.heard(flow.output())]
        return answer.name if answer else NOBODY

    eventually(lambda: heard_last() == by, f"{by} answers the flow", deadline_s=deadline_s)


@contextmanager
def flowing(underlay: Underlay, host: object) -> Iterator[Process]:
    """Have a LAN host send to port 8080 from one socket all the while."""
    argv = talk.flow(udp(host, 8080), FLOW_EVERY_S)
    with underlay.popen(argv, log=f"flow-{host}") as process:
        yield process
