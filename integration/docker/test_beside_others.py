"""pynet beside other users of the packet filter: it works, and theirs stays as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from integration.conftest import EngineHost, skip_without
from integration.docker.conftest import World
from integration.lab import Daemon, Engine, Lab, Underlay, eventually, probes, talk
from integration.lab.namespace import Namespace
from integration.lab.process import Completed, run
from integration.lab.talk import NOBODY, misheard, tcp

LAN_PORT = 9000
DOCKERS, PROJECTS = 8081, 8082

# What `ufw enable` makes of FORWARD and INPUT by default, less its logging; ufw 0.36.
UFW = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:ufw{six}-before-forward - [0:0]
:ufw{six}-before-input - [0:0]
:ufw{six}-after-forward - [0:0]
:ufw{six}-reject-forward - [0:0]
:ufw{six}-user-forward - [0:0]
:ufw{six}-user-input - [0:0]
-A INPUT -j ufw{six}-before-input
-A FORWARD -j ufw{six}-before-forward
-A FORWARD -j ufw{six}-after-forward
-A FORWARD -j ufw{six}-reject-forward
-A ufw{six}-before-input -i lo -j ACCEPT
-A ufw{six}-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw{six}-before-input -p {icmp} -j ACCEPT
-A ufw{six}-before-input -j ufw{six}-user-input
-A ufw{six}-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw{six}-before-forward -p {icmp} -j ACCEPT
-A ufw{six}-before-forward -j ufw{six}-user-forward
-A ufw{six}-user-input -p tcp -m tcp --dport 22 -j ACCEPT
COMMIT
"""
# What libvirtd makes for its network "default" with the iptables backend; libvirt 9.
LIBVIRT = """\
*filter
:LIBVIRT_FWI - [0:0]
:LIBVIRT_FWO - [0:0]
:LIBVIRT_FWX - [0:0]
:LIBVIRT_INP - [0:0]
-A INPUT -j LIBVIRT_INP
-A FORWARD -j LIBVIRT_FWX
-A FORWARD -j LIBVIRT_FWI
-A FORWARD -j LIBVIRT_FWO
-A LIBVIRT_FWI -d {subnet} -o virbr0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A LIBVIRT_FWI -o virbr0 -j REJECT
-A LIBVIRT_FWO -s {subnet} -i virbr0 -j ACCEPT
-A LIBVIRT_FWO -i virbr0 -j REJECT
-A LIBVIRT_FWX -i virbr0 -o virbr0 -j ACCEPT
-A LIBVIRT_INP -i virbr0 -p udp -m udp --dport 53 -j ACCEPT
COMMIT
*nat
:LIBVIRT_PRT - [0:0]
-A POSTROUTING -j LIBVIRT_PRT
-A LIBVIRT_PRT -s {subnet} -d {multicast} -j RETURN
-A LIBVIRT_PRT -s {subnet} ! -d {subnet} -j MASQUERADE
COMMIT
*mangle
:LIBVIRT_PRT - [0:0]
-A POSTROUTING -j LIBVIRT_PRT
COMMIT
"""
ACCEPTING = """\
*filter
:FORWARD ACCEPT [0:0]
COMMIT
"""
FAMILIES = {
    "iptables": {
        "six": "",
        "icmp": "icmp",
        "subnet": "192.168.122.0/24",
        "multicast": "224.0.0.0/24",
    },
    "ip6tables": {
        "six": "6",
        "icmp": "ipv6-icmp",
        "subnet": "fd12::/64",
        "multicast": "ff02::/16",
    },
}
RULE_SETS = {"ufw": UFW, "libvirt": LIBVIRT, "accepting": ACCEPTING}


@pytest.fixture
def world(lab: Lab) -> Iterator[World]:
    """A host of its own for each test: what others load is not taken out again."""
    skip_without(*probes.OF_AN_ENGINE)
    host = lab.host()
    try:
        world = World(EngineHost(host=host, engine=Engine(host), pynet=Daemon(host)))
        world.pynet.start()
        world.engine.start()
        world.engine.image("pynet-box")
        yield world
    finally:
        host.close()


def load(world: World, rules: str) -> None:
    """Load somebody's rules beside those that are there."""
    for command, words in FAMILIES.items():
        argv = [f"{command}-restore", "--noflush"]
        world.host.run(argv, stdin=rules.format(**words))


def others(world: World) -> list[str]:
    """The chains, policies and rules that are neither Docker's nor pynet's."""
    saved = "".join(world.host.saved_rules(f"{command}-save") for command in FAMILIES)
    lines = (line.partition(" [")[0] for line in saved.splitlines() if line[:1] not in "#*")
    return [
        line
        for line in lines
        if line != "COMMIT"
        and not any(word in line for word in ("PYNET", "pynet", "DOCKER", "docker0", "br-"))
        and not line.endswith(" ACCEPT")
    ]


