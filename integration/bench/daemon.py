"""What the daemon costs when nothing is asked of it: the time to be ready, and memory."""

from __future__ import annotations

import http.client
import time
from pathlib import Path

from integration.bench.report import DaemonFigures
from integration.lab import Daemon, NeverHappened

_POLL_S = 0.002
_DEADLINE_S = 60.0


def start(daemon: Daemon) -> float:
    """Start the daemon; return the ms until its status says "ready".

    Raises:
        NeverHappened: it did not.
    """
    begin = time.perf_counter()
    daemon.start(wait=False)
    while (passed_s := time.perf_counter() - begin) < _DEADLINE_S:
        if _is_ready(daemon):
            return (time.perf_counter() - begin) * 1000
        time.sleep(_POLL_S)
    raise NeverHappened("pynet is ready", passed_s, daemon.process.tail())


def restart(daemon: Daemon, *, networks: int, times: int) -> DaemonFigures:
    """Start the daemon anew so many times, with what it has to look after."""
    ready_ms = []
    for _ in range(times):
        daemon.stop()
        ready_ms.append(start(daemon))
    return DaemonFigures(networks=networks, ready_ms=tuple(ready_ms), rss_mib=rss_mib(daemon))


def _is_ready(daemon: Daemon) -> bool:
    try:
        answer = daemon.admin("GET", "/v1/status")
    except (OSError, http.client.HTTPException):
        return False
    return answer.status == http.client.OK and answer.body["state"] == "ready"


def rss_mib(daemon: Daemon) -> float:
    """Return the resident memory; it is at rest a moment after it has said that it is ready."""
    time.sleep(1.0)
    return rss_mib_of(daemon.process.pid)


def rss_mib_of(pid: int) -> float:
    """Return the resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return kib / 1024
