"""What tests on a real engine share: the words for docker, and the proof that nothing is left."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from integration.conftest import EngineHost, skip_without
from integration.lab import Daemon, Engine, Host, Lab, Process, Underlay, eventually, talk
from integration.lab.process import Completed
from integration.lab.talk import Runner
from integration.lab.upstream import Upstream
from netplug.plan.resolverlink import RESOLVER_LINK

IMAGE = "pynet-box"
# Process 1 of a container gets no signal that it does not ask for: without the trap, an orderly
# stop would wait ten seconds.
IDLE = ("sh", "-c", "trap 'exit 0' TERM; sleep 900 & wait")
PYNET_IPAM = ("--ipam-driver", "pynet")
PING_EVERY_S = 0.02
NARROW_BYTES = 1400  # of `narrow_uplink`

# What dockerd forgot is removed 30 s after it was made, by a sweep every 15 s that must have seen
# it missing twice.
FORGOTTEN_DEADLINE_S = 75.0

OUR_LINK = re.compile(r"py[-vph]|br-")
NOT_FOREIGN = re.compile(r"PYNET|DOCKER|docker|172\.17\.")


class World:
    """One host with an engine and pynet, and the words that tests about it are made of."""

    def __init__(self, running: EngineHost) -> None:
        self.host: Host = running.host
        self.engine: Engine = running.engine
        self.pynet: Daemon = running.pynet

    def docker(self, *words: str, check: bool = True) -> Completed:
        return self.engine.docker(*words, check=check)

    def network(self, name: str, *words: str) -> str:
        """Make a network of pynet's and return its id."""
        created = self.docker("network", "create", "-d", "pynet", *words, name)
        return created.stdout.strip()

    def dual_stack(self, name: str, number: int, *words: str) -> None:
        """Make a network of both families: 10.93.NUMBER.0/24 and fd93:NUMBER::/64."""
        ipv4, ipv6 = f"10.93.{number}", f"fd93:{number}:"
        self.network(
            name,
            *PYNET_IPAM,
            *("--ipv6", "--subnet", f"{ipv4}.0/24", "--gateway", f"{ipv4}.1"),
            *("--subnet", f"{ipv6}:/64", "--gateway", f"{ipv6}:1"),
            *words,
        )

    def box(self, name: str, network: str, *words: str) -> str:
        """Start a container that idles, and return its id."""
        command = ("run", "-d", "--name", name, "--network", network, *words, IMAGE, *IDLE)
        return self.docker(*command).stdout.strip()

    def exec(self, box: str, *command: str, check: bool = True) -> Completed:
        return self.docker("exec", box, *command, check=check)

    def inspect(self, box: str) -> Any:
        return self.engine.docker_json("inspect", box)[0]

    def inspect_network(self, network: str) -> Any:
        return self.engine.docker_json("network", "inspect", network)[0]

    def address(self, box: str, network: str, *, version: int = 4) -> str:
        """The address of a running container on a network, as Docker tells it."""
        key = "IPAddress" if version == 4 else "GlobalIPv6Address"
        address: str = self.inspect(box)["NetworkSettings"]["Networks"][network][key]
        assert address, f"{box} has no IPv{version} address on {network}"
        return address

    def gateway(self, network: str) -> str:
        gateway: str = self.inspect_network(network)["IPAM"]["Config"][0]["Gateway"]
        return gateway.partition("/")[0]

    def bridge(self, network: str) -> str:
        """The name of a network's bridge when the user named none."""
        return f"py-{self.inspect_network(network)['Id'][:12]}"

    def pings(self, box: str, to: str, *, wait_s: int = 2) -> bool:
        """Tell whether a container gets an answer."""
        ping = ("ping", "-c", "1", "-W", str(wait_s), to)
        return self.exec(box, *ping, check=False).returncode == 0

    def inside(
        self, box: str, *command: str, check: bool = True, stdin: str | None = None
    ) -> Completed:
        """Run one of the host's own programs in the network of a container."""
        return self.host.run([*self._entry(box), *command], check=check, stdin=stdin)

    def serve(self, box: str, *ports: str) -> Process:
        """Have a container answer on ports, "tcp/80" or "udp/9000-9009", for as long as it runs."""
        # In the container's PID namespace the server ends with the container.
        return self._listening([*self._entry(box), "--pid", *talk.server(box, ports)], box)

    def serve_on_host(self, name: str, *ports: str) -> Process:
        """Have a process of the host answer on ports; stop it."""
        return self._listening(talk.server(name, ports), name)

    def popen_in(self, box: str, argv: Sequence[str], *, log: str) -> Process:
        """Start one of the host's own programs in the network of a container; stop it."""
        return self.host.popen([*self._entry(box), *argv], log=log)

    def run_in(self, box: str) -> Runner:
        """Return what runs the host's own programs in the network of a container."""
        return lambda argv, *, stdin: self.inside(box, *argv, stdin=stdin)

    def _listening(self, argv: Sequence[str], name: str) -> Process:
        server = self.host.popen(argv, log=f"server-{name}")
        eventually(
            lambda: server.output().startswith(talk.LISTENING),
            f"{name} listens",
            detail=server.output,
        )
        return server

    def networks(self) -> list[dict[str, Any]]:
        """The networks that pynet knows."""
        return self._listed("networks", "/v1/networks")

    def endpoints(self) -> list[dict[str, Any]]:
        """The endpoints that pynet knows."""
        return self._listed("endpoints", "/v1/endpoints")

    def pools(self) -> list[dict[str, Any]]:
        """The pools of addresses that pynet has granted."""
        return self._listed("pools", "/v1/ipam")

    def ports(self) -> list[dict[str, Any]]:
        """The published ports, as `pynet ports` shows them."""
        shown: list[dict[str, Any]] = self.pynet.pynet_json("ports")["ports"]
        return shown

    def _listed(self, what: str, target: str) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.pynet.admin("GET", target).body[what]
        return listed

    @contextmanager
    def traffic(self, box: str, to: str) -> Iterator[None]:
        """Ping from a container all the while, and prove at the end that no answer was lost.

        The sender is no child of the engine, so that it outlives whatever is killed.
        """
        ping = [*self._entry(box), "ping", "-i", str(PING_EVERY_S), to]
        sender = self.host.popen(ping, log="traffic")
        eventually(lambda: "icmp_seq=" in sender.output(), "traffic flows", detail=sender.output)
        yield
        seen = sent_and_received(sender)
        assert seen[0] == seen[1], f"{seen[0]} packets sent and {seen[1]} answered"
        assert seen[0] > 1

    def wait_until_ready(self) -> None:
        """Wait until pynet, which answers as soon as it is up, has made all as it should be."""
        eventually(
            lambda: self.pynet.admin("GET", "/v1/status").body["state"] == "ready",
            "pynet is ready",
        )

    def revive(self) -> None:
        """Start what a test that failed has left killed."""
        if not self.pynet.is_running:
            self.pynet.start()
        if not self.engine.is_running:
            self.engine.start()

    def clear(self) -> None:
        """Remove every container, and every network that the user made."""
        if boxes := self.docker("ps", "-aq").stdout.split():
            self.docker("rm", "-f", *boxes)
        listed = self.docker("network", "ls", "-q", "--filter", "type=custom").stdout
        self.remove_networks(*listed.split())

    def remove_networks(self, *networks: str) -> None:
        """Remove networks that have no container any more.

        dockerd miscounts endpoints that come and go at once, with its own bridge driver too, and
        then refuses until it counts them anew at its next start (moby#42119).
        """
        for network in networks:
            removed = self.docker("network", "rm", network, check=False)
            if removed.returncode == 0:
                continue
            assert "has active endpoints" in removed.stderr, removed.stderr
            assert self.inspect_network(network)["Containers"] == {}
            self.engine.restart()
            self.docker("network", "rm", network)

    def leftovers(self) -> list[str]:
        """Everything of pynet's that would be there though no network is."""
        left = [
            *(f"network {n['id']}" for n in self.networks()),
            *(f"endpoint {e['id']}" for e in self.endpoints()),
            *(f"pool {p['id']}" for p in self.pools()),
            *(f"link {name}" for name in self.links() if OUR_LINK.match(name)),
        ]
        sets = self.host.run(["ipset", "save"]).stdout.splitlines()
        return left + [line for line in sets if line.startswith("add pynet")]

    def wait_until_named(self, *networks: str) -> None:
        """Wait until pynet has these networks' names, which the engine tells once they are made."""
        eventually(
            lambda: {*networks} <= {n["name"] for n in self.networks()},
            f"{', '.join(networks)} are known by name",
        )

    def wait_until_empty(self, *, deadline_s: float = 10.0) -> None:
        eventually(
            lambda: not self.leftovers(),
            "nothing of pynet is left",
            deadline_s=deadline_s,
            detail=lambda: "\n".join(self.leftovers()),
        )

    def verify(self) -> None:
        """Have pynet compare the kernel with its plan."""
        self.pynet.pynet("verify")

    def set_resolver(self, *addresses: object) -> None:
        """Give the host resolvers; containers that are started from now on get them of it."""
        # It may be a link that leads out of the host.
        self.host.run(["rm", "-f", "/etc/resolv.conf"])
        lines = [f"nameserver {address}\n" for address in addresses]
        self.host.write_file("/etc/resolv.conf", "".join(lines))

    def links(self) -> set[str]:
        shown = self.host.run(["ip", "-json", "link", "show"]).stdout
        return {link["ifname"] for link in json.loads(shown)}

    def picture(self) -> list[str]:
        """What a daemon that ended may not have changed: links, sets and foreign rules.

        The link for the host's own questions is there while a daemon runs.
        """
        expected = {RESOLVER_LINK} if self.pynet.is_running else set()
        facts = [f"link {name}" for name in sorted(self.links() - expected)]
        facts += self.host.run(["ipset", "list", "-name"]).stdout.splitlines()
        return facts + self.foreign_rules() + self.our_rules()

    def add_strange_rules(self) -> None:
        """Add rules that are neither Docker's nor pynet's, as an operator has them."""
        for command in ("iptables", "ip6tables"):
            for chain in ("FORWARD", "INPUT"):
                rule = ("-m", "comment", "--comment", "stranger", "-j", "RETURN")
                self.host.run([command, "-A", chain, *rule])

    def foreign_rules(self) -> list[str]:
        """The rules that are neither Docker's nor ours, as iptables-save prints them."""
        return [line for line in self._rules() if not NOT_FOREIGN.search(line)]

    def our_rules(self) -> list[str]:
        return [line for line in self._rules() if "PYNET" in line]

    def _rules(self) -> Iterator[str]:
        """Yield every rule with its table, as iptables-save prints it."""
        for command in ("iptables-save", "ip6tables-save"):
            table = ""
            for line in self.host.saved_rules(command).splitlines():
                if line.startswith("*"):
                    table = line
                elif line.startswith("-A"):
                    yield f"{command} {table} {line}"

    def _entry(self, box: str) -> Sequence[str]:
        return ("nsenter", "--target", str(self.inspect(box)["State"]["Pid"]), "--net")


