"""Published ports, proved by packets: who reaches which server through which address."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product

import pytest

from integration.docker.conftest import IMAGE, PYNET_IPAM, World
from integration.lab import Lab, Underlay, talk
from integration.lab.talk import NOBODY, Answers, Expected, Question, Runner, misheard, tcp, udp

PROTOCOLS = ("tcp", "udp")
FAMILIES = (4, 6)
BINDINGS = ("any", "host", "loopback")
ORIGINS = ("host", "lan", "near", "far", "itself")
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
GATEWAYS = {
    "blue": {4: "10.93.1.1", 6: "fd93:1::1"},
    "red": {4: "10.93.2.1", 6: "fd93:2::1"},
}

# Where in the hundred ports of a binding's family each form of `-p` begins.
SINGLE, RANGE, EPHEMERAL = 0, 10, 30
RANGE_SIZE = 10
RANGE_ASKED = (0, 4, RANGE_SIZE - 1)
INSIDE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of the matrix: what should be answered, and what was answered."""

    expected: Expected
    answers: Answers


CellKey = tuple[str, str, int, str]


@pytest.fixture(scope="module")
def matrix(clean_world: World, lab: Lab) -> dict[CellKey, Cell]:
    """Ask everything from everywhere once: the tests look at the answers."""
    try:
        clean_world.dual_stack("blue", 1)
        clean_world.dual_stack("red", 2)
        clean_world.box("near", "blue")
        clean_world.box("far", "red")
        cells: dict[CellKey, Cell] = {}
        for binding in BINDINGS:
            cells.update(Publishing(clean_world, lab.underlay, binding).ask_all())
    finally:
        clean_world.clear()
    return cells


class Publishing:
    """A container `itself` on `blue` with every form of `-p` on one kind of host address."""

    def __init__(self, world: World, underlay: Underlay, binding: str) -> None:
        self.world = world
        self.underlay = underlay
        self.binding = binding
        self.host = {4: str(world.host.v4.ip), 6: str(world.host.v6.ip)}

    def ask_all(self) -> dict[CellKey, Cell]:
        self.world.box("itself", "blue", *self._words())
        self.world.serve("itself", *self._served())
        ephemeral = {
            (port["protocol"], port["container_port"]): port["host_port"]
            for port in self.world.ports()
        }
        expected = {
            (origin, version, protocol): dict(self._expected(origin, version, protocol, ephemeral))
            for origin, version, protocol in product(ORIGINS, FAMILIES, PROTOCOLS)
        }
        with ThreadPoolExecutor(len(ORIGINS)) as pool:
            from_origin = [
                {
                    q: a
                    for key, cell in expected.items()
                    if key[0] == origin
                    for q, a in cell.items()
                }
                for origin in ORIGINS
            ]
            answers = dict(zip(ORIGINS, pool.map(self._ask, ORIGINS, from_origin), strict=True))
        self.world.docker("rm", "--force", "itself")
        return {
            (self.binding, *key): Cell(expected=cell, answers=answers[key[0]])
            for key, cell in expected.items()
        }

    def _bases(self) -> dict[int, int]:
        """The first host port by family; an address is of one family, none is of both."""
        return {4: 8000, 6: 8000 if self.binding == "any" else 8200}

    def _words(self) -> Iterator[str]:
        for version, base in self._bases().items():
            address = {"any": "", "host": self.host[version], "loopback": LOOPBACK[version]}
            ip = address[self.binding]
            prefix = f"[{ip}]:" if ":" in ip else f"{ip}:" * bool(ip)
            inside = base - 8000 + INSIDE
            for protocol in PROTOCOLS:
                first, last = RANGE, RANGE + RANGE_SIZE - 1
                run = f"{base + first}-{base + last}:{inside + first}-{inside + last}"
                for mapping in (
                    f"{prefix}{base + SINGLE}:{inside + SINGLE}/{protocol}",
                    f"{prefix}{run}/{protocol}",
                    f"{prefix}{':' * bool(ip)}{inside + EPHEMERAL}/{protocol}",
                ):
                    yield from ("-p", mapping)
            if self.binding == "any":
                return

    def _served(self) -> Iterator[str]:
        """The server listens beyond the range, too: if that was published, it would answer."""
        for base, protocol in product(set(self._bases().values()), PROTOCOLS):
            inside = base - 8000 + INSIDE
            yield f"{protocol}/{inside + SINGLE}"
            yield f"{protocol}/{inside + RANGE}-{inside + RANGE + RANGE_SIZE}"
            yield f"{protocol}/{inside + EPHEMERAL}"

    def _expected(
        self, origin: str, version: int, protocol: str, ephemeral: dict[tuple[str, int], int]
    ) -> Iterator[tuple[Question, str]]:
        base = self._bases()[version]
        inside = base - 8000 + INSIDE
        ports = {base + SINGLE: inside + SINGLE}
        ports |= {base + RANGE + step: inside + RANGE + step for step in RANGE_ASKED}
        ports[ephemeral[protocol, inside + EPHEMERAL]] = inside + EPHEMERAL
        for place, address in self._addresses(origin, version):
            is_open = self._is_open(origin, place)
            for port, behind in ports.items():
                answer = f"itself:{behind}" if is_open else NOBODY
                yield Question(protocol, address, port), answer
            yield Question(protocol, address, base + RANGE + RANGE_SIZE), NOBODY
        if self.binding != "any":
            yield Question(protocol, self.host[10 - version], base + SINGLE), NOBODY

    def _addresses(self, origin: str, version: int) -> Iterator[tuple[str, str]]:
        yield "host", self.host[version]
        if origin == "host":
            yield "loopback", LOOPBACK[version]
        if origin != "lan":
            yield "gateway", GATEWAYS["red" if origin == "far" else "blue"][version]

    def _is_open(self, origin: str, place: str) -> bool:
        match self.binding:
            case "any":
                return True
            case "host":
                return place == "host"
            case _:
                return origin == "host" and place == "loopback"

    def _ask(self, origin: str, expected: Expected) -> Answers:
        runners: dict[str, Runner] = {"host": self.world.host.run, "lan": self.underlay.run}
        return talk.ask(runners.get(origin) or self.world.run_in(origin), expected)


