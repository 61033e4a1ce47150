"""The operations: what is asked of the engine for each, and what of it is timed.

The engine is asked over its API: the time is its own, not that of a command line starting.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from integration.bench.api import Api
from integration.bench.links import Links
from integration.bench.measure import Operation, Sample, in_turn

IMAGE = "pynet-box"
SLEEP = ["sleep", "3600"]

# An event of the engine makes pynet ask it back, when 0.1 s have passed without a further event.
# That is over before the next timing begins.
PAUSE_S = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A driver, and the subnets of its filler: outside of everything chosen automatically.

    `subnet` is that of the network that stays, with the first address as its gateway; without one
    it is chosen automatically. `options` are those of every network.
    """

    name: str
    driver: str
    ipam: str
    filler: IPv4Network
    subnet: IPv4Network | None = None
    options: Mapping[str, str] = field(default_factory=dict)


PYNET = Side(name="pynet", driver="pynet", ipam="pynet", filler=IPv4Network("10.2.0.0/16"))
DOCKER = Side(name="docker", driver="bridge", ipam="default", filler=IPv4Network("10.1.0.0/16"))


class Contestant:
    """One side: a network that stays, with a container on it, and what is timed beside it."""

    def __init__(self, side: Side, api: Api, links: Links) -> None:
        self.side = side
        self.fillers = 0
        self.samples: list[Sample] = []
        self._api = api
        self._links = links
        self._filler = side.filler.subnets(new_prefix=28)
        self._home = self._make_network("home", side.subnet)
        self._runner = self._make_container("runner")
        self._start(self._runner)
        self._bridge: frozenset[str] = frozenset()
        self._port: frozenset[str] = frozenset()
        self._size = 0

    def grow(self, size: int, limit: int) -> None:
        """Make networks until there are `size` beside the one that stays, `limit` at most."""
        self._size = size
        while self.fillers < min(size, limit):
            self._make_network(f"filler{self.fillers}", next(self._filler))
            self.fillers += 1

    def create(self) -> None:
        before = self._links.names()
        with self._timed(Operation.NETWORK_CREATE):
            self._make_network("timed")
        self._bridge = self._links.names() - before

    def connect(self) -> None:
        before = self._links.names()
        with self._timed(Operation.CONNECT):
            self._ask_for_runner("connect")
        self._port = self._links.names() - before

    def disconnect(self) -> None:
        with self._timed(Operation.DISCONNECT_GONE):
            with self._timed(Operation.DISCONNECT):
                self._api.ask(
                    "POST", f"{self._timed_network}/disconnect", {"Container": self._runner}
                )
            self._links.wait_until_gone(self._port)

    def remove(self) -> None:
        with self._timed(Operation.NETWORK_RM_GONE):
            with self._timed(Operation.NETWORK_RM):
                self._api.ask("DELETE", self._timed_network)
            self._links.wait_until_gone(self._bridge)

    def start(self) -> None:
        container = self._make_container("timed")
        before = self._links.names()
        time.sleep(PAUSE_S)
        with self._timed(Operation.START):
            self._start(container)
        port = self._links.names() - before
        self._api.ask("DELETE", f"/containers/{container}?force=1")
        self._links.wait_until_gone(port)

    def _ask_for_runner(self, action: str) -> None:
        self._api.ask("POST", f"{self._timed_network}/{action}", {"Container": self._runner})

    @property
    def _timed_network(self) -> str:
        return f"/networks/{self._name('timed')}"

    def _name(self, role: str) -> str:
        return f"{self.side.name}-{role}"

    def _make_network(self, role: str, subnet: IPv4Network | None = None) -> str:
        configuration = [{"Subnet": str(subnet), "Gateway": str(subnet[1])}] if subnet else []
        wish = {
            "Name": self._name(role),
            "Driver": self.side.driver,
            "IPAM": {"Driver": self.side.ipam, "Config": configuration},
            "Options": self.side.options,
        }
        return str(self._api.ask("POST", "/networks/create", wish)["Id"])

    def _make_container(self, role: str) -> str:
        wish = {"Image": IMAGE, "Cmd": SLEEP, "HostConfig": {"NetworkMode": self._home}}
        target = f"/containers/create?name={self._name(role)}"
        return str(self._api.ask("POST", target, wish)["Id"])

    def _start(self, container: str) -> None:
        self._api.ask("POST", f"/containers/{container}/start")

    @contextmanager
    def _timed(self, operation: Operation) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        ms = (time.perf_counter() - begin) * 1000
        sample = Sample(size=self._size, side=self.side.name, operation=operation, ms=ms)
        self.samples.append(sample)


STEPS = (
    Contestant.create,
    Contestant.connect,
    Contestant.disconnect,
    Contestant.remove,
    Contestant.start,
)


def take_turns(contestants: list[Contestant], run: int) -> None:
    """Time every operation once on each side, the kernel and both daemons at rest in between."""
    for step in STEPS:
        for contestant in in_turn(contestants, run):
            time.sleep(PAUSE_S)
            step(contestant)
