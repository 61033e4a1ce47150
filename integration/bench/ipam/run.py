"""One run: who gives addresses when, and every pool in process, in a process of its own."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from integration.bench.ipam.figures import RATE_GOALS, Giving, InProcess
from integration.bench.ipam.givers import MANY_LEASES, HostLocal, Pynet
from integration.bench.ipam.report import Result
from integration.bench.measure import in_turn
from integration.lab import Lab, probes
from integration.lab.process import run as run_program

Tell = Callable[[str], None]

NETWORKS = ("10.0.0.0/8", "fd00::/64")
SIZES = (0, 1_000, 100_000, 1_000_000)
_DEADLINE_S = 300.0
_DISK_BYTES = 3 * 4096  # what a lease is in the WAL, roughly
_DISK_SYNCS = 200


def measure(lab: Lab, runs: int, tell: Tell) -> Result:
    """Measure all there is, and tell meanwhile how far it is."""
    giving, syncs = [], []
    for leases in (0, MANY_LEASES):
        with Stage(lab, leases) as stage:
            for number in range(runs):
                tell(f"giving addresses beside {leases} leases: round {number + 1} of {runs}")
                giving += stage.round(number)
                syncs.append(stage.syncs_per_second())
    in_process = []
    for network in NETWORKS:
        for leases in SIZES:
            tell(f"{leases} leases of {network}")
            in_process.append(measure_in_process(network, leases, runs))
    return Result(
        kernel=platform.release(),
        python=platform.python_version(),
        load=os.getloadavg()[1],
        missing=probes.first_missing("host-local") or "",
        syncs_per_second=tuple(syncs),
        giving=tuple(giving),
        in_process=tuple(in_process),
    )


class Stage(ExitStack):
    """All who give addresses, beside so many leases each."""

    def __init__(self, lab: Lab, leases: int) -> None:
        super().__init__()
        host = lab.host()
        self._folder = host.folder
        self._givers: list[Pynet | HostLocal] = [Pynet(host, leases)]
        if not probes.missing("host-local"):
            self._givers.append(HostLocal(host.folder / "host-local", leases))
        for giver in self._givers:
            self.callback(giver.close)

    def round(self, number: int) -> Iterator[Giving]:
        """Yield what each of them gives to one caller, and then to many."""
        for callers in RATE_GOALS:
            for giver in in_turn(self._givers, number):
                if giver.has_turn(callers, number):
                    yield giver.give(callers)

    def syncs_per_second(self) -> float:
        """Return how often that disk writes over a piece of a file and syncs it."""
        return _syncs_per_second(self._folder / "disk")


def _syncs_per_second(path: Path) -> float:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.pwrite(fd, bytes(_DISK_BYTES), 0)
        os.fsync(fd)
        begun_s = time.perf_counter()
        for _ in range(_DISK_SYNCS):
            os.pwrite(fd, os.urandom(_DISK_BYTES), 0)
            os.fdatasync(fd)
        return _DISK_SYNCS / (time.perf_counter() - begun_s)
    finally:
        os.close(fd)


def measure_in_process(network: str, leases: int, runs: int) -> InProcess:
    """Return the figures of one pool at one size, from a process of its own."""
    program = (sys.executable, "-m", "integration.bench.ipam.inprocess")
    done = run_program((*program, network, str(leases), str(runs)), timeout=_DEADLINE_S)
    return InProcess.of_json(json.loads(done.stdout))
