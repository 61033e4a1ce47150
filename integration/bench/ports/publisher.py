"""A host of one side, with its engine, the ports it publishes, and what is timed on them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from integration.bench import daemon
from integration.bench.api import Api
from integration.bench.links import Links
from integration.bench.measure import in_turn
from integration.bench.operations import IMAGE, PAUSE_S, PYNET, SLEEP, Side
from integration.bench.ports import client, rules, server
from integration.bench.ports.figures import Burst, Met, Pair, Way, burst
from integration.bench.ports.stopwatch import stopwatch
from integration.lab import Daemon, Engine, Lab, eventually

PER_CONTAINER = 100
OTHER = 20000  # the first of the other ports; all ports lie below net.ipv4.ip_local_port_range
ASKED, SERVED = 8080, 80
TIMED = 9090
BURST_S = 0.15

NETWORK = "home"
_PLAIN, _PUBLISHED = "plain", "published"

Ports = Mapping[int, int]
"""Ports of a container by port of the host."""

_KINDS: tuple[tuple[str, Ports], ...] = ((_PLAIN, {}), (_PUBLISHED, {TIMED: SERVED}))


class Publisher:
    """One side beside a number of other published ports, on a host that nothing else uses."""

    def __init__(self, lab: Lab, side: Side, others: int, *, engine_flags: Iterable[str]) -> None:
        self.side = side
        self.others = others
        self.host = lab.host()
        self.engine = Engine(self.host, flags=tuple(engine_flags))
        self.engine.start()
        self.engine.image(IMAGE)
        self.daemon: Daemon | None = None
        if side is PYNET:
            self.daemon = Daemon(self.host)
            daemon.start(self.daemon)
        self.api = Api(self.engine.socket)
        self._links = Links(self.host)
        self._asked = ""
        self._timed: dict[str, str] = {}
        wish = {"Name": NETWORK, "Driver": side.driver, "IPAM": {"Driver": side.ipam}}
        self.network = str(self.api.ask("POST", "/networks/create", wish)["Id"])

    def close(self) -> None:
        """Let go of the host; the lab ends what runs in it."""
        self._links.close()
        self.api.close()

    def fill(self) -> float:
        """Publish the other ports, and return the seconds that it took."""
        begin = time.perf_counter()
        for first in range(OTHER, OTHER + self.others, PER_CONTAINER):
            last = min(first + PER_CONTAINER, OTHER + self.others)
            self.start_container(f"other{first}", {port: port for port in range(first, last)})
        return time.perf_counter() - begin

    def serve(self) -> None:
        """Publish the port that is asked, and serve connections to it."""
        self._asked = self.start_container("asked", {ASKED: SERVED})
        argv = [sys.executable, "-I", str(Path(server.__file__)), str(SERVED)]
        process = self.host.popen([*self._entry(), *argv], log="server")
        eventually(process.output, "the server listens", detail=process.tail)

    def connect(self) -> Burst:
        """Make connections to the port for a moment."""
        self.host.run(["conntrack", "-F"])
        told = json.loads(self._client("rate", str(BURST_S)))
        return burst(self.side.name, self.others, told["per_second"], told["took_us"])

    def first_packet(self) -> Met:
        """Tell which rules the first packet of a connection meets.

        Raises:
            NeverHappened: other packets went through the host each time.
            LookupError: the packet was not translated to the container.
        """
        with self._unanswered():
            chains = eventually(self._one_syn, f"{self.host.name} is idle")
        return Met(side=self.side.name, others=self.others, chains=chains)

    def time_starts(self, run: int) -> Pair:
        """Start a container with a port and one without; every other run begins with the port."""
        took = {}
        for kind, ports in in_turn(_KINDS, run):
            took[kind] = self.time_start(ports)
        return self._pair(Way.START, took)

    def time_start(self, ports: Ports, host_ip: str = "") -> float:
        """Return the ms that a container with these ports takes to start; it is removed again."""
        container = self._make_container("timed", ports, host_ip)
        before = self._links.names()
        time.sleep(PAUSE_S)
        with stopwatch() as watch:
            self._start(container)
        link = self._links.names() - before
        self.remove_container(container)
        self._links.wait_until_gone(link)
        return watch.ms

    def make_ready_to_connect(self) -> None:
        """Start a container with a port and one without, and take both off the network."""
        for kind, ports in _KINDS:
            self._timed[kind] = self.start_container(f"timed-{kind}", ports)
            self._ask_network("disconnect", self._timed[kind])

    def time_connects(self, run: int) -> Pair:
        """Connect both to the network, in turns as `time_starts`; none stays on it."""
        took = {}
        for kind, _ in in_turn(_KINDS, run):
            before = self._links.names()
            time.sleep(PAUSE_S)
            with stopwatch() as watch:
                self._ask_network("connect", self._timed[kind])
            took[kind] = watch.ms
            link = self._links.names() - before
            self._ask_network("disconnect", self._timed[kind])
            self._links.wait_until_gone(link)
        return self._pair(Way.CONNECT, took)

    def start_container(self, name: str, ports: Ports) -> str:
        container = self._make_container(name, ports)
        self._start(container)
        return container

    def remove_container(self, container: str) -> None:
        self.api.ask("DELETE", f"/containers/{container}?force=1")

    def inspect(self, container: str) -> Any:
        return self.api.ask("GET", f"/containers/{container}/json")

    def rules_and_elements(self) -> tuple[int, int]:
        """Return how many rules and elements of sets there are for IPv4."""
        sets = self.host.run(["ipset", "save"]).stdout
        return rules.rules_and_elements(self._iptables(), sets, self._nft())

    def _make_container(self, name: str, ports: Ports, host_ip: str = "") -> str:
        bindings: dict[str, list[dict[str, str]]] = {}
        for outer, inner in ports.items():
            binding = {"HostIp": host_ip, "HostPort": str(outer)}
            bindings.setdefault(f"{inner}/tcp", []).append(binding)
        wish = {
            "Image": IMAGE,
            "Cmd": SLEEP,
            "ExposedPorts": {port: {} for port in bindings},
            "HostConfig": {"NetworkMode": NETWORK, "PortBindings": bindings},
        }
        return str(self.api.ask("POST", f"/containers/create?name={name}", wish)["Id"])

    def _pair(self, way: Way, took: Mapping[str, float]) -> Pair:
        return Pair(
            side=self.side.name,
            others=self.others,
            way=way,
            plain_ms=took[_PLAIN],
            published_ms=took[_PUBLISHED],
        )

    def _ask_network(self, action: str, container: str) -> None:
        self.api.ask("POST", f"/networks/{NETWORK}/{action}", {"Container": container})

    def _start(self, container: str) -> None:
        self.api.ask("POST", f"/containers/{container}/start")

    def _entry(self) -> tuple[str, ...]:
        """Return the words before a command, run on the host, that is to have the server's net."""
        pid = self.inspect(self._asked)["State"]["Pid"]
        return ("nsenter", "--target", str(pid), "--net")

    def _client(self, verb: str, *more: str) -> str:
        path, address = str(Path(client.__file__)), str(self.host.v4.ip)
        argv = [sys.executable, "-I", path, verb, address, str(ASKED), *more]
        return self.host.underlay.run(argv).stdout

    @contextmanager
    def _unanswered(self) -> Iterator[None]:
        """Let packets come in that nothing is answered to, not even by a refusal."""
        route = ("blackhole", f"{self.host.underlay.gateway_v4}/32")
        self.host.run([*self._entry(), "ip", "route", "add", *route])
        yield
        self.host.run([*self._entry(), "ip", "route", "del", *route])

    def _one_syn(self) -> dict[str, int] | None:
        """Return the rules that one packet met, None if there were others."""
        self.host.run(["conntrack", "-F"])
        before = self._iptables()
        self._client("syn")
        after = self._iptables()
        tracked = self.host.run(["conntrack", "-L", "-p", "tcp", "--dport", str(ASKED)]).stdout
        address = self.inspect(self._asked)["NetworkSettings"]["Networks"][NETWORK]["IPAddress"]
        if f"src={address} " not in tracked:
            raise LookupError(f"not translated to {address}: {tracked}")
        try:
            return {**rules.traversed(before, after), **rules.native(self._nft(), after)}
        except rules.NotIdle:
            return None

    def _iptables(self) -> rules.Tables:
        return rules.parse(self.host.run(["iptables-save", "-c"]).stdout)

    def _nft(self) -> str:
        return self.host.run(["nft", "--json", "list", "ruleset"]).stdout
