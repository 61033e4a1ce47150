"""What is done behind an answer, when nobody waits any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from netplug.errors import PynetError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AndThen:
    """An answer, and what follows it."""

    answer: object
    then: Callable[[], Coroutine[Any, Any, None]]


class FollowUps:
    """What follows answers and is under way; a failure is logged, since nobody can be told."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[None]] = set()

    def start(self, method: str, work: Coroutine[Any, Any, None]) -> None:
        """Begin `work` as soon as its caller has given up its turn, that is, has answered."""
        task = asyncio.create_task(_follow(method, work))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)


async def _follow(method: str, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except PynetError as error:
        log.warning("what follows %s failed", method, extra={"reason": str(error)})
    except Exception:
        log.exception("what follows %s failed on a bug", method)
