"""Nothing is asked of a container while it starts, and its names are known at once after that."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from netplug.contract.engine import EngineAway, EngineSnapshot, ListedContainer
from tests.engine.scripted import (
    Naps,
    StillClock,
    about,
    connected,
    container,
    engine_with,
    event,
    moved,
    network,
    snapshot,
    until,
    watch,
)

FIRST_LOOK = ["info", "networks", "closed"]


async def turns() -> None:
    """Let everything go on that waits for nothing."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("action", ["create", "die"])
async def test_updates_of_a_start_ask_nothing_before_it_is_over_and_then_at_once(
    action: str,
) -> None:
    engine = engine_with([network("front")])
    naps, clock = Naps(), StillClock()

    async with aclosing(watch(engine, naps, clock)) as updates:
        await snapshot(updates)
        clock.elapsed_s = 1.0
        engine.queue.put_nowait(about("id-web", action))
        engine.queue.put_nowait(connected("front", "id-web"))
        following = asyncio.create_task(anext(updates))
        await turns()
        before = [*engine.asked], [*engine.inspected]
        engine.known["front"] = network("front", "web")
        engine.inspectable = {"id-web": container("web", "front-web")}
        engine.queue.put_nowait(about("id-web", "start"))
        second = await following

    assert before == (FIRST_LOOK, [])
    assert isinstance(second, EngineSnapshot)
    assert (second.networks, second.containers) == (engine.known, engine.inspectable)
    assert (engine.asked, engine.inspected) == ([*FIRST_LOOK, "front"], ["id-web"])
    assert naps.lengths_s == []


async def test_updates_of_a_container_listed_at_rest_wait_for_its_start() -> None:
    engine = engine_with([network("front")])
    engine.listed = {
        "id-web": ListedContainer(
            id="id-web", name="web", labels={}, is_running=False, has_started=True, places=()
        )
    }
    clock = StillClock()

    async with aclosing(watch(engine, clock=clock)) as updates:
        await snapshot(updates)
        await turns()
        clock.elapsed_s = 1.0
        engine.queue.put_nowait(connected("front", "id-web"))
        following = asyncio.create_task(anext(updates))
        await turns()
        before = [*engine.asked]
        engine.queue.put_nowait(about("id-web", "start"))
        await following

    assert (before, engine.asked) == (FIRST_LOOK, [*FIRST_LOOK, "front"])


async def test_updates_of_a_running_container_wait_for_no_start() -> None:
    engine = engine_with([network("front")])
    naps, clock = Naps(), StillClock()

    async with aclosing(watch(engine, naps, clock)) as updates:
        await snapshot(updates)
        clock.elapsed_s = 1.0
        engine.queue.put_nowait(connected("front", "id-web"))
        await snapshot(updates)

    assert engine.asked == [*FIRST_LOOK, "front"]
    assert naps.lengths_s == [0.1]


async def test_updates_of_a_hundred_starts_look_once() -> None:
    names = [f"web{number}" for number in range(100)]
    engine = engine_with([network("front")])
    naps, clock = Naps(), StillClock()

    async with aclosing(watch(engine, naps, clock)) as updates:
        await snapshot(updates)
        clock.elapsed_s = 1.0
        engine.known["front"] = network("front", *names)
        for name in names:
            engine.queue.put_nowait(about(f"id-{name}"))
            engine.queue.put_nowait(connected("front", f"id-{name}"))
        for name in names:
            engine.queue.put_nowait(about(f"id-{name}", "start"))
        await snapshot(updates)

    assert engine.asked == [*FIRST_LOOK, "front"]
    assert sorted(engine.inspected) == sorted(f"id-{name}" for name in names)


async def test_updates_of_starts_in_a_row_wait_for_a_slice() -> None:
    engine = engine_with([network("front")])
    naps, clock = Naps(), StillClock()

    async with aclosing(watch(engine, naps, clock)) as updates:
        await snapshot(updates)
        for elapsed_s in (1.0, 1.05, 1.2):
            clock.elapsed_s = elapsed_s
            for one in (about("id-web"), connected("front", "id-web")):
                engine.queue.put_nowait(one)
            engine.queue.put_nowait(about("id-web", "start"))
            await snapshot(updates)

    assert naps.lengths_s == [0.1]


