"""The daemon's side of the DNS against the real kernel, with the resolver as a process.

Each test runs in a network namespace of its own, which this process enters with its main thread:
it is the host. Sandboxes are namespaces that this process holds by a descriptor.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import pytest

from integration.lab import probes
from integration.lab.process import run
from netplug.contract.names import Change, ClientKind, NameClient, NamedEndpoint, NamedNetwork
from netplug.kernel import netns
from netplug.kernel.firewall import netfilter, overlay
from netplug.kernel.linux import LinuxKernel
from netplug.kernel.resolver import Resolver
from netplug.kernel.worker import Process, starter
from netplug.model import EndpointId, NetworkId
from netplug.plan.diff import diff
from netplug.plan.objects import Firewall
from netplug.plan.resolverlink import RESOLVER_LINK, plan_resolver_link
from netplug.settings import HOST_RESOLVER

NETWORK = NetworkId("n1")
OURS = "10.9.0.2"
DOCKERS = "192.0.2.99"
_DOCKER_PORT = 40053
_CLONE_NEWNET = 0x40000000  # linux/sched.h
_MS_BIND, _MNT_DETACH = 0x1000, 2  # linux/mount.h
_FALL_BACK_S = 12.0
_MANY = 1000
_MANY_S = 15.0  # 1.3 to 3.8 s measured; 5 s is the goal, and a busy machine no reason to fail

NAMES = Change(
    puts=(
        NamedNetwork(id=NETWORK, name="front", subnets=(ip_network("10.9.0.0/24"),)),
        NamedEndpoint(
            id=EndpointId("e1"),
            network_id=NETWORK,
            label="web",
            names=("web",),
            addresses=(ip_address(OURS),),
        ),
    )
)

pytestmark = [
    pytest.mark.needs(*probes.OF_A_LAB, "nftables", "iptables"),
    pytest.mark.usefixtures("network"),
]


class Processes:
    """Starts the resolver as the daemon does, and knows the process; `are_over` starts no more."""

    def __init__(self) -> None:
        self.pids: list[int] = []
        self.are_over = False
        self._start = starter("netplug.dns", "dns")

    async def start(self, fd: int) -> Process:
        if self.are_over:
            await asyncio.Event().wait()
        process = await self._start(fd)
        self.pids.append(process.pid)  # type: ignore[attr-defined]
        return process

    def kill(self) -> None:
        os.kill(self.pids[-1], signal.SIGKILL)

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pids[-1]}/fd"))


@pytest.fixture
def processes() -> Processes:
    return Processes()


@pytest.fixture
def sandbox(network: None) -> Iterator[str]:
    """The path of a namespace in which Docker's resolver is played."""
    with sandboxes(1) as (path,), docker_resolver(path):
        yield path


@pytest.fixture
async def resolver(network: None, processes: Processes) -> AsyncIterator[Resolver]:
    async with running(processes) as resolver:
        yield resolver


@asynccontextmanager
async def running(processes: Processes, *, is_stop: bool = True) -> AsyncIterator[Resolver]:
    resolver = Resolver(start=processes.start)
    resolver.change(NAMES)
    await resolver.open()
    try:
        yield resolver
    finally:
        await resolver.close(is_stop=is_stop)


@contextmanager
def sandboxes(count: int) -> Iterator[list[str]]:
    """Namespaces without links but loopback, by their paths."""
    with ExitStack() as held:
        paths = []
        for _ in range(count):
            fd = on_a_thread(new_namespace)
            held.callback(os.close, fd)
            paths.append(f"/proc/{os.getpid()}/fd/{fd}")
        yield paths


def new_namespace() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def on_a_thread(work: Callable[[], int]) -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