# Who reaches what


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("version", FAMILIES)
@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("binding", BINDINGS)
def test_published_ports_are_reached_from_where_they_should_be(
    matrix: dict[CellKey, Cell], binding: str, origin: str, version: int, protocol: str
) -> None:
    cell = matrix[binding, origin, version, protocol]

    assert talk.mistakes(cell.expected, cell.answers) == ""


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("version", FAMILIES)
@pytest.mark.parametrize("origin", ["lan", "far"])
def test_server_sees_the_clients_own_address(
    matrix: dict[CellKey, Cell], lab: Lab, origin: str, version: int, protocol: str
) -> None:
    lan = {4: str(lab.underlay.gateway_v4), 6: str(lab.underlay.gateway_v6)}
    far = {4: "10.93.2.2", 6: "fd93:2::2"}

    cell = matrix["any", origin, version, protocol]

    answers = [cell.answers[question] for question in cell.expected]
    clients = {answer.client for answer in answers if answer}
    assert clients == {(lan if origin == "lan" else far)[version]}


def test_network_without_ipv6_is_reached_through_the_hosts(world: World, lab: Lab) -> None:
    world.network("blue", *PYNET_IPAM, "--subnet", "10.93.1.0/24")
    world.dual_stack("red", 2)
    world.box("one", "blue", "-p", "8080:80", "-p", "8080-8084:80-84/udp")
    world.serve("one", "tcp/80", "udp/80-84")
    world.box("far", "red")

    def expected(address: object) -> Expected:
        return {
            tcp(address, 8080): "one:80",
            udp(address, 8080): "one:80",
            udp(address, 8084): "one:84",
        }

    for run, addresses in (
        (lab.underlay.run, (world.host.v6.ip,)),
        (world.host.run, (world.host.v6.ip, "::1")),
        (world.run_in("far"), (world.host.v6.ip, GATEWAYS["red"][6])),
    ):
        for address in addresses:
            assert misheard(run, expected(address)) == ""


# What options and ways to write a port do


def test_first_free_port_of_a_range_is_taken(world: World, lab: Lab) -> None:
    world.network("blue", *PYNET_IPAM)
    for name in ("one", "two", "three"):
        world.box(name, "blue", "-p", "8100-8102:80")
        world.serve(name, "tcp/80")

    host = world.host.v4.ip
    expected = {tcp(host, 8100): "one:80", tcp(host, 8101): "two:80", tcp(host, 8102): "three:80"}
    assert misheard(lab.underlay.run, expected) == ""
    full = world.docker("run", "-d", "--network", "blue", "-p", "8100-8102:80", IMAGE, check=False)
    assert full.returncode != 0
    assert "8100-8102" in full.stderr


def test_port_is_published_again_with_another_protocol_or_address(world: World) -> None:
    world.network("blue", *PYNET_IPAM)
    host = world.host.v4.ip
    for name, mapping in {
        "one": "127.0.0.1:8080:80/tcp",
        "two": f"{host}:8080:80/tcp",
        "three": "8080:80/udp",
    }.items():
        world.box(name, "blue", "-p", mapping)
        world.serve(name, "tcp/80", "udp/80")

    expected = {tcp("127.0.0.1", 8080): "one:80", tcp(host, 8080): "two:80"}
    assert misheard(world.host.run, {**expected, udp(host, 8080): "three:80"}) == ""


def test_default_host_address_is_an_option_of_the_network(world: World, lab: Lab) -> None:
    words = ("-o", "com.docker.network.bridge.host_binding_ipv4=127.0.0.1")
    world.network("blue", *PYNET_IPAM, *words)
    ipv4, ipv6 = world.host.v4.ip, world.host.v6.ip
    world.box("one", "blue", "-p", "8080:80", "-p", f"{ipv4}:8081:80")
    world.serve("one", "tcp/80")

    there = {tcp(ipv4, 8080): NOBODY, tcp(ipv6, 8080): NOBODY, tcp(ipv4, 8081): "one:80"}
    assert misheard(world.host.run, {**there, tcp("127.0.0.1", 8080): "one:80"}) == ""
    assert misheard(lab.underlay.run, there) == ""
