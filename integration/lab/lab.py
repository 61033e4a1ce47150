"""All hosts of one test run and the underlay between them."""

from __future__ import annotations

import atexit
import itertools
import os
from contextlib import ExitStack
from types import TracebackType

from integration.lab.host import Host
from integration.lab.remains import folder_of, lab_name, remove_folder, remove_orphans
from integration.lab.underlay import Underlay


class Lab:
    """Makes hosts and removes them; use it as a context manager, or call `close`.

    A process has one lab at a time. Guarantees: nothing of the lab is left after `close`, after
    the end of the interpreter, or after the next lab has started if this process was killed.
    """

    def __init__(self) -> None:
        remove_orphans()
        self.name = lab_name(os.getpid())
        self.folder = folder_of(self.name)
        self.folder.mkdir(mode=0o711)
        self._numbers = itertools.count(1)
        self._hosts: list[Host] = []
        self._closers = ExitStack()  # goes on past failures, and is empty once closed
        self._closers.callback(remove_folder, self.folder)
        atexit.register(self._closers.close)
        self.underlay = Underlay(f"{self.name}-0", self.folder / "underlay")
        self._closers.callback(self.underlay.close)

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def host(self) -> Host:
        """Make a fresh host, ready to use; close it, or leave that to the lab."""
        number = next(self._numbers)
        name = f"{self.name}-{number}"
        host = Host(name, number, underlay=self.underlay, folder=self.folder / name)
        self._hosts.append(host)
        self._closers.callback(host.close)
        return host

    @property
    def open_hosts(self) -> tuple[Host, ...]:
        """The hosts that are not closed yet."""
        return tuple(host for host in self._hosts if host.is_open)

    def close(self) -> None:
        """Remove all hosts and the underlay; fine to call again."""
        self._closers.close()
        atexit.unregister(self._closers.close)