def sent_and_received(sender: Process) -> tuple[int, int]:
    """End a ping and return its own count."""
    sender.signal(signal.SIGINT)
    sender.wait()
    found = re.search(r"(\d+) packets transmitted, (\d+) received", sender.output())
    assert found, sender.output()
    return int(found[1]), int(found[2])


@pytest.fixture
def underlay(lab: Lab) -> Underlay:
    """The LAN, where nobody remembers whose an address was before."""
    lab.underlay.forget_neighbours()
    return lab.underlay


@pytest.fixture
def narrow_uplink(world: World) -> Iterator[None]:
    """The host's uplink carries 1400 bytes."""
    uplink = world.host.uplink
    world.host.run(["ip", "link", "set", uplink, "mtu", str(NARROW_BYTES)])
    yield
    world.host.run(["ip", "link", "set", uplink, "mtu", "1500"])


@pytest.fixture(scope="module")
def clean_world(engine_host: EngineHost) -> Iterator[World]:
    """A world for all tests of a module, with a proof behind them that nothing is left."""
    world = World(engine_host)
    world.add_strange_rules()
    before = world.picture()
    yield world
    world.revive()
    world.clear()
    world.wait_until_empty(deadline_s=FORGOTTEN_DEADLINE_S)
    world.pynet.stop()
    assert world.picture() == before


@pytest.fixture
def world(clean_world: World) -> Iterator[World]:
    """The module's world, without containers and networks after each test."""
    yield clean_world
    clean_world.revive()
    clean_world.clear()


@pytest.fixture(scope="module")
def upstream(clean_world: World, lab: Lab) -> Iterator[Upstream]:
    """A DNS server on the underlay that is the resolver of the module's host."""
    skip_without("dnsmasq")
    server = Upstream(lab.underlay, lab.underlay.gateway_v4)
    clean_world.set_resolver(server.address)
    yield server
    server.stop()


@pytest.fixture(params=[PYNET_IPAM, ()], ids=["pynet-ipam", "docker-ipam"])
def ipam(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The words that give a network addresses from pynet, or from Docker."""
    words: tuple[str, ...] = request.param
    return words


@pytest.fixture
def project(world: World) -> Iterator[Path]:
    """A folder for docker-compose, inside the host."""
    yield Path("/run/project")
    world.engine.compose(Path("/run/project"), "down", "--timeout", "1", check=False)
