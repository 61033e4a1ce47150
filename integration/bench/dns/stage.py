"""The host that all is measured on: two networks with equally many names, and who asks there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from integration.bench import daemon
from integration.bench.api import Api
from integration.bench.dns import dnsperf
from integration.bench.dns.dnsperf import Perf
from integration.bench.dns.figures import Server
from integration.bench.operations import DOCKER, IMAGE, PYNET, SLEEP, Side
from integration.lab import Daemon, Engine, Lab, Process, dns_client, eventually
from integration.lab.dns_client import RESOLVER, Question, Reply
from integration.lab.upstream import Upstream

BOXES = 10
ALIASES = 9
PROBE = "box0"

DOCKER_TTL_S = 600
DNSMASQ = "127.0.0.1"
FOLDER = "/run/bench"
KNOWN = f"{FOLDER}/known"
SEEN_S = 30.0

_HOSTS = f"{FOLDER}/hosts"
_SIDES = {Server.PYNET: PYNET, Server.DOCKER: DOCKER}


class Stage:
    """A host whose containers, and those alone, are asked and ask."""

    def __init__(self, lab: Lab) -> None:
        self.host = lab.host()
        self.engine = Engine(self.host)
        self.daemon = Daemon(self.host)
        gateway = lab.underlay.gateway_v4
        self.upstream = Upstream(lab.underlay, gateway, is_quiet=True)
        # It may be a link that leads out of the host.
        self.host.run(["rm", "-f", "/etc/resolv.conf"])
        self.host.write_file("/etc/resolv.conf", f"nameserver {gateway}\n")
        self.engine.start()
        self.engine.image(IMAGE)
        daemon.start(self.daemon)
        self.api = Api(self.engine.socket)
        self.networks = {server: self._make_network(side) for server, side in _SIDES.items()}
        self._entries: dict[str, tuple[str, ...]] = {}
        for server in _SIDES:
            for number in range(BOXES):
                self.start_box(server, f"box{number}", _aliases(number))
            self.start_box(server, "asker", [])
        self.host.write_file(KNOWN, "".join(f"{name} A\n" for name in names()))
        self._dnsmasq = self._start_dnsmasq()

    def close(self) -> None:
        """Let go of the host; the lab ends what runs in it."""
        self.api.close()
        self.upstream.stop()

    def check(self) -> None:
        """Prove that each server is who it should be.

        Raises:
            NeverHappened: one is not, or does not know the names.
        """
        for server in Server:
            last = names()[-1]
            eventually(
                lambda s=server, name=last: is_from(s, self.ask(s, name)),  # type: ignore[misc]
                f"{server} answers",
                deadline_s=SEEN_S,
                detail=lambda s=server, name=last: str(self.ask(s, name)),  # type: ignore[misc]
            )

    def ask(self, server: Server, name: str) -> Reply | None:
        """Ask a server one question, where it is asked all others."""
        question = Question(name, server=address(server))
        (reply,) = dns_client.ask(
            lambda argv, *, stdin: self.host.run([*self.entry(server), *argv], stdin=stdin),
            question,
        )
        return reply

    def flat_out(self, server: Server, file: str, seconds: float) -> Perf:
        return self._perf(server, dnsperf.flat_out(address(server), file, seconds))

    def at_rate(
        self, server: Server, file: str, seconds: float, per_second: int, asker: str = "asker"
    ) -> Perf:
        command = dnsperf.at_rate(address(server), file, seconds, per_second)
        return self._perf(server, command, asker)

    @contextmanager
    def flood(self, server: Server, file: str, seconds: float) -> Iterator[None]:
        """Have a container ask as fast as it can, for that time at the most."""
        command = dnsperf.flat_out(address(server), file, seconds, under_way=1000)
        with self.popen(server, command, log=f"flood-{server}"):
            yield

    def popen(
        self, server: Server, argv: Sequence[str], *, log: str, asker: str = "asker"
    ) -> Process:
        """Start a program in the network of a container that asks a server."""
        return self.host.popen([*self.entry(server, asker), *argv], log=log)

    def start_box(self, server: Server, role: str, aliases: Sequence[str]) -> str:
        """Start a container on the network of a server's side."""
        side = _SIDES[server]
        network = f"{side.name}-home"
        wish = {
            "Image": IMAGE,
            "Cmd": SLEEP,
            "HostConfig": {"NetworkMode": network},
            "NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": [role, *aliases]}}},
        }
        target = f"/containers/create?name={side.name}-{role}"
        box = str(self.api.ask("POST", target, wish)["Id"])
        self.api.ask("POST", f"/containers/{box}/start")
        return box

    def entry(self, server: Server, role: str = "asker") -> tuple[str, ...]:
        """Return the words before a command that is to have the network of a container."""
        side = _SIDES[Server.DOCKER if server is Server.DOCKER else Server.PYNET]
        name = f"{side.name}-{role}"
        if name not in self._entries:
            pid = self.api.ask("GET", f"/containers/{name}/json")["State"]["Pid"]
            self._entries[name] = ("nsenter", "--target", str(pid), "--net")
        return self._entries[name]

    def _perf(self, server: Server, command: Sequence[str], asker: str = "asker") -> Perf:
        return dnsperf.parse(self.host.run([*self.entry(server, asker), *command]).stdout)

    def _make_network(self, side: Side) -> str:
        wish = {"Name": f"{side.name}-home", "Driver": side.driver, "IPAM": {"Driver": side.ipam}}
        return str(self.api.ask("POST", "/networks/create", wish)["Id"])

    def _start_dnsmasq(self) -> Process:
        found = self.api.ask("GET", f"/networks/{self.networks[Server.PYNET]}")["Containers"]
        addresses = {box["Name"]: box["IPv4Address"].partition("/")[0] for box in found.values()}
        lines = [
            f"{addresses[f'{PYNET.name}-box{number}']} {name}\n"
            for number in range(BOXES)
            for name in (f"box{number}", *_aliases(number))
        ]
        self.host.write_file(_HOSTS, "".join(lines))
        argv = ["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-hosts", "--no-resolv"]
        argv += [f"--addn-hosts={_HOSTS}", f"--listen-address={DNSMASQ}", "--bind-interfaces"]
        return self.popen(Server.DNSMASQ, [*argv, "--local-ttl=5"], log="dnsmasq")


def names() -> list[str]:
    """Return the names that both sides have."""
    return [name for n in range(BOXES) for name in (f"box{n}", *_aliases(n))]


def address(server: Server) -> str:
    return DNSMASQ if server is Server.DNSMASQ else RESOLVER


def is_from(server: Server, reply: Reply | None) -> bool:
    """Tell whether an answer, if there is one, can be a server's."""
    if reply is None or not reply.values:
        return False
    return (reply.ttls == {DOCKER_TTL_S}) == (server is Server.DOCKER)


def _aliases(number: int) -> list[str]:
    return [f"alias{alias}-of-box{number}" for alias in range(ALIASES)]
