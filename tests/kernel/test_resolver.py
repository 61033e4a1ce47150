"""The daemon's side of the DNS: the test is the resolver process, and the places of clients."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from netplug.contract.names import (
    Change,
    ClientCounters,
    ClientKind,
    NameClient,
    NamedEndpoint,
    NamedNetwork,
    NamedRecord,
    NameProblem,
    Source,
)
from netplug.errors import DeadlineExceeded, InvalidRequest, KernelRefused, NotFound
from netplug.kernel.dnssockets import Sockets
from netplug.kernel.resolver import Resolver
from netplug.model import EndpointId, NetworkId, RecordKind
from tests.kernel.worker_process import FakeProcess

FRONT = NetworkId("n1")
NETWORK = NamedNetwork(id=FRONT, name="front")
WEB = NamedEndpoint(
    id=EndpointId("e1"),
    network_id=FRONT,
    label="web",
    names=("web",),
    addresses=(ip_address("10.0.0.2"),),
)
RECORD = NamedRecord(network_id=FRONT, name="db", kind=RecordKind.CNAME, values=("web",))
BOX = NameClient(
    id="c1", kind=ClientKind.OVERLAY, label="box", network_ids=(FRONT,), netns="/netns/1"
)
SETTINGS = {"settings": {"domain": "pynet"}}


class FakePlaces:
    """Namespaces that are there when the test says so; every socket is one end of a pair."""

    def __init__(self) -> None:
        self.are_there = asyncio.Event()
        self.are_there.set()
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.refusal: KernelRefused | None = None
        self.mounts_changed: Callable[[], None] | None = None
        self.others: list[socket.socket] = []

    def listen(self, listener: Callable[[], None]) -> None:
        self.mounts_changed = listener

    def stop(self) -> None:
        self.mounts_changed = None

    def is_there(self, client: NameClient) -> bool:
        return self.are_there.is_set()

    async def open(self, client: NameClient) -> Sockets:
        await self.are_there.wait()
        if self.refusal:
            raise self.refusal
        self.opened.append(client.netns)
        return self._sockets(2)

    async def close(self, client: NameClient) -> None:
        self.closed.append(client.netns)

    async def forwarder(self, client: NameClient, transport: str) -> Sockets:
        if self.refusal:
            raise self.refusal
        return self._sockets(1)

    def _sockets(self, count: int) -> Sockets:
        pairs = [socket.socketpair() for _ in range(count)]
        self.others += [theirs for _, theirs in pairs]
        return tuple(ours for ours, _ in pairs)

    def are_ours_closed(self) -> bool:
        """Return whether the daemon, and nobody else here, has closed its ends."""
        for sock in self.others:
            sock.setblocking(False)
            try:
                if sock.recv(1):
                    return False
            except BlockingIOError:
                return False
        return True


@pytest.fixture
def process() -> Iterator[FakeProcess]:
    process = FakeProcess()
    yield process
    process.sock.close()


@pytest.fixture
async def places() -> AsyncIterator[FakePlaces]:
    places = FakePlaces()
    yield places
    for sock in places.others:
        sock.close()


@pytest.fixture
async def resolver(process: FakeProcess, places: FakePlaces) -> AsyncIterator[Resolver]:
    resolver = Resolver(start=process.start, places=places, pause_s=(0.0, 0.0))
    yield resolver
    await resolver.close(is_stop=False)


async def begin(resolver: Resolver, process: FakeProcess) -> None:
    """Start the process and hear its settings."""
    await resolver.open()
    await process.say(ready=True)
    assert await process.hear() == (SETTINGS, 0)


async def hear_box(process: FakeProcess) -> int:
    """Hear of the client, and return how many sockets came with it."""
    message, count = await process.hear()
    assert message["client"]["id"] == "c1"
    return count


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_process_is_told_what_was_said_before_it_ran(
    resolver: Resolver, process: FakeProcess
) -> None:
    resolver.change(Change(puts=(WEB, RECORD)))
    resolver.change(Change(puts=(NETWORK,)))
    resolver.serve(BOX)

    await begin(resolver, process)

    message, _ = await process.hear()
    assert [next(iter(item)) for item in message["change"]["puts"]] == [
        "network",
        "endpoint",
        "record",
    ]
    assert message["change"]["puts"][1]["endpoint"]["addresses"] == ["10.0.0.2"]
    assert await hear_box(process) == 2


async def test_change_is_told_with_its_drops_first(
    resolver: Resolver, process: FakeProcess
) -> None:
    await begin(resolver, process)

    resolver.change(Change(puts=(NETWORK,), drops=(WEB, RECORD)))

    drops, _ = await process.hear()
    puts, _ = await process.hear()
    assert drops == {
        "change": {
            "drops": [
                {"endpoint": {"id": "e1"}},
                {"record": {"network_id": "n1", "name": "db", "kind": "CNAME"}},
            ]
        }
    }
    assert puts["change"]["puts"][0]["network"]["name"] == "front"


async def test_dropped_network_is_not_told_again_nor_what_was_in_it(
    resolver: Resolver, process: FakeProcess
) -> None:
    resolver.change(Change(puts=(NETWORK, WEB, RECORD)))
    resolver.change(Change(drops=(NETWORK,)))

    await begin(resolver, process)

    await settle()
    assert process.is_told_nothing()


async def test_long_change_is_several_messages(resolver: Resolver, process: FakeProcess) -> None:
    await begin(resolver, process)
    many = tuple(
        NamedEndpoint(id=EndpointId(f"e{i}"), network_id=FRONT, label=f"web{i}", names=("x" * 60,))
        for i in range(2000)
    )

    resolver.change(Change(puts=many))

    heard = 0
    while heard < len(many):
        message, _ = await process.hear()
        heard += len(message["change"]["puts"])
    assert heard == len(many)


async def test_sockets_are_closed_once_they_are_handed_over(
    resolver: Resolver, process: FakeProcess, places: FakePlaces
) -> None:
    await begin(resolver, process)

    resolver.serve(BOX)

    assert await hear_box(process) == 2
    await settle()
    assert places.are_ours_closed()
    assert resolver.problems() == ()


async def test_client_whose_namespace_is_not_there_is_a_problem_until_it_is(
    resolver: Resolver, process: FakeProcess, places: FakePlaces
) -> None:
    await begin(resolver, process)
    places.are_there.clear()
    resolver.serve(BOX)
    await settle()
    before = resolver.problems()

    places.are_there.set()

    assert await hear_box(process) == 2
    reason = "its namespace /netns/1 is not there"
    assert before == (NameProblem(client_id="c1", label="box", reason=reason),)
    assert resolver.problems() == ()


async def test_served_again_with_other_networks_keeps_its_sockets(
    resolver: Resolver, process: FakeProcess, places: FakePlaces
) -> None:
    await begin(resolver, process)
    resolver.serve(BOX)
    await hear_box(process)
    await settle()

    resolver.serve(NameClient(id="c1", kind=BOX.kind, label="box", netns=BOX.netns))

    message, count = await process.hear()
    assert (message["client"]["network_ids"], count) == ([], 0)
    assert places.opened == ["/netns/1"]


async def test_served_elsewhere_leaves_the_old_place_first(
    resolver: Resolver, process: FakeProcess, places: FakePlaces
) -> None:
    await begin(resolver, process)
    resolver.serve(BOX)
    await hear_box(process)
    await settle()

    resolver.serve(NameClient(id="c1", kind=BOX.kind, label="box", netns="/netns/2"))

    assert await process.hear() == ({"forget": "c1"}, 0)
    assert places.closed == ["/netns/1"]
    await process.say(forgotten="c1")
    assert await hear_box(process) == 2
    assert places.opened == ["/netns/1", "/netns/2"]


async def test_forgotten_client_leaves_its_place_before_its_sockets(
    resolver: Resolver, process: FakeProcess, places: FakePlaces
) -> None:
    await begin(resolver, process)
    resolver.serve(BOX)
    await hear_box(process)
    await settle()

    resolver.forget("c1")
    resolver.forget("unknown")

    assert await process.hear() == ({"forget": "c1"}, 0)
    assert places.closed == ["/netns/1"]


async def test_namespace_that_is_gone_is_let_go_of_and_waited_for(
    resolver: Resolver, process: FakeProcess, places: FakePlaces
) -> None:
    await begin(resolver, process)
    resolver.serve(BOX)
    await hear_box(process)
    await settle()
    assert places.mounts_changed is not None

    places.mounts_changed()
    await settle()
    assert process.is_told_nothing()

    places.are_there.clear()
    places.mounts_changed()
    assert await process.hear() == ({"forget": "c1"}, 0)
    await process.say(forgotten="c1")
    await settle()
    assert [p.client_id for p in resolver.problems()] == ["c1"]

    places.are_there.set()
    assert await hear_box(process) == 2


async def test_forgotten_before_it_was_there_is_never_told(
    resolver: Resolver, process: FakeProcess, places: FakePlaces
) -> None:
    await begin(resolver, process)
    places.are_there.clear()
    resolver.serve(BOX)
    await settle()

    resolver.forget("c1")
    await settle()
    places.are_there.set()
    await settle()

    assert places.opened == []
    assert process.is_told_nothing()
    assert resolver.problems() == ()


async def test_forgotten_and_served_at_once_is_served(
    resolver: Resolver, process: FakeProcess
) -> None:
    await begin(resolver, process)
    resolver.serve(BOX)
    await hear_box(process)
    await settle()

    resolver.forget("c1")
    await settle()
    resolver.serve(BOX)

    assert await process.hear() == ({"forget": "c1"}, 0)
    await process.say(forgotten="c1")
    assert await hear_box(process) == 2


async def test_refused_client_is_a_problem_and_a_change_tries_again(
    resolver: Resolver, process: FakeProcess, places: FakePlaces
) -> None:
    await begin(resolver, process)
    places.refusal = KernelRefused("bind 10.0.0.1 port 53", "the port is in use")
    resolver.serve(BOX)
    await settle()
    (problem,) = resolver.problems()

    places.refusal = None
    resolver.serve(BOX)

    assert await hear_box(process) == 2
    assert "the port is in use" in problem.reason


async def test_forwarder_is_handed_over_on_need(
    resolver: Resolver, process: FakeProcess, places: FakePlaces
) -> None:
    await begin(resolver, process)
    resolver.serve(BOX)
    await hear_box(process)

    await process.say(need="forwarder", client="c1", transport="udp", number=7)

    assert await process.hear() == ({"forwarder": 7}, 1)
    await settle()
    assert places.are_ours_closed()


async def test_forwarder_that_cannot_be_had_is_answered(
    resolver: Resolver, process: FakeProcess, places: FakePlaces
) -> None:
    await begin(resolver, process)
    resolver.serve(BOX)
    await hear_box(process)
    places.refusal = KernelRefused("enter the namespace /netns/1", "No such file or directory")

    await process.say(need="forwarder", client="c1", transport="udp", number=7)
    await process.say(need="forwarder", client="c9", transport="tcp", number=8)

    replies = [(await process.hear())[0] for _ in range(2)]
    assert {reply["forwarder"] for reply in replies} == {7, 8}
    assert all("error" in reply for reply in replies)


async def test_process_that_died_is_told_all_again_with_new_sockets(
    resolver: Resolver, process: FakeProcess, places: FakePlaces
) -> None:
    resolver.change(Change(puts=(NETWORK,)))
    await begin(resolver, process)
    await process.hear()
    resolver.serve(BOX)
    await hear_box(process)
    await settle()

    process.die()
    await process.say(ready=True)

    heard = [await process.hear() for _ in range(3)]
    assert [next(iter(message)) for message, _ in heard] == ["settings", "change", "client"]
    assert heard[2][1] == 2
    assert places.opened == ["/netns/1", "/netns/1"]
    assert places.closed == []


async def test_process_that_does_not_answer_is_ended(
    process: FakeProcess, places: FakePlaces, caplog: pytest.LogCaptureFixture
) -> None:
    resolver = Resolver(start=process.start, places=places, pause_s=(0.0, 0.0), check_s=0.0)
    await resolver.open()
    await process.say(ready=True)

    while process.starts < 2:
        await settle()

    await resolver.close(is_stop=False)
    assert caplog.messages[0] == "the DNS resolver does not answer, ending it"


async def test_stop_leaves_every_place_and_an_end_none(
    process: FakeProcess, places: FakePlaces
) -> None:
    left: list[list[str]] = []
    for is_stop in (False, True):
        resolver = Resolver(start=process.start, places=places)
        resolver.serve(BOX)
        await settle()
        await resolver.close(is_stop=is_stop)
        left.append(list(places.closed))

    assert left == [[], ["/netns/1"]]
    assert places.are_ours_closed()


async def test_statistics_are_put_together(resolver: Resolver, process: FakeProcess) -> None:
    await begin(resolver, process)
    asking = asyncio.create_task(resolver.statistics())
    message, _ = await process.hear()
    number = message["statistics"]

    await process.say(statistics=number, clients={"a": {"queries": 3}}, is_last=False)
    await process.say(statistics=number, clients={"b": {"rcodes": {"NOERROR": 1}}}, is_last=True)

    assert await asking == {
        "a": ClientCounters(queries=3),
        "b": ClientCounters(rcodes={"NOERROR": 1}),
    }


async def test_statistics_without_a_process_are_refused_at_once(resolver: Resolver) -> None:
    with pytest.raises(DeadlineExceeded):
        await resolver.statistics()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ({"error": "no such client", "is_unknown_client": True}, NotFound),
        ({"error": "kind XYZ is unknown", "is_unknown_client": False}, InvalidRequest),
    ],
)
async def test_lookup_that_is_refused_says_why(
    resolver: Resolver, process: FakeProcess, reply: dict[str, Any], error: type[Exception]
) -> None:
    await begin(resolver, process)
    asking = asyncio.create_task(resolver.lookup("c1", "web", "A"))
    message, _ = await process.hear()

    await process.say(lookup=message["lookup"], **reply)

    with pytest.raises(error):
        await asking


async def test_lookup_returns_the_answer(resolver: Resolver, process: FakeProcess) -> None:
    await begin(resolver, process)
    asking = asyncio.create_task(resolver.lookup([FRONT], "web", "A"))
    message, _ = await process.hear()

    answer = {"rcode": "NOERROR", "records": ["web. 5 IN A 10.0.0.2"], "network_id": "n1"}
    await process.say(lookup=message["lookup"], answer=answer)

    found = await asking
    assert message["networks"] == ["n1"]
    assert (found.rcode, found.source, found.network_id) == ("NOERROR", Source.NAMES, FRONT)


async def test_follower_turns_the_log_on_and_off(resolver: Resolver, process: FakeProcess) -> None:
    await begin(resolver, process)
    following = resolver.follow()
    first = asyncio.ensure_future(anext(following))
    assert await process.hear() == ({"follow": True}, 0)

    entry = {"at": 1.5, "client_id": "c1", "label": "box", "name": "web", "kind": "A"}
    await process.say(log=[{**entry, "rcode": "NOERROR", "source": "names"}], lost=0)
    query = await first
    await following.aclose()  # type: ignore[attr-defined]

    assert (query.name, query.at.timestamp()) == ("web", 1.5)
    assert await process.hear() == ({"follow": False}, 0)


async def test_what_is_not_understood_is_logged_and_no_end(
    resolver: Resolver, process: FakeProcess, caplog: pytest.LogCaptureFixture
) -> None:
    await begin(resolver, process)

    await process.say(log=[{"at": "never"}])
    await process.say(warning="too long")
    resolver.serve(BOX)
    await hear_box(process)

    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


async def test_resolver_that_does_not_run_is_a_problem(resolver: Resolver) -> None:
    (problem,) = resolver.problems()

    assert problem.client_id == ""
