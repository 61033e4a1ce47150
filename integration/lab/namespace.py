"""One process that holds a set of namespaces, and the way into them."""

# ruff: noqa: TID251

from __future__ import annotations

import select
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from integration.lab.process import Process

READY_DEADLINE_S = 15.0
END_DEADLINE_S = 15.0

# Runs as process 1 of the new PID namespace. `cat` ends when the other end of standard input is
# closed, be it on purpose or since the process that had it open was killed; then the shell ends,
# and with process 1 the kernel ends all others. The shell waits instead of becoming `cat` because
# process 1 must reap orphans: dockerd takes a dead containerd that nobody reaped for a live one.
_HOLD = """
set -eu
exec 3<&0
read -r machine_pid _ < /proc/self/stat
{furnish}
mount -n -t proc proc /proc
hostname "$1"
ip link set lo up
cat <&3 > /dev/null &
exec 3<&-
echo "$machine_pid"
exec > /dev/null
wait
"""


class Namespace:
    """Network, mount, PID and UTS namespaces, alive until `close` or the end of this process.

    `furnish` is shell text run inside, as root, before the namespace is ready; `$1` is the name.
    """

    def __init__(self, name: str, *, log: Path, furnish: str = "") -> None:
        self.name = name
        self._processes: list[Process] = []
        with log.open("wb") as errors:
            self._unshare = subprocess.Popen(
                [
                    *("unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--kill-child"),
                    *("sh", "-c", _HOLD.format(furnish=furnish), "sh", name),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        try:
            self.pid = int(self._first_line())
        except ValueError:
            self.close()
            raise RuntimeError(f"namespace {name} did not start: {log.read_text()}") from None
        except BaseException:
            self.close()
            raise

    def _first_line(self) -> str:
        output = self._unshare.stdout
        assert output is not None
        ready, _, _ = select.select([output], [], [], READY_DEADLINE_S)
        return output.readline() if ready else ""

    @property
    def is_open(self) -> bool:
        return self._unshare.poll() is None

    @property
    def entry(self) -> tuple[str, ...]:
        """The words to put before a command so that it runs inside."""
        return ("nsenter", "--target", str(self.pid), "--net", "--mount", "--pid", "--uts")

    @property
    def network_entry(self) -> tuple[str, ...]:
        """The same for its network only: the command names files and processes as outside."""
        return ("nsenter", "--target", str(self.pid), "--net")

    def popen(
        self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
    ) -> Process:
        """Start a process inside, its output appended to `log`; it ends at the latest with us."""
        process = Process(argv, prefix=self.entry, log=log, env=env)
        self._processes.append(process)
        return process

    @property
    def root(self) -> Path:
        """The file system as the inside sees it."""
        return Path(f"/proc/{self.pid}/root")

    def close(self) -> None:
        """End every process inside; what the namespaces held goes with them."""
        for pipe in (self._unshare.stdin, self._unshare.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._unshare.wait(END_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._unshare.kill()
            self._unshare.wait(END_DEADLINE_S)
        for process in self._processes:
            process.reap()
        self._processes.clear()