async def test_updates_while_another_container_starts_wait_and_leave_it_alone() -> None:
    engine = engine_with([network("front", "db")])
    engine.inspectable = {i: container(i[3:], f"front-{i[3:]}") for i in ("id-web", "id-db")}
    naps, clock = Naps(), StillClock()

    async with aclosing(watch(engine, naps, clock)) as updates:
        await until(updates, lambda seen: "id-db" in seen.containers)
        clock.elapsed_s = 1.0
        engine.known["front"] = network("front", "db", "web", "slow")
        for one in (about("id-slow"), connected("front", "id-slow")):
            engine.queue.put_nowait(one)
        for one in (about("id-web"), connected("front", "id-web")):
            engine.queue.put_nowait(one)
        engine.queue.put_nowait(about("id-web", "start"))
        seen = await until(updates, lambda seen: "id-web" in seen.containers)

    assert set(seen.containers) == {"id-web", "id-db"}
    assert engine.inspected == ["id-db", "id-web"]
    assert naps.lengths_s == [0.1]


async def test_updates_of_a_start_that_fails_look_at_what_it_left() -> None:
    engine = engine_with([network("front")])
    clock = StillClock()

    async with aclosing(watch(engine, clock=clock)) as updates:
        await snapshot(updates)
        engine.queue.put_nowait(about("id-web"))
        engine.queue.put_nowait(connected("front", "id-web"))
        engine.queue.put_nowait(moved("disconnect", "front", "id-web"))
        await snapshot(updates)

    assert (engine.asked, engine.inspected) == ([*FIRST_LOOK, "front"], [])


async def test_updates_of_a_start_without_an_end_come_when_it_takes_too_long() -> None:
    engine = engine_with([network("front")])
    clock = StillClock()

    async with aclosing(watch(engine, clock=clock)) as updates:
        await snapshot(updates)
        engine.queue.put_nowait(about("id-web"))
        engine.queue.put_nowait(connected("front", "id-web"))
        following = asyncio.create_task(anext(updates))
        await turns()
        clock.elapsed_s = 9.999
        engine.queue.put_nowait(about("id-other", "die"))
        await turns()
        before = [*engine.asked]
        clock.elapsed_s = 10.0
        async with asyncio.timeout(1.0):
            await following

    assert (before, engine.asked) == (FIRST_LOOK, [*FIRST_LOOK, "front"])


async def test_updates_after_an_outage_in_a_start_list_it_with_the_rest() -> None:
    engine = engine_with([network("front")])

    async with aclosing(watch(engine)) as updates:
        await snapshot(updates)
        engine.queue.put_nowait(about("id-web"))
        engine.queue.put_nowait(connected("front", "id-web"))
        engine.queue.put_nowait(None)
        engine.known["front"] = network("front", "web")
        engine.inspectable = {"id-web": container("web", "front-web")}
        assert isinstance(await anext(updates), EngineAway)
        seen = await until(updates, lambda seen: bool(seen.containers))

    assert (seen.networks, seen.containers) == (engine.known, engine.inspectable)


async def test_updates_with_a_look_tell_what_was_inspected_unless_that_hangs() -> None:
    engine = engine_with([network("front")])
    engine.gate = asyncio.Event()

    async with aclosing(watch(engine)) as updates:
        await snapshot(updates)
        engine.known["front"] = network("front", "stuck")
        engine.queue.put_nowait(connected("front", "id-stuck"))
        seen = await snapshot(updates)

    assert (seen.networks, seen.containers) == (engine.known, {})


async def test_updates_of_a_new_network_wait_for_no_inspection() -> None:
    engine = engine_with([network("front", "stuck")])
    engine.gate = asyncio.Event()

    async with aclosing(watch(engine)) as updates:
        await snapshot(updates)
        await turns()
        engine.known["back"] = network("back")
        engine.queue.put_nowait(event("create", "back"))
        async with asyncio.timeout(0.05):
            seen = await snapshot(updates)

    assert seen.networks == engine.known
