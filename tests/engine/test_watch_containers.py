"""What the watcher tells of containers: each is inspected once, and again when it was touched."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from netplug.contract.engine import (
    EngineAway,
    EngineEvent,
)
from tests.engine.scripted import (
    container,
    engine_with,
    event,
    network,
    snapshot,
    until,
    watch,
)


async def test_updates_tell_the_containers_after_the_listing() -> None:
    engine = engine_with([network("front", "web"), network("back", "web")])
    engine.inspectable = {"id-web": container("web", "front-web", "back-web")}

    async with aclosing(watch(engine)) as updates:
        first = await snapshot(updates)
        second = await snapshot(updates)

    assert (first.containers, second.containers) == ({}, engine.inspectable)
    assert engine.inspected == ["id-web"]


async def test_updates_after_a_hundred_starts_inspect_each_once_and_few_at_a_time() -> None:
    names = [f"web{number}" for number in range(100)]
    engine = engine_with([network("front", *names)])
    engine.inspectable = {f"id-{name}": container(name, f"front-{name}") for name in names}

    async with aclosing(watch(engine)) as updates:
        await until(updates, lambda seen: len(seen.containers) == len(names))

    assert sorted(engine.inspected) == sorted(engine.inspectable)
    assert engine.most_at_once == 8


async def test_updates_while_one_inspection_hangs_tell_the_others() -> None:
    engine = engine_with([network("front", "stuck")])
    engine.gate = asyncio.Event()

    async with aclosing(watch(engine)) as updates:
        await snapshot(updates)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        engine.gate = None
        engine.known["front"] = network("front", "stuck", "web")
        engine.inspectable = {"id-web": container("web", "front-web")}
        engine.queue.put_nowait(event("connect", "front"))
        seen = await until(updates, lambda seen: "id-web" in seen.containers)

    assert set(seen.containers) == {"id-web"}


@pytest.mark.parametrize("action", ["start", "rename", "update"])
async def test_updates_inspect_again_what_an_event_touched(action: str) -> None:
    engine = engine_with([network("front", "web", "db")])
    engine.inspectable = {c: container(c[3:], f"front-{c[3:]}") for c in ("id-web", "id-db")}

    async with aclosing(watch(engine)) as updates:
        await until(updates, lambda seen: len(seen.containers) == 2)
        engine.inspectable["id-web"] = container("web", "front-web", service="shop")
        engine.queue.put_nowait(
            EngineEvent(kind="container", action=action, id="id-web", attributes={})
        )
        await until(updates, lambda seen: bool(seen.containers["id-web"].labels))

    assert engine.inspected.count("id-web") == 2
    assert engine.inspected.count("id-db") == 1


async def test_updates_inspect_again_what_has_another_endpoint_than_before() -> None:
    engine = engine_with([network("front", "web")])
    engine.inspectable = {"id-web": container("web", "front-web")}

    async with aclosing(watch(engine)) as updates:
        await until(updates, lambda seen: bool(seen.containers))
        engine.known["back"] = network("back", "web")
        engine.inspectable = {"id-web": container("web", "front-web", "back-web")}
        engine.queue.put_nowait(event("create", "back"))
        await until(updates, lambda seen: "back-web" in seen.containers["id-web"].aliases)

    assert engine.inspected == ["id-web"] * 2


async def test_updates_forget_the_container_that_left() -> None:
    engine = engine_with([network("front", "web")])
    engine.inspectable = {"id-web": container("web", "front-web")}

    async with aclosing(watch(engine)) as updates:
        await until(updates, lambda seen: bool(seen.containers))
        engine.known["front"] = network("front")
        engine.queue.put_nowait(event("disconnect", "front"))
        last = await snapshot(updates)

    assert last.containers == {}


async def test_updates_after_an_outage_resume_and_keep_what_was_inspected() -> None:
    engine = engine_with([network("front", "web")])
    engine.inspectable = {"id-web": container("web", "front-web")}
    connected = EngineEvent(
        kind="network", action="connect", id="front", attributes={"type": "pynet"}, time_ns=17
    )

    async with aclosing(watch(engine)) as updates:
        await until(updates, lambda seen: bool(seen.containers))
        engine.queue.put_nowait(connected)
        await snapshot(updates)
        engine.queue.put_nowait(None)
        while not isinstance(await anext(updates), EngineAway):
            pass
        again = await snapshot(updates)

    assert engine.resumed_from == [0, 17]
    assert again.containers == engine.inspectable
    assert engine.inspected == ["id-web"]