@contextmanager
def docker_resolver(path: str) -> Iterator[None]:
    """What dockerd has in a sandbox: sockets at 127.0.0.11, and rules that lead port 53 to them."""
    inside = ["nsenter", f"--net={path}"]
    run([*inside, "ip", "link", "set", "lo", "up"])
    for protocol in ("udp", "tcp"):
        rule = f"-t nat -A OUTPUT -d 127.0.0.11 -p {protocol} --dport 53 -j DNAT"
        run([*inside, "iptables", *rule.split(), "--to", f"127.0.0.11:{_DOCKER_PORT}"])

    def sockets() -> tuple[socket.socket, socket.socket]:
        libc = ctypes.CDLL(None, use_errno=True)
        with open(path, "rb") as namespace:
            libc.setns(namespace.fileno(), _CLONE_NEWNET)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.11", _DOCKER_PORT))
        tcp = socket.create_server(("127.0.0.11", _DOCKER_PORT))
        return udp, tcp

    found: list[tuple[socket.socket, socket.socket]] = []
    opener = threading.Thread(target=lambda: found.append(sockets()))
    opener.start()
    opener.join()
    ((udp, tcp),) = found
    servers = [threading.Thread(target=answer_udp, args=(udp,))]
    servers.append(threading.Thread(target=answer_tcp, args=(tcp,)))
    for server in servers:
        server.start()
    try:
        yield
    finally:
        for sock in (udp, tcp):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for server in servers:
            server.join()


def dockers_answer(query: bytes) -> bytes:
    reply = dns.message.make_response(dns.message.from_wire(query))
    reply.answer.append(dns.rrset.from_text(reply.question[0].name, 600, "IN", "A", DOCKERS))
    return reply.to_wire()


def answer_udp(sock: socket.socket) -> None:
    with suppress(OSError):
        while True:
            query, asker = sock.recvfrom(4096)
            if not query:
                return
            sock.sendto(dockers_answer(query), asker)


def answer_tcp(sock: socket.socket) -> None:
    with suppress(OSError):
        while True:
            connection, _ = sock.accept()
            with connection:
                size = int.from_bytes(connection.recv(2))
                reply = dockers_answer(connection.recv(size))
                connection.sendall(len(reply).to_bytes(2) + reply)


def client_of(path: str, number: int = 1) -> NameClient:
    return NameClient(
        id=f"c{number}",
        kind=ClientKind.OVERLAY,
        label=f"box{number}",
        network_ids=(NETWORK,),
        netns=path,
    )


async def served(resolver: Resolver, count: int = 1) -> None:
    """Wait until the resolver's process has the sockets of so many clients."""
    while True:
        if not resolver.problems():
            with suppress(Exception):
                if len(await resolver.statistics()) == count:
                    return
        await asyncio.sleep(0.02)


async def problem_of(resolver: Resolver, client_id: str) -> str:
    """Return a client's problem, once the process runs and has none."""
    while True:
        found = {problem.client_id: problem.reason for problem in resolver.problems()}
        if "" not in found and client_id in found:
            return found[client_id]
        await asyncio.sleep(0.02)


