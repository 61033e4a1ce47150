"""Host ports against the real kernel, and the relay as a process.

Each test runs in a network namespace of its own, which this process enters with its main thread.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import subprocess  # noqa: TID251 - strangers, and a daemon to kill
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from integration.lab import probes
from integration.lab.process import run
from netplug.errors import PortTaken
from netplug.kernel.hostports import HostPorts
from netplug.kernel.relay import Relay
from netplug.kernel.worker import Process
from netplug.model import Protocol
from netplug.plan.objects import HostPort

_ROOT = Path(__file__).parents[2]
_DEADLINE_S = 15.0
_RSS_KIB = 5 * 1024

LOCAL4, LOCAL6 = ip_address("127.0.0.1"), ip_address("::1")
WEB = HostPort(protocol=Protocol.TCP, address=LOCAL6, first=8080, relay_to=LOCAL4, relay_port=7000)
DNS = HostPort(
    protocol=Protocol.UDP,
    address=ip_address("::"),
    first=8053,
    relay_to=LOCAL4,
    relay_port=7053,
)
PLAIN = HostPort(protocol=Protocol.TCP, address=ip_address("0.0.0.0"), first=9000)

_DAEMON = """
import asyncio
from netplug.kernel.hostports import HostPorts
from integration.kernel.test_hostports import WEB

async def main():
    ports = HostPorts()
    await ports.take(WEB)
    print(flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
_STRANGER = """
import socket, sys
family, host, port, is_v6_only, listens = eval(sys.argv[1])
sock = socket.socket(family)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if family == socket.AF_INET6:
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, is_v6_only)
sock.bind((host, port))
if listens:
    sock.listen()
print(flush=True)
sys.stdin.read()
"""

pytestmark = [pytest.mark.needs(*probes.OF_A_LAB), pytest.mark.usefixtures("network")]


@pytest.fixture
async def ports(network: None) -> AsyncIterator[HostPorts]:
    ports = HostPorts()
    await ports.open()
    yield ports
    await ports.close()
    assert relays_of(os.getpid()) == []


async def eventually(condition: Callable[[], object], what: str) -> None:
    """Wait without stopping the loop, which servers of the test run on."""
    try:
        async with asyncio.timeout(_DEADLINE_S):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"waited {_DEADLINE_S:g} s in vain: {what}")


def relays_of(pid: int) -> list[int]:
    """Return the processes that a process started as its relay."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    children = [child for task in tasks for child in (task / "children").read_text().split()]
    return [int(c) for c in children if "netplug.relay" in Path(f"/proc/{c}/cmdline").read_text()]


async def the_relay() -> int:
    await eventually(lambda: relays_of(os.getpid()), "a relay is there")
    (pid,) = relays_of(os.getpid())
    return pid


def connect_errno(port: HostPort) -> int:
    with socket.socket(socket.AF_INET6 if port.address.version == 6 else socket.AF_INET) as sock:
        return sock.connect_ex((str(port.address), port.first))


@asynccontextmanager
async def container(
    answer: Callable[[bytes], bytes] = lambda question: b"you said " + question,
) -> AsyncIterator[None]:
    """A server that reads to the end of a question before it answers."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read(-1)
        writer.write(answer(question))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 7000, backlog=1000):
        yield


async def ask(question: bytes) -> bytes:
    async with asyncio.timeout(_DEADLINE_S):
        reader, writer = await asyncio.open_connection("::1", 8080)
        writer.write(question)
        writer.write_eof()
        answer = await reader.read(-1)
        writer.close()
        await writer.wait_closed()
    return answer


@pytest.fixture
def stranger() -> Iterator[Callable[..., int]]:
    """Start another process that has a port; returns its id."""
    started: list[subprocess.Popen[bytes]] = []

    def start(host: str = "127.0.0.1", *, is_v6_only: bool = False, listens: bool = True) -> int:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        what = repr((int(family), host, PLAIN.first, is_v6_only, listens))
        argv = [sys.executable, "-c", _STRANGER, what]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        return process.pid

    yield start
    for process in started:
        process.communicate(timeout=_DEADLINE_S)


