"""Around every request: readiness, a deadline, an id for the log, errors turned into replies."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from aiohttp import web

from netplug import log as log_context
from netplug.errors import DeadlineExceeded, InvalidRequest, PynetError

log = logging.getLogger(__name__)

BODY_LIMIT_BYTES = 16 << 20
"""dockerd's largest call, an endpoint with every port exposed and published, has some 8 MB."""

Reply = Callable[[PynetError], web.Response]
Request = TypeVar("Request", bound=web.BaseRequest)
Result = TypeVar("Result")


class Guard(Protocol):
    """Calls a handler for a request; fulfils aiohttp's `Middleware`."""

    async def __call__(
        self, request: Request, handler: Callable[[Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Return what the handler answers, or what its failure is turned into."""
        ...


def guarded(reply: Reply) -> Guard:
    """Return a middleware that turns every failure into `reply`'s form, logged once."""

    @web.middleware
    async def guard(
        request: Request, handler: Callable[[Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        with log_context.context(request_id=secrets.token_hex(4)):
            try:
                return await handler(request)
            except PynetError as error:
                log.warning("%s refused", request.path, extra={"reason": str(error)})
                return reply(error)
            except (web.HTTPException, asyncio.CancelledError, ConnectionResetError):
                raise
            except Exception:
                log.exception("%s failed on a bug", request.path)
                return reply(PynetError("internal error; the daemon's log has the details"))

    return guard


async def body_of(request: web.BaseRequest) -> bytes:
    """Return the body.

    Raises:
        InvalidRequest: it is larger than any call of dockerd's.
    """
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise InvalidRequest([f"the body is larger than {BODY_LIMIT_BYTES} bytes"]) from error


async def within(deadline_s: float, what: str, work: Coroutine[Any, Any, Result]) -> Result:
    """Await `work`, at most `deadline_s`.

    A caller that goes away or a deadline that passes does not interrupt it: half a change is worse
    than a late one.

    Raises:
        DeadlineExceeded: `work` goes on, and its outcome is logged.
    """
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait((task,), timeout=deadline_s)
    except asyncio.CancelledError:
        task.add_done_callback(_log_outcome)
        raise
    if not done:
        task.add_done_callback(_log_outcome)
        raise DeadlineExceeded(what, deadline_s)
    return task.result()


def _log_outcome(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.warning("a request that was given up failed", extra={"reason": str(error)})
