"""One sync at a time, shared by those who ask while another is under way."""

from __future__ import annotations

import asyncio

import pytest

from netplug.store.syncs import Syncs


class Disk:
    """Counts the syncs that began; each ends when it is told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.ends: asyncio.Queue[Exception | None] = asyncio.Queue()

    async def sync(self) -> None:
        self.begun += 1
        if outcome := await self.ends.get():
            raise outcome


@pytest.fixture
def disk() -> Disk:
    return Disk()


async def _going(syncs: Syncs) -> asyncio.Task[None]:
    task = asyncio.create_task(syncs.next())
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def test_those_who_ask_meanwhile_share_the_next_one(disk: Disk) -> None:
    syncs = Syncs(disk.sync)
    first = await _going(syncs)
    others = [await _going(syncs) for _ in range(3)]
    assert disk.begun == 1

    disk.ends.put_nowait(None)
    await first
    assert not any(other.done() for other in others)
    disk.ends.put_nowait(None)
    await asyncio.gather(*others)

    assert disk.begun == 2


async def test_failure_of_one_is_not_that_of_the_next(disk: Disk) -> None:
    syncs = Syncs(disk.sync)
    first, second = await _going(syncs), await _going(syncs)

    disk.ends.put_nowait(OSError("no"))
    disk.ends.put_nowait(None)

    with pytest.raises(OSError, match="no"):
        await first
    await second
    await syncs.settled()


async def test_caller_that_goes_away_leaves_it_to_the_others(disk: Disk) -> None:
    syncs = Syncs(disk.sync)
    first, second = await _going(syncs), await _going(syncs)
    third = await _going(syncs)
    second.cancel()
    disk.ends.put_nowait(None)
    disk.ends.put_nowait(None)

    await asyncio.gather(first, third)

    assert disk.begun == 2
