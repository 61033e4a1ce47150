"""One daemon per state directory: a lock that dies with the process that holds it.

SQLite's own locks guard single transactions, and are dropped whenever any file descriptor of the
database is closed (fcntl(2), F_SETLK); flock(2) on a file of its own has neither weakness.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from netplug.errors import StoreUnavailable


class Lock:
    """The exclusive hold on a state directory, from creation until `release`."""

    def __init__(self, path: Path) -> None:
        """Take the lock and leave our process id in it, for whoever is refused.

        Raises:
            StoreUnavailable: someone else holds it.
            OSError: the file cannot be made.
        """
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take(path)
        except BaseException:
            os.close(self._fd)
            raise

    def release(self) -> None:
        """Let another process in. The file stays: removing it would race with the next holder."""
        os.close(self._fd)

    def _take(self, path: Path) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip()
            raise StoreUnavailable(
                str(path.parent),
                f"in use by pid {holder}" if holder else "in use by another process",
                "stop that one, or give this one a state directory of its own",
            ) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