async def until(claim: Callable[[], Awaitable[bool]], deadline_s: float) -> float:
    """Return after how many seconds a claim became true."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    async with asyncio.timeout(deadline_s):
        while not await claim():
            await asyncio.sleep(0.1)
    return loop.time() - began_s


def ask(
    name: str, server: str = "127.0.0.11", *, is_tcp: bool = False, deadline_s: float = 3
) -> str:
    query = dns.message.make_query(name, "A")
    how = dns.query.tcp if is_tcp else dns.query.udp
    reply = how(query, server, timeout=deadline_s)
    if not reply.answer:
        return dns.rcode.to_text(reply.rcode())
    return str(reply.answer[-1][0])


def table_ports() -> overlay.Ports | None:
    with netfilter.open_socket() as opened:
        return overlay.read(opened)


async def test_own_names_are_answered_and_all_others_by_docker(
    resolver: Resolver, sandbox: str
) -> None:
    resolver.serve(client_of(sandbox))
    await served(resolver)

    for is_tcp in (False, True):
        assert await netns.inside(sandbox, partial(ask, "web", is_tcp=is_tcp)) == OURS
        other = partial(ask, "elsewhere.example.", is_tcp=is_tcp)
        assert await netns.inside(sandbox, other) == DOCKERS
    found = await resolver.lookup("c1", "web", "A")
    assert (found.rcode, found.network_id) == ("NOERROR", NETWORK)
    assert (await resolver.statistics())["c1"].forwarded == 2


async def test_two_descriptors_a_sandbox_at_rest_and_none_of_the_daemons(
    resolver: Resolver, processes: Processes
) -> None:
    with sandboxes(20) as paths:
        await until(lambda: asyncio.sleep(0, result=bool(processes.pids)), 10)
        resolver.serve(client_of(paths[0], 0))
        await served(resolver)
        ours, theirs = len(os.listdir("/proc/self/fd")), processes.descriptors()

        for number, path in enumerate(paths[1:], 1):
            resolver.serve(client_of(path, number))
        await served(resolver, 20)

        assert len(os.listdir("/proc/self/fd")) == ours
        assert processes.descriptors() == theirs + 2 * 19


async def test_resolver_killed_is_off_by_itself_within_30_s(
    resolver: Resolver, sandbox: str, processes: Processes
) -> None:
    resolver.serve(client_of(sandbox))
    await served(resolver)
    processes.are_over = True

    processes.kill()

    async def is_dockers() -> bool:
        with suppress(OSError, dns.exception.Timeout):
            asked = partial(ask, "web", deadline_s=0.3)
            return await netns.inside(sandbox, asked) == DOCKERS
        return False

    print("fell back after", await until(is_dockers, _FALL_BACK_S), "s")


async def test_resolver_killed_is_replaced_on_the_same_ports(
    resolver: Resolver, sandbox: str, processes: Processes
) -> None:
    resolver.serve(client_of(sandbox))
    await served(resolver)
    before = await netns.inside(sandbox, table_ports)

    processes.kill()

    async def is_ours() -> bool:
        with suppress(OSError, dns.exception.Timeout):
            return await netns.inside(sandbox, partial(ask, "web")) == OURS
        return False

    await until(lambda: asyncio.sleep(0, result=len(processes.pids) == 2), 10)
    print("answers again after", await until(is_ours, 10), "s")
    assert await netns.inside(sandbox, table_ports) == before


async def test_restart_of_the_daemon_keeps_ports_and_clients_that_keep_their_socket(
    processes: Processes, sandbox: str
) -> None:
    asker = await netns.inside(sandbox, partial(socket.socket, socket.AF_INET, socket.SOCK_DGRAM))
    query = dns.message.make_query("web", "A")
    with asker:
        asker.settimeout(3)
        asker.connect(("127.0.0.11", 53))
        for is_stop in (False, True):
            async with running(processes, is_stop=is_stop) as resolver:
                resolver.serve(client_of(sandbox))
                await served(resolver)
                asker.send(query.to_wire())
                reply = dns.message.from_wire(await asyncio.to_thread(asker.recv, 4096))
                assert str(reply.answer[-1][0]) == OURS
                ports = await netns.inside(sandbox, table_ports)
                assert ports is not None
            assert await netns.inside(sandbox, table_ports) == (None if is_stop else ports)

        asker.send(query.to_wire())
        reply = dns.message.from_wire(await asyncio.to_thread(asker.recv, 4096))

    assert str(reply.answer[-1][0]) == DOCKERS


async def test_forgotten_sandbox_is_as_it_was(resolver: Resolver, sandbox: str) -> None:
    resolver.serve(client_of(sandbox))
    await served(resolver)
    await netns.inside(sandbox, partial(ask, "web"))

    resolver.forget("c1")

    async def is_dockers() -> bool:
        return await netns.inside(sandbox, partial(ask, "web")) == DOCKERS

    await until(is_dockers, 5)
    await served(resolver, 0)
    assert await netns.inside(sandbox, table_ports) is None


async def test_namespace_that_is_gone_is_nobodys_error(
    resolver: Resolver, caplog: pytest.LogCaptureFixture
) -> None:
    with sandboxes(1) as (path,):
        resolver.serve(client_of(path))
        await served(resolver)

    resolver.forget("c1")
    await served(resolver, 0)

    assert not caplog.records


async def test_namespace_that_is_mounted_later_is_served_at_once(
    resolver: Resolver, tmp_path: Path
) -> None:
    key = tmp_path / "1a2b3c"
    resolver.serve(client_of(str(key)))
    await problem_of(resolver, "c1")
    key.touch()
    await asyncio.sleep(0.05)
    reason = await problem_of(resolver, "c1")

    libc = ctypes.CDLL(None, use_errno=True)
    with sandboxes(1) as (path,), docker_resolver(path):
        began_s = asyncio.get_running_loop().time()
        assert not libc.mount(path.encode(), str(key).encode(), b"bind", _MS_BIND, None)
        try:
            await served(resolver)
            took_s = asyncio.get_running_loop().time() - began_s
            assert await netns.inside(path, partial(ask, "web")) == OURS
            resolver.forget("c1")
            await served(resolver, 0)
        finally:
            libc.umount2(str(key).encode(), _MNT_DETACH)
    print(f"served {took_s * 1000:.1f} ms after the mount")
    assert "is not there" in reason
    assert took_s < 0.5


async def test_namespace_without_docker_gets_port_53_itself(resolver: Resolver) -> None:
    with sandboxes(1) as (path,):
        resolver.serve(
            NameClient(
                id="own", kind=ClientKind.OWN, label="own", network_ids=(NETWORK,), netns=path
            )
        )
        await served(resolver)

        assert await netns.inside(path, partial(ask, "web")) == OURS
        assert await netns.inside(path, partial(ask, "web", is_tcp=True)) == OURS


async def test_hosts_own_namespace_is_refused(resolver: Resolver) -> None:
    resolver.serve(client_of("/proc/self/ns/net"))

    async def is_refused() -> bool:
        return "is the host's own" in await problem_of(resolver, "c1")

    await until(is_refused, 5)
    assert table_ports() is None


async def test_host_asks_at_an_address_on_a_bridge_without_ports(resolver: Resolver) -> None:
    kernel = LinuxKernel("0f3a")
    firewall = Firewall(has_ipv6=True, filters_bridged=False)
    planned = frozenset({firewall, *plan_resolver_link([HOST_RESOLVER, ip_address("fd00::53")])})
    await kernel.open()
    try:
        for step in diff(planned, await kernel.look(planned)).steps:
            await kernel.apply(step)
        assert not diff(planned, await kernel.look(planned)).steps
        assert not diff(planned, await kernel.inventory(planned)).steps
        listen = (HOST_RESOLVER, ip_address("fd00::53"))
        resolver.serve(NameClient(id="host", kind=ClientKind.HOST, label="host", listen=listen))
        await served(resolver)
        taken = socket.create_server(("", 53))

        for server in map(str, listen):
            asked = partial(ask, "web.front.pynet.", server)
            assert await asyncio.to_thread(asked) == OURS
        assert await asyncio.to_thread(ask, "other.example.", str(HOST_RESOLVER)) == "REFUSED"
        taken.close()
    finally:
        await kernel.close()
    assert RESOLVER_LINK in run(["ip", "link"]).stdout


async def test_address_that_somebody_has_is_a_problem_and_tried_again(resolver: Resolver) -> None:
    taken = socket.create_server(("127.0.0.1", 53))
    listen = (ip_address("127.0.0.1"),)
    gateway = NameClient(id="g", kind=ClientKind.GATEWAY, label="web", listen=listen)
    with taken:
        resolver.serve(gateway)
        reason = await problem_of(resolver, "g")

    await served(resolver)

    assert "127.0.0.1 port 53: the port is in use" in reason


@pytest.mark.timeout(300)
async def test_thousand_sandboxes_are_entered_again_within_seconds(processes: Processes) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    try:
        with sandboxes(_MANY) as paths:
            first_s, _ = await serve_many(processes, paths, is_stop=False)
            again_s, stall_s = await serve_many(processes, paths, is_stop=True)
            left = [await netns.inside(path, table_ports) for path in paths]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    print(f"{first_s:.2f} s, again {again_s:.2f} s; the loop stood for {stall_s * 1000:.1f} ms")
    assert again_s < _MANY_S
    assert left == [None] * _MANY


async def serve_many(
    processes: Processes, paths: list[str], *, is_stop: bool
) -> tuple[float, float]:
    """Return how long it takes until all are served, and how long the loop stood at most."""
    loop = asyncio.get_running_loop()
    stood: list[float] = [0.0]

    async def tick() -> None:
        while True:
            before_s = loop.time()
            await asyncio.sleep(0.01)
            stood.append(loop.time() - before_s - 0.01)

    began_s = loop.time()
    ticking = asyncio.create_task(tick())
    async with running(processes, is_stop=is_stop) as resolver:
        for number, path in enumerate(paths):
            resolver.serve(client_of(path, number))
        while resolver.problems():
            await asyncio.sleep(0.1)
        await served(resolver, len(paths))
        took_s = loop.time() - began_s
        print(f"{processes.descriptors()} descriptors")
        began_s = loop.time()
    print(f"{'stopped' if is_stop else 'ended'} in {loop.time() - began_s:.2f} s")
    ticking.cancel()
    return took_s, max(stood)
