"""A follower hears of every container at once, and of none what has changed since."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from netplug.contract.engine import EngineAway, EngineEvent, EngineSnapshot, ListedContainer
from netplug.engine.roster import Roster
from netplug.engine.watch import Watcher
from tests.engine.scripted import MemoryEngine, Naps, StillClock, about, event

ALL: frozenset[str] = frozenset()


@dataclass
class Follower:
    """Writes down what it is told, and wants every container listed that it hears of."""

    told: list[object] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    retry: Callable[[], None] | None = None

    def heard(self, event: EngineEvent) -> str:
        self._tell(f"{event.action} {event.id}")
        return event.id if event.kind == "container" else ""

    def listed(
        self, containers: Sequence[ListedContainer], *, besides: frozenset[str] | None
    ) -> None:
        self._tell(([c.id for c in containers], besides))

    def lost(self, retry: Callable[[], None]) -> None:
        self.retry = retry
        self._tell("lost")

    async def until(self, count: int) -> None:
        while len(self.told) < count:
            self.news.clear()
            await self.news.wait()

    def _tell(self, what: object) -> None:
        self.told.append(what)
        self.news.set()


def listed(*ids: str) -> dict[str, ListedContainer]:
    return {
        i: ListedContainer(id=i, name=i, labels={}, is_running=True, has_started=True, places=())
        for i in ids
    }


async def test_heard_lists_what_the_follower_wants_to_know() -> None:
    engine, follower = MemoryEngine(listed=listed("a", "b")), Follower()
    roster = Roster(engine, follower)

    roster.heard(event("connect", "front"))
    roster.heard(about("a"))
    await follower.until(3)
    await roster.close()

    assert follower.told == ["connect front", "create a", (["a"], None)]
    assert engine.listings == [{"a"}]


async def test_heard_in_a_burst_lists_once_for_all() -> None:
    engine, follower = MemoryEngine(listed=listed("a", "b", "c")), Follower()
    roster = Roster(engine, follower)

    for one in "abc":
        roster.heard(about(one))
    await follower.until(4)
    await roster.close()

    assert engine.listings == [{"a", "b", "c"}]


async def test_heard_of_very_many_lists_them_all() -> None:
    many = [f"{number:03}" for number in range(101)]
    engine, follower = MemoryEngine(listed=listed(*many)), Follower()
    roster = Roster(engine, follower)

    for one in many:
        roster.heard(about(one))
    await follower.until(102)
    await roster.close()

    assert engine.listings == [ALL]
    assert follower.told[-1] == (many, ALL)


async def test_a_listing_that_an_event_overtook_is_asked_again() -> None:
    engine, follower = MemoryEngine(listed=listed("a", "b")), Follower()
    engine.listing.clear()
    roster = Roster(engine, follower)

    roster.list_all()
    await asyncio.sleep(0)
    roster.heard(about("a", "die"))
    roster.heard(about("new"))
    engine.listing.set()
    await follower.until(4)
    await roster.close()

    assert follower.told[2:] == [(["b"], {"a", "new"}), (["a"], None)]
    assert engine.listings == [ALL, {"a", "new"}]


async def test_a_listing_that_fails_is_not_told() -> None:
    engine, follower = MemoryEngine(is_mute=True), Follower()
    roster = Roster(engine, follower)

    roster.heard(about("a"))
    await asyncio.sleep(0)
    engine.is_mute, engine.listed = False, listed("b")
    await asyncio.sleep(0)
    roster.heard(about("b"))
    await follower.until(3)
    await roster.close()

    assert follower.told == ["create a", "create b", (["b"], None)]


async def test_the_watcher_lists_all_at_first_and_passes_every_event_on() -> None:
    engine, follower = MemoryEngine(listed=listed("a")), Follower()
    watcher = Watcher(engine, "pynet", StillClock(), Naps(), follower)

    async with aclosing(watcher.updates()) as updates:
        await anext(updates)
        await follower.until(1)
        engine.queue.put_nowait(about("a", "die"))
        await follower.until(3)

    assert follower.told == [(["a"], ALL), "die a", (["a"], None)]


async def test_the_watcher_without_an_engine_tries_at_once_when_asked_to() -> None:
    engine, follower = MemoryEngine(away=1), Follower()

    async def sleep_for_ever(length_s: float) -> None:
        assert follower.retry is not None
        follower.retry()
        await asyncio.Event().wait()

    watcher = Watcher(engine, "pynet", StillClock(), sleep_for_ever, follower)
    before = asyncio.all_tasks()
    async with aclosing(watcher.updates()) as updates:
        away, back = await anext(updates), await anext(updates)

    assert isinstance(away, EngineAway)
    assert isinstance(back, EngineSnapshot)
    assert follower.told[0] == "lost"
    assert asyncio.all_tasks() == before