@pytest.mark.parametrize(
    ("host", "listens"),
    [("127.0.0.1", True), ("0.0.0.0", True), ("::", True), ("127.0.0.1", False)],
)
async def test_port_of_another_process_is_refused_with_its_name(
    ports: HostPorts, stranger: Callable[..., int], host: str, *, listens: bool
) -> None:
    pid = stranger(host, listens=listens)

    with pytest.raises(PortTaken) as taken:
        await ports.take(PLAIN)

    assert taken.value.port == "9000/tcp on 0.0.0.0"
    name = Path(f"/proc/{pid}/comm").read_text().strip()
    # Kernels before 6.8 do not show who has bound a port without listening.
    assert taken.value.holder in {f"{name} (pid {pid})", *(["another process"] * (not listens))}
    assert ports.held() == frozenset()


async def test_ipv6_server_that_serves_no_ipv4_is_not_in_the_way(
    ports: HostPorts, stranger: Callable[..., int]
) -> None:
    stranger("::", is_v6_only=True)

    await ports.take(PLAIN)

    with pytest.raises(PortTaken):
        await ports.take(replace(PLAIN, address=LOCAL6))


async def test_connections_of_a_server_that_is_gone_are_not_in_the_way(ports: HostPorts) -> None:
    with (
        socket.create_server(("127.0.0.1", PLAIN.first)) as server,
        socket.create_connection(("127.0.0.1", PLAIN.first)) as client,
    ):
        accepted, _ = server.accept()
        accepted.close()  # first, so that the port is in TIME_WAIT
        assert client.recv(1) == b""
    with socket.socket() as plain, pytest.raises(OSError, match="in use"):
        plain.bind(("127.0.0.1", PLAIN.first))

    await ports.take(PLAIN)

    with pytest.raises(OSError, match="in use"):  # which would share it, if it were let
        socket.create_server(("127.0.0.1", PLAIN.first))


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])
async def test_ten_thousand_ports_cost_this_process_little(
    ports: HostPorts, protocol: Protocol
) -> None:
    run_of_ports = replace(PLAIN, protocol=protocol, first=20_000, count=10_000)
    before = resident_kib()

    await ports.take(run_of_ports)

    assert resident_kib() - before < _RSS_KIB
    await ports.release(run_of_ports)
    await ports.take(run_of_ports)


def resident_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


async def test_relay_is_started_for_the_first_relayed_port(ports: HostPorts) -> None:
    await ports.take(PLAIN)
    before = relays_of(os.getpid())

    await ports.take(WEB)
    await ports.take(DNS)
    relay = await the_relay()

    assert before == []
    assert os.readlink(f"/proc/{relay}/ns/net") == os.readlink("/proc/thread-self/ns/net")
    assert os.getsid(relay) == relay
    async with container():
        assert await ask(b"hello") == b"you said hello"
    assert os.readlink(f"/proc/{relay}/cwd") == "/"
    fds = [os.readlink(f"/proc/{relay}/fd/{fd}") for fd in os.listdir(f"/proc/{relay}/fd")]
    assert sum(fd.startswith("socket:") for fd in fds) <= 3 + 2  # and a connection being closed


async def test_client_that_comes_before_the_relay_is_served(ports: HostPorts) -> None:
    async with container():
        await ports.take(WEB)
        assert relays_of(os.getpid()) == []

        assert await ask(b"first") == b"you said first"


async def test_half_closed_connection_gets_a_large_answer_whole(ports: HostPorts) -> None:
    async with container(lambda question: question[::-1]):
        await ports.take(WEB)
        question = os.urandom(8 << 20)

        assert await ask(question) == question[::-1]


async def test_two_hundred_clients_at_once_are_all_served(ports: HostPorts) -> None:
    async with container():
        await ports.take(WEB)

        answers = await asyncio.gather(*[ask(b"%d" % n * 1000) for n in range(200)])

    assert answers == [b"you said " + b"%d" % n * 1000 for n in range(200)]


async def test_container_that_does_not_listen_resets_its_client(ports: HostPorts) -> None:
    await ports.take(WEB)

    with pytest.raises(ConnectionResetError):
        await ask(b"hello")


