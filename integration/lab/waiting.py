"""The only way to wait here: poll a condition, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.02


class NeverHappened(AssertionError):
    """A condition stayed false until its deadline."""

    def __init__(self, what: str, deadline_s: float, detail: str = "") -> None:
        super().__init__(
            f"waited {deadline_s:g} s in vain: {what}" + (f"\n{detail}" * bool(detail))
        )


def eventually(
    condition: Callable[[], T | None],
    what: str,
    *,
    deadline_s: float = 10.0,
    detail: Callable[[], str] | None = None,
) -> T:
    """Call `condition` until it returns something true, and return that.

    `what` finishes the sentence "waited 10 s in vain: ..."; `detail` is asked for more, a log's
    tail for example, only when the wait failed.

    Raises:
        NeverHappened: the deadline passed.
    """
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise NeverHappened(what, deadline_s, detail() if detail else "")
        time.sleep(POLL_S)
