"""Networks, endpoints with published ports and a LAN, planned by the driver, for packets to cross.

The host is the namespace of the process; each sandbox and the LAN's other host have one of theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path

from drivers.bridge import BridgeDriver
from integration.lab import talk
from integration.lab.namespace import Namespace
from integration.lab.process import Completed, Process, run
from integration.lab.waiting import eventually
from netplug.kernel.linux import LinuxKernel
from netplug.model import Endpoint, EndpointId, Network, PortMapping
from netplug.plan.diff import diff
from netplug.plan.objects import Bridge, KernelObject, SandboxLink
from netplug.service.endpoints import mac_for
from tests.drivers.networks import NOON, network, view

HOST = "host"
LAN = "lan"
LAN_ADDRESS, HOST_ADDRESS = "192.0.2.9", "192.0.2.1"
_DRIVER = BridgeDriver()
_ROUTER = ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
_NO_WAITING = ("net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")


class World:
    """What is planned is in the kernel after `converge`."""

    def __init__(self, kernel: LinuxKernel, folder: Path, stack: ExitStack) -> None:
        self.kernel = kernel
        self.filters_bridged = Path("/proc/sys/net/bridge").exists()
        self.networks: dict[str, Network] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self._folder = folder
        self._stack = stack
        self._spaces: dict[str, Namespace] = {}
        run(["sysctl", "-qw", *_ROUTER, *_NO_WAITING])

    def filter_bridged(self, is_on: bool) -> None:
        """Have the kernel show bridged packets to iptables, or not, as without Docker."""
        self.filters_bridged = is_on
        for family in ("iptables", "ip6tables"):
            run(["sysctl", "-qw", f"net.bridge.bridge-nf-call-{family}={int(is_on)}"])

    def network(self, name: str, number: int, **options: str) -> None:
        """Plan 10.9n.0.0/24 and fd9n::/64."""
        made = network(
            f"10.9{number}.0.1/24", f"fd9{number}::1/64", number=number, options=dict(options)
        )
        self.networks[name] = replace(made, name=name)

    def endpoint(
        self, name: str, on: str, host: int, *, sandbox: str = "", **options: str
    ) -> Endpoint:
        """Plan an endpoint with the addresses of that number, in a sandbox of the same name."""
        subnets = [s.pool for s in self.networks[on].subnets]
        addresses = tuple(ip_interface(f"{s[host]}/{s.prefixlen}") for s in subnets)
        number = len(self.endpoints)
        endpoint_id = EndpointId(f"{number:x}{on}".ljust(64, "e"))
        box = sandbox or name
        beside = [e for e in self.endpoints.values() if e.name == box]
        self.endpoints[name] = Endpoint(
            id=endpoint_id,
            network_id=self.networks[on].id,
            name=box,
            mac=mac_for(addresses, endpoint_id),
            addresses=addresses,
            options=tuple(options.items()),
            sandbox=f"/proc/{self._space(box).pid}/ns/net",
            interface=f"eth{len(beside)}",
            created_at=NOON,
        )
        return self.endpoints[name]

    def publish(self, name: str, *mappings: PortMapping) -> None:
        """Plan the published ports of an endpoint."""
        self.endpoints[name] = replace(self.endpoints[name], ports=mappings)

    def peer(self, *names: str) -> None:
        """Plan networks as each other's peers."""
        for name in names:
            others = tuple(self.networks[n].id for n in names if n != name)
            self.networks[name] = replace(self.networks[name], peers=others)

    def part(self, *names: str) -> None:
        """Plan networks without peers."""
        for name in names:
            self.networks[name] = replace(self.networks[name], peers=())

    async def converge(self) -> None:
        """Make the kernel hold what is planned, and nothing else."""
        records = (*self.networks.values(), *self.endpoints.values())
        known = view(*records, filters_bridged=self.filters_bridged)
        wanted: set[KernelObject] = set()
        for on in self.networks.values():
            wanted |= _DRIVER.plan_network(on, known)
        for endpoint in self.endpoints.values():
            on = known.networks[endpoint.network_id]
            wanted |= {_first_way_out(o) for o in _DRIVER.plan_endpoint(endpoint, on, known)}
        for step in diff(wanted, await self.kernel.inventory(wanted)).steps:
            await self.kernel.apply(step)
        await self.kernel.settle()

    def lan(self) -> None:
        """Make another host, at 192.0.2.9, that sends to our networks by this one."""
        space = self._space(LAN)
        run(
            ["ip", "link", "add", "up0", "type", "veth", "peer", "eth0", "netns", str(space.pid)],
        )
        run(["ip", "link", "set", "up0", "up"])
        run(["ip", "address", "add", f"{HOST_ADDRESS}/24", "dev", "up0"])
        run(["ip", "address", "add", "2001:db8::1/64", "dev", "up0"])
        for words in (
            "link set eth0 up",
            f"address add {LAN_ADDRESS}/24 dev eth0",
            "address add 2001:db8::9/64 dev eth0",
            f"route add default via {HOST_ADDRESS}",
        ):
            run(["ip", *words.split()], prefix=space.entry)

    def serve(self, box: str, *ports: str) -> Process:
        """Start a server in a sandbox; it prints a line for whatever reaches it."""
        log = self._folder / f"server-{box}"
        serving = self._space(box).popen(talk.server(box, ports), log=log)
        eventually(lambda: talk.LISTENING in serving.output(), f"{box} listens")
        return serving

    def flow(self, box: str, question: talk.Question, every_s: float) -> Process:
        """Start to ask again and again."""
        log = self._folder / f"flow-{box}-{question}".replace(" ", "-")
        return self._space(box).popen(talk.flow(question, every_s), log=log)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something while the loop goes on."""
        await asyncio.to_thread(eventually, condition, what)

    def run_in(self, box: str) -> Callable[..., Completed]:
        """Return what runs a command in a sandbox, on the LAN or on the host."""
        prefix: Sequence[str] = () if box == HOST else self._space(box).entry

        def run_there(
            argv: Sequence[str], *, stdin: str | None = None, check: bool = True
        ) -> Completed:
            return run(argv, prefix=prefix, stdin=stdin, check=check)

        return run_there

    async def misheard(self, box: str, expected: talk.Expected) -> str:
        """Ask from a sandbox; return a line for each that is not answered as expected.

        The loop goes on: it speaks to the relay.
        """
        return await asyncio.to_thread(talk.misheard, self.run_in(box), expected)

    async def client_seen(self, box: str, question: talk.Question) -> str:
        """Return the address that the server saw who was asked from a sandbox."""
        asked = {question: "somebody"}
        (answer,) = (await asyncio.to_thread(talk.ask, self.run_in(box), asked)).values()
        return answer.client if answer else talk.NOBODY

    def bridge(self, name: str) -> Bridge:
        """Return the bridge of a network."""
        planned = _DRIVER.plan_network(self.networks[name], view())
        return next(o for o in planned if isinstance(o, Bridge))

    def _space(self, name: str) -> Namespace:
        if name not in self._spaces:
            space = Namespace(name, log=self._folder / f"namespace-{name}")
            self._stack.callback(space.close)
            run(["sysctl", "-qw", *_NO_WAITING], prefix=space.entry)
            self._spaces[name] = space
        return self._spaces[name]


def _first_way_out(obj: KernelObject) -> KernelObject:
    """Leave the default route to the first interface of a sandbox, as dockerd does."""
    is_second = isinstance(obj, SandboxLink) and obj.name != "eth0"
    return replace(obj, gateways=()) if is_second and isinstance(obj, SandboxLink) else obj
