"""One run: every pool at every size, each in a process of its own."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable

from integration.bench.ipam.figures import InProcess
from integration.bench.ipam.report import Result
from integration.lab.process import run

Tell = Callable[[str], None]

NETWORKS = ("10.0.0.0/8", "fd00::/64")
SIZES = (0, 1_000, 100_000, 1_000_000)
_DEADLINE_S = 300.0


def measure(runs: int, tell: Tell) -> Result:
    """Measure all there is, and tell meanwhile how far it is."""
    found = []
    for network in NETWORKS:
        for leases in SIZES:
            tell(f"{leases} leases of {network}")
            found.append(in_process(network, leases, runs))
    return Result(
        kernel=platform.release(), python=platform.python_version(), in_process=tuple(found)
    )


def in_process(network: str, leases: int, runs: int) -> InProcess:
    """Return the figures of one pool at one size, from a process of its own."""
    program = (sys.executable, "-m", "integration.bench.ipam.inprocess")
    done = run((*program, network, str(leases), str(runs)), timeout=_DEADLINE_S)
    return InProcess.of_json(json.loads(done.stdout))
