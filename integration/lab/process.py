"""Commands run to their end, and processes kept running, with the errors a test can read."""

# The library under test forks through netplug.kernel.proc; its tests must not depend on it.
# ruff: noqa: TID251

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from integration.lab.waiting import eventually

Completed = subprocess.CompletedProcess[str]

COMMAND_DEADLINE_S = 60.0
TAIL_LINES = 40


class CommandFailed(AssertionError):
    """A command ended with a status other than 0."""

    def __init__(self, argv: Sequence[str], done: Completed) -> None:
        super().__init__(
            f"`{shlex.join(argv)}` ended with {done.returncode}\n{done.stdout}{done.stderr}"
        )
        self.argv = tuple(argv)
        self.done = done


def run(
    argv: Sequence[str],
    *,
    prefix: Sequence[str] = (),
    timeout: float = COMMAND_DEADLINE_S,
    check: bool = True,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
) -> Completed:
    """Run a command to its end; `prefix` enters namespaces and is left out of error messages.

    `env` adds to the environment. Without `stdin` the command reads end of file.

    Raises:
        CommandFailed: its status was not 0 and `check` is set.
        subprocess.TimeoutExpired: it ran longer than `timeout` seconds, and was killed.
    """
    done = subprocess.run(
        [*prefix, *argv],
        capture_output=True,
        check=False,
        text=True,
        errors="replace",
        timeout=timeout,
        env={**os.environ, **(env or {})},
        **({"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}),
    )
    if check and done.returncode != 0:
        raise CommandFailed(argv, done)
    return done


class Process:
    """A process kept running inside a host, its output appended to a log file.

    `nsenter` stays outside as the parent of the process proper, which is what `pid` names and
    what signals are sent to. It dies with its parent, so nothing is left when the test dies.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        prefix: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.argv = tuple(argv)
        self.log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self._nsenter = subprocess.Popen(
                [*prefix, "setpriv", "--pdeathsig", "KILL", *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id as the machine sees it; inside the host it has another.

        Raises:
            ProcessLookupError: it has ended.
        """
        outer = self._nsenter.pid
        children = Path(f"/proc/{outer}/task/{outer}/children")
        eventually(
            lambda: not self.is_running or children.read_text(),
            f"{self.argv[0]} starts inside its host",
        )
        inside = children.read_text().split() if self.is_running else []
        if not inside:
            raise ProcessLookupError(f"{self.argv[0]} has ended, with {self.status}")
        return int(inside[0])

    @property
    def status(self) -> int | None:
        """The exit status, minus the signal's number if it was killed, None while it runs."""
        return self._nsenter.poll()

    @property
    def is_running(self) -> bool:
        return self.status is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; with SIGSTOP and SIGCONT a process is hung and freed.

        Raises:
            ProcessLookupError: it has ended.
        """
        os.kill(self.pid, number)
        if number in (signal.SIGCONT, signal.SIGKILL):
            # nsenter stops itself when its child is stopped, and then would never see it end.
            self._nsenter.send_signal(signal.SIGCONT)

    def wait(self, *, timeout: float = COMMAND_DEADLINE_S) -> int:
        """Return the exit status, once there is one."""
        return self._nsenter.wait(timeout)

    def stop(self, *, grace_s: float = 15.0) -> None:
        """Ask it to end, then make it; fine when it has ended already."""
        with suppress(ProcessLookupError):
            self.signal(signal.SIGTERM)
        try:
            self.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would; fine when it has ended already."""
        with suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self.wait()

    def reap(self) -> None:
        """Collect the status of a process that ended with its host."""
        self._nsenter.send_signal(signal.SIGCONT)
        self.wait()

    def output(self) -> str:
        """All it has written so far."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def tail(self) -> str:
        """The end of what it has written, under a heading, to be shown with a failure."""
        return tail(self.log)


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log file, under a heading that names it."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join([f"--- {log.name}, last lines ---", *text.splitlines()[-lines:]])
