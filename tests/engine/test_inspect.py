"""Inspections of containers that overlap."""

from __future__ import annotations

import asyncio
from typing import cast

from netplug.contract.engine import Engine, EngineContainer
from netplug.engine.inspect import Inspector


class SlowEngine:
    """Answers each inspection when the test says so."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[EngineContainer]] = []

    async def container(self, container_id: str) -> EngineContainer:
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]


def called(name: str) -> EngineContainer:
    return EngineContainer(id="c", name=name, labels={}, aliases={})


async def turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_answer_to_an_older_inspection_never_wins() -> None:
    engine = SlowEngine()
    inspector = Inspector(cast("Engine", engine), lambda: None)
    inspector.want(["c"], [])
    await turns()
    inspector.want(["c"], ["c"])
    await turns()
    engine.asked[1].set_result(called("second"))
    await turns()
    inspector.want(["c"], ["c"])
    await turns()

    engine.asked[0].set_result(called("first"))
    await turns()
    engine.asked[2].set_result(called("third"))
    await turns()

    assert inspector.known["c"].name == "third"
    await inspector.close()


async def test_worker_that_has_just_ended_leaves_room_for_another() -> None:
    engine = SlowEngine()
    inspector = Inspector(cast("Engine", engine), lambda: None)
    inspector.want([f"c{number}" for number in range(8)], [])
    await turns()

    for future in engine.asked:
        future.set_result(called("one"))
    for _ in range(100):  # a worker that is done is counted off a turn later
        if not inspector.is_busy:
            break
        await asyncio.sleep(0)
    inspector.want(["d"], [])
    await turns()

    assert len(engine.asked) == 9
    await inspector.close()
