"""Ports are taken and let go on loopback, on an address that no other process uses."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address

import pytest

from netplug.errors import KernelRefused, NotFound, PortTaken, Unsupported
from netplug.kernel.hostports import HostPorts
from netplug.kernel.portholder import Holder
from netplug.kernel.relay import Relayed
from netplug.model import IPAddress, Protocol
from netplug.plan.objects import HostPort

LOOPBACK = f"127.{os.getpid() >> 16 & 255}.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"
TARGET = ip_address("192.0.2.7")
_FREE = range(25_000, 32_000, 10)  # below what net.ipv4.ip_local_port_range begins with
_WORKERS = 16
TIME_WAIT, LISTEN, BOUND = (Holder(state=state, inode=0) for state in (6, 10, 13))


class FakeRelay:
    """Notes what it is asked to relay."""

    def __init__(self) -> None:
        self.relayed: dict[int, Relayed] = {}
        self.is_closed = False

    def add(self, relayed: Relayed) -> int:
        number = max(self.relayed, default=0) + 1
        self.relayed[number] = relayed
        return number

    async def remove(self, number: int) -> None:
        await asyncio.sleep(0)
        del self.relayed[number]

    async def close(self) -> None:
        self.relayed.clear()
        self.is_closed = True


class Neighbours:
    """What the kernel says is on a port; unit tests may not ask it."""

    def __init__(self) -> None:
        self.holders: tuple[Holder, ...] = ()

    def __call__(self, protocol: Protocol, address: IPAddress, port: int) -> tuple[Holder, ...]:
        return self.holders


@pytest.fixture
def relay() -> FakeRelay:
    return FakeRelay()


@pytest.fixture
def neighbours() -> Neighbours:
    return Neighbours()


@pytest.fixture
async def ports(relay: FakeRelay, neighbours: Neighbours) -> AsyncIterator[HostPorts]:
    ports = HostPorts(relay, neighbours)
    yield ports
    await ports.close()


@pytest.fixture
def free(worker_id: str) -> int:
    """Return the first of ten ports that are free.

    They are none that the kernel hands out by itself, and none that a test beside this one gets.
    """
    worker = int(worker_id.removeprefix("gw")) if worker_id != "master" else 0
    first = _FREE.start + worker % _WORKERS * _FREE.step
    return next(n for n in range(first, _FREE.stop, _WORKERS * _FREE.step) if _are_free(n))


def _are_free(first: int) -> bool:
    """Return whether ten ports are nobody's, on any address."""
    for number in range(first, first + _FREE.step):
        with socket.socket(socket.AF_INET6) as sock:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            try:
                sock.bind(("::", number))
            except OSError:
                return False
    return True


@pytest.fixture
def one(free: int) -> HostPort:
    return HostPort(protocol=Protocol.TCP, address=ip_address(LOOPBACK), first=free)


def relayed(port: HostPort, to_port: int | None = 80) -> HostPort:
    return replace(port, relay_to=TARGET, relay_port=to_port)


def connect(port: HostPort) -> int:
    """Return the errno of connecting to a port, which no accept answers."""
    with socket.socket() as client:
        client.settimeout(5)
        return client.connect_ex((str(port.address), port.first))


def bind(port: HostPort, number: int | None = None, *, is_shared: bool = False) -> int:
    """Return the errno of somebody else's try to use a port."""
    kind = socket.SOCK_DGRAM if port.protocol is Protocol.UDP else socket.SOCK_STREAM
    with socket.socket(type=kind) as sock:
        if is_shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((str(port.address), number or port.first))
            if kind == socket.SOCK_STREAM:
                sock.listen()
        except OSError as error:
            return error.errno or 0
    return 0