async def test_datagrams_are_answered_from_where_they_were_sent(ports: HostPorts) -> None:
    run(["ip", "address", "add", "fd09::7/128", "dev", "lo", "nodad"])
    await ports.take(DNS)
    loop = asyncio.get_running_loop()

    with (
        socket.socket(type=socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client,
    ):
        server.setblocking(False)
        server.bind(("127.0.0.1", 7053))
        client.setblocking(False)
        client.connect(("fd09::7", DNS.first))  # takes datagrams of its peer only
        async with asyncio.timeout(_DEADLINE_S):
            await loop.sock_sendall(client, b"question")
            question, asker = await loop.sock_recvfrom(server, 100)
            await loop.sock_sendto(server, b"answer", asker)
            answer = await loop.sock_recv(client, 100)

    assert (question, answer) == (b"question", b"answer")


async def test_relay_that_is_killed_is_replaced_and_gets_everything_again(
    ports: HostPorts, caplog: pytest.LogCaptureFixture
) -> None:
    async with container():
        await ports.take(WEB)
        assert await ask(b"before") == b"you said before"
        killed = await the_relay()

        os.kill(killed, signal.SIGKILL)
        answer = await ask(b"after")

        assert answer == b"you said after"
        assert await the_relay() != killed
    assert "the relay of published ports ended, starting it again" in caplog.messages


async def test_relay_takes_no_notice_of_a_terminal_or_of_being_told_to_stop(
    ports: HostPorts,
) -> None:
    async with container():
        await ports.take(WEB)
        await ask(b"so that it is up")
        relay = await the_relay()

        os.kill(relay, signal.SIGINT)
        os.kill(relay, signal.SIGTERM)

        assert await ask(b"hello") == b"you said hello"
        assert await the_relay() == relay


async def test_relay_that_hangs_does_not_keep_a_released_port(ports: HostPorts) -> None:
    async with container():
        await ports.take(WEB)
        await ask(b"so that it is up")
        os.kill(await the_relay(), signal.SIGSTOP)

        await ports.release(WEB)

        with socket.create_server(("::1", WEB.first), family=socket.AF_INET6):
            pass


async def test_released_port_is_free_at_once(ports: HostPorts) -> None:
    async with container():
        for _ in range(20):
            await ports.take(WEB)
            assert await ask(b"hello") == b"you said hello"
            await ports.release(WEB)
            assert connect_errno(WEB) == errno.ECONNREFUSED


async def test_port_released_before_the_relay_is_up_is_free(ports: HostPorts) -> None:
    await ports.take(WEB)
    await ports.release(WEB)

    with socket.create_server(("::1", WEB.first), family=socket.AF_INET6):
        pass


async def test_relay_of_a_long_run_serves_its_last_port(ports: HostPorts) -> None:
    count = 1000
    async with container():
        await ports.take(
            replace(WEB, first=WEB.first - count + 1, count=count, relay_port=7000 - count + 1)
        )

        assert await ask(b"hello") == b"you said hello"


async def test_relay_that_cannot_be_started_is_a_warning_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tries = []

    async def start(fd: int) -> Process:
        tries.append(fd)
        raise FileNotFoundError(errno.ENOENT, "no such program")

    ports = HostPorts(Relay(start))
    await ports.take(WEB)
    await eventually(lambda: len(tries) > 1, "it is tried again")

    assert ports.held() == {WEB}
    assert "no such program" in caplog.records[0].__dict__["reason"]
    await ports.close()


async def test_relay_ends_with_its_daemon_and_the_port_is_free() -> None:
    argv = [sys.executable, "-c", _DAEMON]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=_ROOT) as daemon:
        assert daemon.stdout is not None
        daemon.stdout.readline()
        await eventually(lambda: relays_of(daemon.pid), "it has a relay")
        (relay,) = relays_of(daemon.pid)

        daemon.kill()

    await eventually(lambda: not Path(f"/proc/{relay}/stat").exists(), "the relay has ended")
    with socket.create_server(("::1", WEB.first), family=socket.AF_INET6):
        pass
