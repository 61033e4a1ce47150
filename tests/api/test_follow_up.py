"""What is done behind an answer: nobody waits for it, but the end of the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from netplug.api.app import Readiness, plugin_server
from netplug.api.follow import AndThen, FollowUps
from netplug.errors import KernelRefused
from tests.api.conftest import Client, served


class Host:
    """Has a method that is followed by waiting for `may_go_on`, and one that is not followed."""

    def __init__(self) -> None:
        self.may_go_on = asyncio.Event()
        self.done: list[str] = []
        self.failure: Exception | None = None

    async def first(self, raw: bytes) -> object:
        return AndThen({"first": True}, self._follow)

    async def second(self, raw: bytes) -> object:
        return {"second": True}

    async def _follow(self) -> None:
        self.done.append("begun")
        await self.may_go_on.wait()
        if self.failure:
            raise self.failure
        self.done.append("over")


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
async def client(host: Host, follow_ups: FollowUps, tmp_path: Path) -> AsyncIterator[Client]:
    readiness = Readiness()
    readiness.open()
    methods = {"Test": {"First": host.first, "Second": host.second}}
    server = plugin_server(lambda: methods, readiness, 20.0, follow_ups)
    async with served(server, tmp_path / "test.sock") as client:
        yield client
    host.may_go_on.set()
    await follow_ups.settled()


async def test_neither_the_answer_nor_the_next_call_waits_for_what_follows(
    client: Client, host: Host
) -> None:
    assert (await client.call("Test.First")).body == {"first": True}
    assert (await client.call("Test.Second")).body == {"second": True}

    assert host.done == ["begun"]


async def test_answer_is_sent_before_what_follows_begins(
    client: Client, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_eof = web.Response.write_eof

    async def told(self: web.Response, *data: Any) -> None:
        await write_eof(self, *data)
        host.done.append("sent")

    monkeypatch.setattr(web.Response, "write_eof", told)
    await client.call("Test.First")
    await client.call("Test.Second")

    assert host.done == ["sent", "begun", "sent"]


async def test_settled_waits_for_what_is_under_way(
    client: Client, host: Host, follow_ups: FollowUps
) -> None:
    await client.call("Test.First")
    settling = asyncio.ensure_future(follow_ups.settled())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not settling.done()

    host.may_go_on.set()
    await settling

    assert host.done == ["begun", "over"]


async def test_failure_of_what_follows_is_logged_and_hurts_nobody(
    client: Client, host: Host, follow_ups: FollowUps, caplog: pytest.LogCaptureFixture
) -> None:
    host.may_go_on.set()
    for failure in (KernelRefused("make a link", "no"), RuntimeError("a bug")):
        host.failure = failure
        assert (await client.call("Test.First")).status == 200
        await follow_ups.settled()

    lines = [r.getMessage() for r in caplog.records if "what follows" in r.getMessage()]
    assert lines == ["what follows Test.First failed", "what follows Test.First failed on a bug"]
