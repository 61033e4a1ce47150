"""A process of our own, as the daemon sees it: the test is the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest

from netplug.kernel.worker import Packet, Worker
from tests.kernel.worker_process import FakeProcess


class Owner:
    """Says one thing to each process, and keeps what it hears."""

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.begins = 0
        self.heard: list[Mapping[str, Any]] = []
        self.hears = asyncio.Event()
        self.ended = asyncio.Event()

    def begin(self) -> None:
        self.begins += 1
        assert self.worker is not None
        self.worker.say(self.packets)

    def packets(self) -> Iterator[Packet]:
        yield Packet(text=b'{"hello": 1}')

    def hear(self, message: Mapping[str, Any]) -> None:
        self.heard.append(message)
        self.hears.set()

    def end(self) -> None:
        self.ended.set()


@pytest.fixture
def process() -> FakeProcess:
    return FakeProcess()


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
async def worker(process: FakeProcess, owner: Owner) -> AsyncIterator[Worker]:
    worker = owner.worker = Worker("the test", process.start, owner)
    yield worker
    await worker.close()
    process.sock.close()


async def test_new_process_is_told_what_its_owner_begins_with(
    worker: Worker, process: FakeProcess
) -> None:
    worker.start()
    await process.say(ready=True)

    assert await process.hear() == ({"hello": 1}, 0)


async def test_said_without_a_process_is_left_to_the_beginning(
    worker: Worker, process: FakeProcess
) -> None:
    worker.say(lambda: [Packet(text=b'{"early": 1}')])
    worker.start()
    await process.say(ready=True)

    assert await process.hear() == ({"hello": 1}, 0)
    await asyncio.sleep(0)
    assert process.is_told_nothing()


async def test_process_that_ends_is_reported_after_it_is_gone(
    worker: Worker, process: FakeProcess, owner: Owner
) -> None:
    worker.start()
    await process.say(ready=True)
    await process.hear()
    was_ended = owner.ended.is_set()

    process.kill()
    await owner.ended.wait()

    assert not was_ended
    assert not worker.is_ready


@pytest.mark.parametrize("text", [b"not JSON", b'{"log": [', b"7", b"\xff", b"[" * 60_000])
async def test_what_is_no_message_is_left_out(
    worker: Worker,
    process: FakeProcess,
    owner: Owner,
    caplog: pytest.LogCaptureFixture,
    text: bytes,
) -> None:
    worker.start()
    await process.say(ready=True)
    await process.hear()

    process.sock.send(text)
    await process.say(synced=7)
    await owner.hears.wait()

    assert owner.heard == [{"synced": 7}]


async def test_what_the_process_says_reaches_the_owner(
    worker: Worker, process: FakeProcess, owner: Owner
) -> None:
    worker.start()
    await process.say(ready=True)
    await process.say(synced=7)
    await owner.hears.wait()

    assert owner.heard == [{"synced": 7}]
