"""The daemon's side of the relay: the test is the process that it starts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Any

import pytest

from netplug.kernel.relay import Relay, Relayed
from netplug.model import Protocol
from tests.kernel.worker_process import FakeProcess


@pytest.fixture
def process() -> FakeProcess:
    return FakeProcess()


@pytest.fixture
async def relay(process: FakeProcess) -> AsyncIterator[Relay]:
    relay = Relay(process.start)
    yield relay
    await relay.close()
    process.sock.close()


@pytest.fixture
def null() -> Any:
    with open(os.devnull, "rb") as file:
        yield file.fileno()


def to(target: str, fds: list[int]) -> Relayed:
    return Relayed(protocol=Protocol.TCP, fds=fds, to_address=ip_address(target), to_port=80)


async def test_process_is_started_with_the_first_port_only(
    relay: Relay, process: FakeProcess, null: int
) -> None:
    await asyncio.sleep(0)
    before = process.started.is_set()

    relay.add(to("192.0.2.7", [null]))
    await process.started.wait()

    assert not before


async def test_process_is_told_everything_once_it_is_ready(
    relay: Relay, process: FakeProcess, null: int
) -> None:
    relay.add(to("192.0.2.7", [null]))
    relay.add(to("2001:db8::7", [null, null]))
    await process.started.wait()
    told_early = not process.is_told_nothing()

    await process.say(ready=True)

    first = {"add": 1, "protocol": "tcp", "to": "192.0.2.7", "port": 80}
    second = {"add": 2, "protocol": "tcp", "to": "2001:db8::7", "port": 80}
    assert [await process.hear(), await process.hear()] == [(first, 1), (second, 2)]
    assert not told_early


async def test_long_run_is_told_in_parts(relay: Relay, process: FakeProcess, null: int) -> None:
    await_ready = process.say(ready=True)
    relay.add(to("192.0.2.7", [null] * 600))
    await await_ready

    parts = [await process.hear() for _ in range(3)]

    assert [(message["port"], count) for message, count in parts] == [
        (80, 250),
        (330, 250),
        (580, 100),
    ]


async def test_removed_before_it_was_told_is_never_told(
    relay: Relay, process: FakeProcess, null: int
) -> None:
    number = relay.add(to("192.0.2.7", [null]))
    relay.add(to("192.0.2.8", [null]))
    await relay.remove(number)

    await process.say(ready=True)

    message, _ = await process.hear()
    assert message["to"] == "192.0.2.8"


async def test_remove_waits_for_the_answer(relay: Relay, process: FakeProcess, null: int) -> None:
    number = relay.add(to("192.0.2.7", [null]))
    await process.say(ready=True)
    await process.hear()

    removal = asyncio.create_task(relay.remove(number))
    message, _ = await process.hear()
    was_done = removal.done()
    await process.say(removed=number)
    await removal

    assert message == {"remove": number}
    assert not was_done


async def test_close_ends_the_process_and_whoever_waits(
    relay: Relay, process: FakeProcess, null: int
) -> None:
    number = relay.add(to("192.0.2.7", [null]))
    await process.say(ready=True)
    await process.hear()
    removal = asyncio.create_task(relay.remove(number))
    await process.hear()

    await relay.close()

    await removal
    assert process.sock.fileno() == -1


async def test_warning_of_the_process_is_logged(
    relay: Relay, process: FakeProcess, null: int, caplog: pytest.LogCaptureFixture
) -> None:
    relay.add(to("192.0.2.7", [null]))
    await process.say(ready=True)
    await process.hear()

    await process.say(warning="no descriptor is left")
    number = relay.add(to("192.0.2.8", [null]))
    await process.hear()
    removal = asyncio.create_task(relay.remove(number))
    await process.hear()
    await process.say(removed=number)
    await removal

    assert [r.__dict__["reason"] for r in caplog.records] == ["no descriptor is left"]
