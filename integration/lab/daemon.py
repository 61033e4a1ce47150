"""The pynet daemon inside a host, and its command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from integration.lab import unix_http
from integration.lab.host import Host
from integration.lab.process import COMMAND_DEADLINE_S, Completed, Process
from integration.lab.waiting import eventually

STATE = "/var/lib/pynet"
SOCKET = "/run/pynet/pynet.sock"
PLUGIN_SOCKET = "/run/docker/plugins/pynet.sock"
STATUS = "/v1/status"
START_DEADLINE_S = 30.0
STOP_GRACE_S = 30.0

SOURCE = Path(__file__).resolve().parents[2]


class Daemon:
    """`pynet daemon`, run by the interpreter and from the source tree that run the tests."""

    def __init__(
        self, host: Host, *, flags: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> None:
        self.host = host
        self.flags = tuple(flags)
        self._env = {"PYTHONPATH": str(SOURCE), **(env or {})}
        self._process: Process | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    @property
    def process(self) -> Process:
        """The running daemon."""
        assert self._process is not None, "pynet was never started"
        return self._process

    @property
    def socket(self) -> Path:
        """The admin socket, as seen from outside the host."""
        return self.host.path(SOCKET)

    @property
    def plugin_socket(self) -> Path:
        """The socket that dockerd calls, as seen from outside the host."""
        return self.host.path(PLUGIN_SOCKET)

    def start(self, *, wait: bool = True) -> None:
        """Start the daemon and wait until it tells its status."""
        assert not self.is_running, "pynet is running already"
        self._process = self.host.popen(
            [*self._argv("daemon", "--state-dir", STATE), *self.flags], log="pynet", env=self._env
        )
        if wait:
            self.wait_until_up()

    def wait_until_up(self, *, deadline_s: float = START_DEADLINE_S) -> None:
        """Wait until the daemon answers on its admin socket, or until it ends.

        Raises:
            NeverHappened: it did neither before the deadline.
            ChildProcessError: it ended.
        """
        process = self.process

        def up_or_ended() -> bool:
            return unix_http.answers(self.socket, STATUS) or not process.is_running

        eventually(up_or_ended, "pynet answers", deadline_s=deadline_s, detail=process.tail)
        if not process.is_running:
            raise ChildProcessError(f"pynet ended with {process.status}\n{process.tail()}")

    def stop(self) -> None:
        self.process.stop(grace_s=STOP_GRACE_S)

    def kill(self) -> None:
        """End the daemon as a crash would: what it made in the kernel stays."""
        self.process.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def helper(self, module: str) -> int:
        """Return the process that the daemon runs a module of its own in, as the machine sees it.

        Raises:
            LookupError: there is none.
        """
        for children in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            for pid in children.read_text().split():
                if f"\0-m\0{module}\0" in Path(f"/proc/{pid}/cmdline").read_text():
                    return int(pid)
        raise LookupError(f"pynet runs no {module}")

    def pynet(
        self, *words: str, check: bool = True, timeout: float = COMMAND_DEADLINE_S
    ) -> Completed:
        """Run the pynet command line inside the host.

        Raises:
            CommandFailed: its status was not 0 and `check` is set.
        """
        return self.host.run(self._argv(*words), check=check, timeout=timeout, env=self._env)

    def pynet_json(self, *words: str) -> Any:
        """Run a pynet command with `--output json` and return what it printed, parsed."""
        return json.loads(self.pynet(*words, "--output", "json").stdout)

    def admin(self, method: str, target: str, body: object = None) -> unix_http.Answer:
        """Call the admin API without the command line between."""
        return unix_http.request(self.socket, method, target, body)

    def call(self, method: str, body: object = None) -> unix_http.Answer:
        """Call the plugin as dockerd would, for example `NetworkDriver.GetCapabilities`."""
        return unix_http.request(self.plugin_socket, "POST", f"/{method}", body)

    @staticmethod
    def _argv(*words: str) -> list[str]:
        return [sys.executable, "-m", "netplug.cli", *words]
