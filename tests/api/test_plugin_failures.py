"""What dockerd is told of a method that fails, never ends, or is no longer waited for."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from netplug.api.app import Methods, Readiness, plugin_server
from netplug.api.follow import FollowUps
from netplug.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidOptions,
    KernelRefused,
    NotFound,
    PoolExhausted,
    PynetError,
    StoreUnavailable,
    Unsupported,
)
from tests.api.conftest import Reply, served

TINY_S = 0.01


async def answer(methods: Methods, tmp_path: Path, deadline_s: float = TINY_S) -> Reply:
    """Return what a call gets of a daemon with one method of ours."""
    readiness = Readiness()
    readiness.open()
    server = plugin_server(lambda: {"Test": methods}, readiness, deadline_s, FollowUps())
    async with served(server, tmp_path / "test.sock") as client:
        return await client.call("Test.Method", {})


def raising(error: BaseException) -> Methods:
    async def method(raw: bytes) -> object:
        raise error

    return {"Method": method}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidOptions(["a", "b"]), 400),
        (NotFound("network", "web"), 400),
        (Conflict("it", "exists"), 409),
        (PoolExhausted("it", "all leased"), 503),
        (Unsupported("it", "too old"), 501),
        (KernelRefused("add it", "no"), 500),
        (StoreUnavailable("it", "full"), 503),
        (DeadlineExceeded("it", 1), 504),
        (PynetError("it"), 500),
    ],
)
async def test_error_is_sent_with_its_status_under_both_keys(
    error: PynetError, status: int, tmp_path: Path
) -> None:
    reply = await answer(raising(error), tmp_path)

    assert reply == Reply(
        status,
        {"Err": str(error), "Error": str(error)},
        "application/vnd.docker.plugins.v1.2+json",
    )


async def test_bug_is_logged_with_its_trace_and_sent_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reply = await answer(raising(ZeroDivisionError("secret")), tmp_path)

    assert (reply.status, "secret" in reply.body["Err"]) == (500, False)
    assert "ZeroDivisionError" in caplog.text


async def test_error_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    await answer(raising(Conflict("it", "exists")), tmp_path)

    assert [record.getMessage() for record in caplog.records] == ["/Test.Method refused"]


async def test_method_that_never_ends_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    for_ever = asyncio.Event()

    async def method(raw: bytes) -> object:
        return await for_ever.wait()

    reply = await answer({"Method": method}, tmp_path)

    assert reply.status == 504
    assert reply.body["Err"] == "Test.Method did not finish within 0.01 s"


async def test_method_that_is_given_up_is_not_interrupted_and_its_failure_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    may_end, ended = asyncio.Event(), asyncio.Event()

    async def method(raw: bytes) -> object:
        await may_end.wait()
        ended.set()
        raise Conflict("it", "came too late")

    reply = await answer({"Method": method}, tmp_path)
    may_end.set()
    await ended.wait()
    await asyncio.sleep(0)

    assert reply.status == 504
    assert "a request that was given up failed" in caplog.text


async def test_method_whose_client_goes_away_is_not_interrupted(tmp_path: Path) -> None:
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def method(raw: bytes) -> object:
        begun.set()
        await may_end.wait()
        ended.set()
        return {}

    readiness = Readiness()
    readiness.open()
    server = plugin_server(lambda: {"Test": {"Method": method}}, readiness, 20.0, FollowUps())
    async with served(server, tmp_path / "test.sock") as client:
        call = asyncio.ensure_future(client.call("Test.Method", {}))
        await begun.wait()
        call.cancel()
        await asyncio.wait([call])
        may_end.set()

        await ended.wait()