def assert_in_use(world: World, underlay: Underlay) -> None:
    """The published port is reached from the LAN and the host, and the container gets out."""
    v4, v6 = world.host.v4.ip, world.host.v6.ip
    answered = {tcp(v4, 8080): "one:80", tcp(v6, 8080): "one:80"}
    assert misheard(underlay.run, answered) == ""
    local = {tcp("127.0.0.1", 8080): "one:80", tcp("::1", 8080): "one:80"}
    assert misheard(world.host.run, answered | local) == ""
    with underlay.popen(talk.server("lan", [f"tcp/{LAN_PORT}"]), log="server-lan") as lan:
        talk_to = (underlay.internet_v4, underlay.internet_v6)
        eventually(lambda: lan.output().startswith(talk.LISTENING), "the server listens")
        outside = {tcp(address, LAN_PORT): f"lan:{LAN_PORT}" for address in talk_to}
        assert misheard(world.run_in("one"), outside) == ""


def assert_closed(world: World, underlay: Underlay) -> None:
    """A LAN host with a route to the container does not reach it."""
    underlay.run(["ip", "route", "add", "10.93.1.0/24", "via", str(world.host.v4.ip)])
    try:
        assert misheard(underlay.run, {tcp(world.address("one", "blue"), 80): NOBODY}) == ""
    finally:
        underlay.run(["ip", "route", "del", "10.93.1.0/24"])


def serve(world: World) -> None:
    world.dual_stack("blue", 1)
    world.box("one", "blue", "-p", "8080:80")
    world.serve("one", "tcp/80")


@pytest.mark.parametrize("name", RULE_SETS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_networks_work_beside_the_rules_of_others(
    world: World, underlay: Underlay, name: str, when: str
) -> None:
    if when == "before":
        load(world, RULE_SETS[name])
        theirs = others(world)
        serve(world)
    else:
        serve(world)
        load(world, RULE_SETS[name])
        theirs = others(world)

    assert name == "accepting" or any(line.startswith("-A") for line in theirs)
    assert_in_use(world, underlay)
    assert_closed(world, underlay)
    world.verify()
    assert others(world) == theirs

    world.pynet.restart()
    world.wait_until_ready()
    assert_in_use(world, underlay)
    assert others(world) == theirs

    world.clear()
    world.wait_until_empty()
    assert others(world) == theirs


@pytest.mark.needs("docker-compose")
def test_dockers_own_bridge_and_a_project_are_in_use_at_the_same_time(
    world: World, underlay: Underlay, project: Path
) -> None:
    compose = (
        'version: "3"\nservices:\n  web:\n    image: pynet-box\n'
        f"    command: sleep 900\n    ports: ['{PROJECTS}:80']\n    stop_signal: SIGKILL\n"
    )
    world.host.write_file(str(project / "docker-compose.yml"), compose)
    theirs = world.foreign_rules()
    world.engine.compose(project, "up", "--detach")
    web = world.engine.compose(project, "ps", "-q", "web").stdout.strip()
    world.serve(web, "tcp/80")
    world.box("old", "bridge", "-p", f"{DOCKERS}:80")
    world.serve("old", "tcp/80")
    serve(world)

    v4 = world.host.v4.ip
    answered = {
        tcp(v4, 8080): "one:80",
        tcp(v4, DOCKERS): "old:80",
        tcp(v4, PROJECTS): f"{web}:80",
    }
    assert misheard(underlay.run, answered) == ""
    assert misheard(world.host.run, answered) == ""
    for box in ("one", "old", web):
        assert misheard(world.run_in(box), answered) == ""
    world.verify()

    world.engine.compose(project, "down")
    world.clear()
    world.wait_until_empty()
    assert world.foreign_rules() == theirs


def test_virtual_machine_of_libvirts_keeps_its_network(
    world: World, underlay: Underlay, lab: Lab
) -> None:
    with virtual_machine(world, lab) as machine:
        load(world, LIBVIRT)
        serve(world)

        def run_in(argv: Sequence[str], *, stdin: str) -> Completed:
            return run(argv, prefix=machine.network_entry, stdin=stdin)

        ours = {tcp(world.host.v4.ip, 8080): "one:80", tcp("192.168.122.1", 8080): "one:80"}
        closed = {tcp(world.address("one", "blue"), 80): NOBODY}
        with underlay.popen(talk.server("lan", [f"tcp/{LAN_PORT}"]), log="server-lan") as lan:
            eventually(lambda: lan.output().startswith(talk.LISTENING), "the server listens")
            there = {tcp(underlay.internet_v4, LAN_PORT): f"lan:{LAN_PORT}"}
            assert misheard(run_in, {**ours, **closed, **there}) == ""


@contextmanager
def virtual_machine(world: World, lab: Lab) -> Iterator[Namespace]:
    """A namespace on a bridge `virbr0`, as libvirt's network `default` has its machines."""
    machine = Namespace("machine", log=lab.folder / "machine.log")
    try:
        links = f"""
            link add virbr0 type bridge
            addr add 192.168.122.1/24 dev virbr0
            link set virbr0 up
            link add vnet0 type veth peer name eth0 netns {machine.pid}
            link set vnet0 master virbr0 up
        """
        inside = """
            addr add 192.168.122.10/24 dev eth0
            link set eth0 up
            route add default via 192.168.122.1
        """
        run(["ip", "-batch", "-"], prefix=world.host.namespace.network_entry, stdin=links)
        run(["ip", "-batch", "-"], prefix=machine.network_entry, stdin=inside)
        yield machine
    finally:
        machine.close()