@contextmanager
def stranger(port: HostPort, number: int | None = None) -> Iterator[socket.socket]:
    """A socket of somebody else on a port."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((str(port.address), number or port.first))
        yield sock


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_take_holds_the_port_and_clients_are_reset(ports: HostPorts, one: HostPort) -> None:
    await ports.take(one)

    assert ports.held() == {one}
    assert connect(one) == errno.ECONNREFUSED


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])
async def test_port_that_is_held_can_be_had_by_nobody_else(
    ports: HostPorts, one: HostPort, protocol: Protocol, *, is_shared: bool
) -> None:
    port = replace(one, protocol=protocol)
    await ports.take(port)

    assert bind(port, is_shared=is_shared) == errno.EADDRINUSE


async def test_release_lets_go_and_may_be_repeated(ports: HostPorts, one: HostPort) -> None:
    before = open_descriptors()
    await ports.take(one)

    await ports.release(one)
    await ports.release(one)

    assert ports.held() == frozenset()
    assert bind(one) == 0
    assert open_descriptors() == before


async def test_take_of_what_is_held_changes_nothing(ports: HostPorts, one: HostPort) -> None:
    await ports.take(one)
    before = open_descriptors()

    await ports.take(one)

    assert ports.held() == {one}
    assert open_descriptors() == before


async def test_run_is_held_port_by_port(ports: HostPorts, one: HostPort) -> None:
    run = replace(one, count=10)
    before = open_descriptors()

    await ports.take(run)

    assert [bind(run, run.first + n) for n in range(10)] == [errno.EADDRINUSE] * 10
    assert open_descriptors() == before + 10


async def test_run_with_a_taken_port_leaves_none_bound(ports: HostPorts, one: HostPort) -> None:
    before = open_descriptors()
    with stranger(one, one.first + 7), pytest.raises(PortTaken) as taken:
        await ports.take(replace(one, count=10))

    assert taken.value.port == f"{one.first + 7}/tcp on {LOOPBACK}"
    assert taken.value.holder == "another process"
    assert open_descriptors() == before
    await ports.take(replace(one, count=10))


async def test_take_that_is_cancelled_leaves_nothing_bound(ports: HostPorts, one: HostPort) -> None:
    before = open_descriptors()
    task = asyncio.create_task(ports.take(replace(one, first=20_000, count=5_000)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert open_descriptors() > before

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert open_descriptors() == before
    assert ports.held() == frozenset()


@pytest.mark.parametrize(
    ("held", "wanted", "collides_at"),
    [
        ((LOOPBACK, 0, 10), (LOOPBACK, 5, 1), 5),
        ((LOOPBACK, 0, 10), (LOOPBACK, 9, 5), 9),
        ((LOOPBACK, 5, 5), (LOOPBACK, 0, 10), 5),
        ((LOOPBACK, 5, 1), ("0.0.0.0", 0, 10), 5),
        (("0.0.0.0", 5, 1), (LOOPBACK, 5, 1), 5),
        ((LOOPBACK, 0, 5), (LOOPBACK, 5, 5), None),
        ((LOOPBACK, 5, 5), (LOOPBACK, 0, 5), None),
        ((LOOPBACK, 0, 5), ("127.255.0.3", 0, 5), None),
        ((LOOPBACK, 0, 5), ("::1", 0, 5), None),
        (("0.0.0.0", 0, 5), ("::", 0, 5), None),
    ],
)
async def test_take_of_ports_of_our_own_names_pynet(
    ports: HostPorts,
    free: int,
    held: tuple[str, int, int],
    wanted: tuple[str, int, int],
    collides_at: int | None,
) -> None:
    def port(address: str, offset: int, count: int) -> HostPort:
        return HostPort(
            protocol=Protocol.TCP, address=ip_address(address), first=free + offset, count=count
        )

    await ports.take(port(*held))

    if collides_at is None:
        await ports.take(port(*wanted))
    else:
        with pytest.raises(PortTaken) as taken:
            await ports.take(port(*wanted))
        assert taken.value.port == f"{free + collides_at}/tcp on {wanted[0]}"
        assert taken.value.holder == "pynet"


async def test_protocols_do_not_collide(ports: HostPorts, one: HostPort) -> None:
    await ports.take(one)
    await ports.take(replace(one, protocol=Protocol.UDP))

    assert len(ports.held()) == 2


async def test_ports_in_time_wait_do_not_stand_in_the_way(
    ports: HostPorts, neighbours: Neighbours, one: HostPort
) -> None:
    with stranger(one) as server:
        server.listen()
        with socket.create_connection((LOOPBACK, one.first)) as client:
            accepted, _ = server.accept()
            accepted.close()  # first, so that the port is in TIME_WAIT
            assert client.recv(1) == b""
    assert bind(one) == errno.EADDRINUSE
    neighbours.holders = (TIME_WAIT,)

    await ports.take(one)

    assert bind(one, is_shared=True) == errno.EADDRINUSE


@pytest.mark.parametrize("holders", [(), (BOUND,), (LISTEN,), (TIME_WAIT, BOUND)], ids=str)
async def test_port_that_another_has_bound_only_is_not_shared(
    ports: HostPorts, neighbours: Neighbours, one: HostPort, holders: tuple[Holder, ...]
) -> None:
    neighbours.holders = holders

    with stranger(one), pytest.raises(PortTaken):
        await ports.take(one)


async def test_kernel_that_does_not_tell_who_it_is_still_refuses_in_words(
    relay: FakeRelay, one: HostPort
) -> None:
    def refuse(protocol: Protocol, address: IPAddress, port: int) -> tuple[Holder, ...]:
        raise OSError(errno.ENOENT, "no such file")

    with stranger(one), pytest.raises(PortTaken, match="another process"):
        await HostPorts(relay, refuse).take(one)


async def test_address_that_the_host_does_not_have_is_not_found(
    ports: HostPorts, one: HostPort
) -> None:
    with pytest.raises(NotFound, match=r"192\.0\.2\.1"):
        await ports.take(replace(one, address=ip_address("192.0.2.1")))


async def test_protocol_that_the_kernel_does_not_have_is_unsupported(
    ports: HostPorts, one: HostPort
) -> None:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError:
        with pytest.raises(Unsupported, match="sctp"):
            await ports.take(replace(one, protocol=Protocol.SCTP))
    else:
        await ports.take(relayed(replace(one, protocol=Protocol.SCTP)))


async def test_too_many_open_files_is_said_in_words(ports: HostPorts, one: HostPort) -> None:
    before = open_descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 20, hard))
    try:
        with pytest.raises(KernelRefused, match="LimitNOFILE") as refused:
            await ports.take(replace(one, first=20_000, count=100))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert refused.value.code == errno.EMFILE
    assert open_descriptors() == before


async def test_open_allows_all_descriptors_that_may_be_had(ports: HostPorts) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        await ports.open()
        now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert now == most >= hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_relayed_port_listens_and_is_handed_on(
    ports: HostPorts, relay: FakeRelay, one: HostPort
) -> None:
    await ports.take(relayed(one))

    (handed,) = relay.relayed.values()
    assert (handed.protocol, handed.to_address, handed.to_port) == (Protocol.TCP, TARGET, 80)
    assert len(handed.fds) == 1
    assert connect(one) == 0


@pytest.mark.parametrize(
    ("before", "after", "to_port"),
    [
        (lambda p: p, relayed, 80),
        (relayed, lambda p: p, None),
        (relayed, lambda p: relayed(p, 81), 81),
    ],
    ids=["begins", "ends", "moves"],
)
@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])
async def test_take_with_another_target_changes_the_relay_only(
    ports: HostPorts,
    relay: FakeRelay,
    one: HostPort,
    protocol: Protocol,
    before: Callable[[HostPort], HostPort],
    after: Callable[[HostPort], HostPort],
    to_port: int | None,
) -> None:
    one = replace(one, protocol=protocol)
    await ports.take(before(one))
    descriptors = open_descriptors()

    await ports.take(after(one))

    assert ports.held() == {after(one)}
    assert [r.to_port for r in relay.relayed.values()] == ([] if to_port is None else [to_port])
    assert bind(one, is_shared=True) == errno.EADDRINUSE
    assert open_descriptors() == descriptors
    if protocol is Protocol.TCP:
        assert (connect(one) == 0) is (to_port is not None)


async def test_port_that_was_relayed_can_be_taken_again_at_once(
    ports: HostPorts, relay: FakeRelay, neighbours: Neighbours, one: HostPort
) -> None:
    await ports.take(relayed(one))
    (handed,) = relay.relayed.values()
    with socket.socket(fileno=os.dup(handed.fds[0])) as listening:
        listening.setblocking(True)
        with socket.create_connection((LOOPBACK, one.first)) as client:
            accepted, _ = listening.accept()
            accepted.close()
            assert client.recv(1) == b""
    neighbours.holders = (TIME_WAIT,)

    await ports.release(one)
    await ports.take(relayed(one))

    assert connect(one) == 0


async def test_release_ends_the_relay_too(
    ports: HostPorts, relay: FakeRelay, one: HostPort
) -> None:
    await ports.take(relayed(one))

    await ports.release(one)

    assert relay.relayed == {}
    assert connect(one) == errno.ECONNREFUSED


async def test_close_lets_go_of_everything(
    ports: HostPorts, relay: FakeRelay, one: HostPort
) -> None:
    before = open_descriptors()
    await ports.take(relayed(one))
    await ports.take(replace(one, protocol=Protocol.UDP, count=10))

    await ports.close()

    assert relay.is_closed
    assert ports.held() == frozenset()
    assert open_descriptors() == before
