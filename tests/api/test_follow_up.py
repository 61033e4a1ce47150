"""What is done behind an answer: nobody waits for it but the connection's next call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from netplug.api import app
from netplug.api.app import AndThen, Readiness, plugin_server
from netplug.errors import KernelRefused
from tests.api.conftest import Client, served


class Host:
    """Has a method that is followed by waiting for `may_go_on`, and one that is not followed."""

    def __init__(self) -> None:
        self.may_go_on = asyncio.Event()
        self.followed: list[str] = []
        self.failure: Exception | None = None

    async def first(self, raw: bytes) -> object:
        return AndThen({"first": True}, self._follow)

    async def second(self, raw: bytes) -> object:
        return {"followed": self.followed}

    async def _follow(self) -> None:
        await self.may_go_on.wait()
        self.followed.append("first")
        if self.failure:
            raise self.failure


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
async def client(host: Host, tmp_path: Path) -> AsyncIterator[Client]:
    readiness = Readiness()
    readiness.open()
    methods = {"Test": {"First": host.first, "Second": host.second}}
    server = plugin_server(lambda: methods, readiness, deadline_s=20)
    async with served(server, tmp_path / "test.sock") as client:
        yield client
        host.may_go_on.set()


async def test_answer_does_not_wait_for_what_follows(client: Client, host: Host) -> None:
    reply = await client.call("Test.First")

    assert (reply.status, reply.body, host.followed) == (200, {"first": True}, [])


async def test_next_call_of_the_connection_waits_for_it(client: Client, host: Host) -> None:
    await client.call("Test.First")
    asking = asyncio.ensure_future(client.call("Test.Second"))
    for _ in range(100):  # each lets the sockets have a turn
        await asyncio.sleep(0)
    assert not asking.done()

    host.may_go_on.set()

    assert (await asking).body == {"followed": ["first"]}


async def test_next_call_goes_on_without_what_takes_too_long(
    client: Client, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_FOLLOW_S", 0.01)
    await client.call("Test.First")

    assert (await client.call("Test.Second")).body == {"followed": []}

    host.may_go_on.set()
    await asyncio.sleep(0)
    assert (await client.call("Test.Second")).body == {"followed": ["first"]}


async def test_failure_of_what_follows_is_logged_and_hurts_nobody(
    client: Client, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.may_go_on.set()
    for failure in (KernelRefused("make a link", "no"), RuntimeError("a bug")):
        host.failure = failure

        assert (await client.call("Test.First")).status == 200
        assert (await client.call("Test.Second")).status == 200

    lines = [r.getMessage() for r in caplog.records if "what follows" in r.getMessage()]
    assert lines == ["what follows Test.First failed"] * 2
