"""Who may be asking for an address: what the engine's events and listings give away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from itertools import count

import pytest

from netplug.contract.engine import EngineEvent, ListedContainer, ListedPlace
from netplug.model import Pool, PoolId
from netplug.service.candidates import Candidates
from tests.service.world import NOON, SetClock, network

FRONT = network(1)
POOL = Pool(
    id=PoolId("local/10.1.0.0/24"),
    space="local",
    network=ip_network("10.1.0.0/24"),
    created_at=NOON,
)
POOL6 = Pool(
    id=PoolId("local/fd01::/64"), space="local", network=ip_network("fd01::/64"), created_at=NOON
)
ON_FRONT = (ListedPlace(network="front", network_id=FRONT.id),)
COMPOSE = {
    "com.docker.compose.project": "shop",
    "com.docker.compose.service": "www",
    "com.docker.compose.container-number": "2",
}


class Engine:
    """Says what an engine says, and answers what it is asked for at once."""

    def __init__(self, *resting: str) -> None:
        self.clock = SetClock()
        self.candidates = Candidates(self.clock)
        self.retries = count()
        self.candidates.listed([stopped(name) for name in resting], besides=frozenset())

    def say(self, action: str, name: str, **labels: str) -> str:
        attributes = {"name": name, **labels}
        event = EngineEvent(kind="container", action=action, id=f"id-{name}", attributes=attributes)
        return self.candidates.heard(event)

    def create(self, name: str, places: Iterable[ListedPlace] = ON_FRONT) -> None:
        assert self.say("create", name) == f"id-{name}"
        self.list(stopped(name, places, has_started=False))

    def connect(self, action: str, name: str, to: str = "front") -> str:
        attributes = {"name": to, "container": f"id-{name}", "type": "pynet"}
        network_id = FRONT.id if to == "front" else "9" * 64
        return self.candidates.heard(
            EngineEvent(kind="network", action=action, id=network_id, attributes=attributes)
        )

    def list(self, *containers: ListedContainer) -> None:
        self.candidates.listed(containers, besides=None)

    def asking(self, pool: Pool = POOL) -> list[str]:
        return [c.name for c in self.candidates.of(FRONT, pool)]

    def grant(self, name: str, number: int = 2) -> None:
        (one,) = [c for c in self.candidates.of(FRONT, POOL) if c.name == name]
        self.candidates.granted(one, POOL.id, ip_address(f"10.1.0.{number}"))


def stopped(
    name: str,
    places: Iterable[ListedPlace] = ON_FRONT,
    *,
    has_started: bool = True,
    is_running: bool = False,
) -> ListedContainer:
    return ListedContainer(
        id=f"id-{name}",
        name=name,
        labels={},
        is_running=is_running,
        has_started=has_started,
        places=tuple(places),
    )


def test_of_whom_was_just_created_and_not_of_those_who_rest() -> None:
    engine = Engine("old", "older")

    engine.create("new")

    assert engine.asking() == ["new"]


def test_of_whom_was_created_long_ago_along_with_those_who_rest() -> None:
    engine = Engine("old")
    engine.create("new")

    engine.clock.advance(11)

    assert sorted(engine.asking()) == ["new", "old"]


def test_of_whom_just_died_and_not_of_those_who_rest() -> None:
    engine = Engine("old")
    engine.create("web")
    engine.say("start", "web")
    assert engine.asking() == ["old"]

    engine.say("die", "web")
    assert engine.asking() == ["web"]

    engine.clock.advance(11)
    assert sorted(engine.asking()) == ["old", "web"]


def test_of_several_who_were_just_created_tells_them_all() -> None:
    engine = Engine()

    engine.create("one")
    engine.create("two")

    assert engine.asking() == ["one", "two"]


def test_of_nobody_who_was_destroyed() -> None:
    engine = Engine("old")

    engine.say("destroy", "old")

    assert engine.asking() == []


def test_of_whom_was_granted_an_address_only_after_the_end() -> None:
    engine = Engine()
    engine.create("web")

    engine.grant("web")
    assert engine.asking() == []
    assert engine.asking(POOL6) == ["web"]

    engine.say("start", "web")
    engine.say("die", "web")
    assert engine.asking() == ["web"]


def test_of_whom_failed_to_start_once_the_address_is_back() -> None:
    engine = Engine()
    engine.create("web")
    engine.grant("web", 7)

    engine.candidates.released(POOL.id, ip_address("10.1.0.8"))
    assert engine.asking() == []

    engine.candidates.released(POOL.id, ip_address("10.1.0.7"))
    assert engine.asking() == ["web"]


def test_of_nobody_with_an_address_of_its_own_of_that_version() -> None:
    engine = Engine()

    engine.create("web", [ListedPlace(network="front", network_id=FRONT.id, fixed=frozenset({4}))])

    assert engine.asking(POOL) == []
    assert engine.asking(POOL6) == ["web"]


@pytest.mark.parametrize(
    ("place", "is_on"),
    [
        (ListedPlace(network="anything", network_id=FRONT.id), True),
        (ListedPlace(network="front"), True),
        (ListedPlace(network=FRONT.id), True),
        (ListedPlace(network=FRONT.id[:12]), True),
        (ListedPlace(network=FRONT.id[:2]), False),
        (ListedPlace(network="back", network_id="9" * 64), False),
    ],
)
def test_of_those_on_the_network_however_it_was_named(place: ListedPlace, is_on: bool) -> None:
    engine = Engine()
    named = {"name": "front", "type": "pynet"}
    engine.candidates.heard(
        EngineEvent(kind="network", action="create", id=FRONT.id, attributes=named)
    )

    engine.create("web", [place])

    assert engine.asking() == (["web"] if is_on else [])


def test_of_a_network_that_went_does_not_take_its_successor_for_it() -> None:
    engine = Engine()
    event = EngineEvent(kind="network", action="create", id=FRONT.id, attributes={"name": "front"})
    engine.candidates.heard(event)
    gone = EngineEvent(kind="network", action="destroy", id=FRONT.id, attributes={})

    engine.candidates.heard(gone)
    engine.create("web", [ListedPlace(network="front", network_id="9" * 64)])

    assert engine.asking() == []


def test_connect_is_remembered_and_checked_at_the_end() -> None:
    """The listing lacks the network while dockerd connects to it."""
    engine = Engine()
    engine.create("web", [])
    engine.say("start", "web")

    assert engine.connect("connect", "web") == ""
    assert engine.say("die", "web") == "id-web"

    assert engine.asking() == ["web"]
    engine.list(stopped("web", [ListedPlace(network="front", fixed=frozenset({4}))]))
    assert engine.asking() == []


def test_connect_to_where_it_belongs_says_nothing_new() -> None:
    engine = Engine()
    engine.create("web")

    assert engine.connect("connect", "web") == ""
    assert engine.say("start", "web") == ""


def test_connect_of_a_stranger_has_it_listed() -> None:
    assert Engine().connect("connect", "web") == "id-web"


def test_disconnect_while_it_runs_has_it_listed() -> None:
    engine = Engine()
    engine.create("web")
    engine.say("start", "web")

    assert engine.connect("disconnect", "web") == "id-web"
    engine.list(stopped("web", [], is_running=True))
    engine.say("die", "web")

    assert engine.asking() == []


def test_disconnect_at_the_end_is_no_parting() -> None:
    engine = Engine()
    engine.create("web")
    engine.say("start", "web")
    engine.say("die", "web")

    assert engine.connect("disconnect", "web") == ""
    assert engine.connect("disconnect", "web", "back") == ""
    assert engine.asking() == ["web"]


def test_listed_is_not_believed_on_whom_just_died() -> None:
    """dockerd saves a container as stopped after all its networks have been told."""
    engine = Engine()
    engine.create("web")
    engine.say("start", "web")
    engine.say("die", "web")

    engine.list(stopped("web", is_running=True))
    assert engine.asking() == ["web"]

    engine.clock.advance(11)
    engine.list(stopped("web", is_running=True))
    assert engine.asking() == []


def test_listed_without_whom_no_event_was_about_forgets_it() -> None:
    engine = Engine("old", "new")

    engine.candidates.listed([], besides=frozenset({"id-new"}))

    assert engine.asking() == ["new"]


def test_rename_moves_the_name_and_nothing_else() -> None:
    engine = Engine("old")
    attributes = {"name": "web", **COMPOSE}

    engine.candidates.heard(
        EngineEvent(kind="container", action="rename", id="id-old", attributes=attributes)
    )

    (found,) = engine.candidates.of(FRONT, POOL)
    assert (found.name, found.service) == ("web", "shop/www/2")
    assert engine.candidates.replica_named("web") == "shop/www/2"
    assert engine.candidates.replica_named("old") == ""


def test_of_a_one_off_of_compose_has_no_service() -> None:
    engine = Engine()

    engine.say("create", "web", **COMPOSE, **{"com.docker.compose.oneoff": "True"})
    engine.list(stopped("web"))

    assert [c.service for c in engine.candidates.of(FRONT, POOL)] == [""]


async def test_settle_waits_for_the_listing_of_whom_was_created() -> None:
    engine = Engine()
    engine.say("create", "web")
    settled = asyncio.create_task(engine.candidates.settle())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not settled.done()

    engine.list(stopped("web", has_started=False))

    assert await settled
    assert engine.asking() == ["web"]


async def test_settle_reads_on_what_was_sent_before() -> None:
    engine = Engine()
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.call_soon, engine.create, "web")

    assert await engine.candidates.settle()

    assert engine.asking() == ["web"]


async def test_settle_waits_a_moment_only_for_a_listing_that_does_not_come() -> None:
    engine = Engine()
    engine.say("create", "web")
    loop = asyncio.get_running_loop()
    before_s = loop.time()

    assert await engine.candidates.settle()

    assert 0.04 < loop.time() - before_s < 5


async def test_settle_while_the_engine_is_away_has_it_tried_at_once() -> None:
    engine = Engine("old")
    retried: list[int] = []
    engine.candidates.lost(lambda: retried.append(1))

    assert not await engine.candidates.settle()
    assert retried == [1]

    engine.candidates.lost(lambda: engine.candidates.listed([stopped("new")], besides=frozenset()))
    assert not await engine.candidates.settle(may_wait=False)
    assert await engine.candidates.settle()
    assert engine.asking() == ["new"]


async def test_settle_does_not_wait_twice_in_vain_within_a_moment() -> None:
    """dockerd asks for one address after the other while it starts."""
    engine = Engine()
    loop = asyncio.get_running_loop()
    engine.candidates.lost(lambda: None)
    before_s = loop.time()

    for _ in range(100):
        assert not await engine.candidates.settle()
    assert loop.time() - before_s < 2.5
    engine.clock.advance(2)
    loop.call_later(0.01, lambda: engine.candidates.listed([], besides=frozenset()))
    assert await engine.candidates.settle()


async def test_settle_at_the_start_is_patient_once() -> None:
    candidates = Candidates(clock := SetClock())
    loop = asyncio.get_running_loop()
    loop.call_later(0.1, lambda: candidates.listed([], besides=frozenset()))
    assert await candidates.settle()

    candidates = Candidates(clock)
    before_s = loop.time()
    assert not await candidates.settle()
    clock.advance(1)
    assert not await candidates.settle()
    assert 0.5 < loop.time() - before_s < 5
