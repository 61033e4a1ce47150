"""Times a block of code."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Watch:
    """What `stopwatch` measured, once the block is through."""

    ms = 0.0


@contextmanager
def stopwatch() -> Iterator[Watch]:
    """Time the block; one that raises is not timed."""
    watch = Watch()
    begin = time.perf_counter()
    yield watch
    watch.ms = (time.perf_counter() - begin) * 1000
