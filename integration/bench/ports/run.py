"""One run: six hosts, whose turns go round."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from integration.bench.api import Refused
from integration.bench.measure import in_turn
from integration.bench.operations import DOCKER, PYNET
from integration.bench.ports.calls import Caller
from integration.bench.ports.figures import RangeFigures
from integration.bench.ports.publisher import Publisher
from integration.bench.ports.report import Fill, Result
from integration.lab import Lab

T = TypeVar("T")
Tell = Callable[[str], None]

NEEDS = ("conntrack", "ipset", "iptables", "nft")
SIZES = (1, 100, 1000)

# Docker runs two processes a port, one for IPv4 and one for IPv6, of seven threads each.
_MIB_A_PORT = 2.2
_TASKS_A_PORT = 15


def measure(lab: Lab, runs: int, tell: Tell) -> Result:
    """Measure all there is, and tell meanwhile how far it is."""
    with ExitStack() as closers:
        lack = lack_for_proxies(sum(SIZES))
        publishers, fills = _publishers(lab, lack, tell, closers)
        outer = [p for p in publishers if p.others in (SIZES[0], SIZES[-1])]
        least = [p for p in publishers if p.others == SIZES[0]]
        bursts = [p.connect() for _, p in _turns("connections", publishers, runs, tell)]
        met = [p.first_packet() for p in publishers]
        for publisher in outer:
            publisher.make_ready_to_connect()
        connects = [p.time_connects(run) for run, p in _turns("connects", outer, runs, tell)]
        starts = [p.time_starts(run) for run, p in _turns("starts", least, runs, tell)]
        callers = [Caller(p) for p in outer if p.side is PYNET]
        for caller in callers:
            closers.callback(caller.close)
        calls = [c.time_port() for _, c in _turns("calls", callers, runs, tell)]
        tell("a range of ports")
        ranges, range_start_ms, refusal = _range(callers[0])
        return Result(
            kernel=platform.release(),
            engine=publishers[0].api.ask("GET", "/version")["Version"],
            pynet=callers[0].version(),
            python=platform.python_version(),
            lack_for_proxies=lack,
            fills=tuple(fills),
            bursts=tuple(bursts),
            met=tuple(met),
            pairs=(*connects, *starts),
            calls=tuple(calls),
            range=ranges,
            range_start_ms=range_start_ms,
            range_refusal=refusal,
        )


def _publishers(
    lab: Lab, lack: str, tell: Tell, closers: ExitStack
) -> tuple[list[Publisher], list[Fill]]:
    """Make the hosts, with all ports published and each warm."""
    publishers, fills = [], []
    flags = ("--userland-proxy=false",) if lack else ()
    for others in SIZES:
        for side in (PYNET, DOCKER):
            tell(f"{others} ports of {side.name}: publishing them")
            publisher = Publisher(lab, side, others, engine_flags=flags)
            closers.callback(publisher.close)
            fills.append(Fill(side=side.name, others=others, seconds=publisher.fill()))
            publisher.serve()
            publishers.append(publisher)
    for publisher in publishers:
        publisher.connect()
    return publishers, fills


def _turns(what: str, of: Sequence[T], runs: int, tell: Tell) -> Iterator[tuple[int, T]]:
    """Yield each in every run, with the number of the run."""
    for run in range(runs):
        tell(f"{what}: run {run + 1} of {runs}")
        for one in in_turn(of, run):
            yield run, one


def _range(caller: Caller) -> tuple[RangeFigures | None, float | None, str]:
    """Return the figures of a range, the ms of a start with it, and why one of them is missing."""
    figures, start_ms, refusal = None, None, ""
    try:
        figures = caller.measure_range()
        start_ms = caller.time_range_start()
    except Refused as error:
        refusal = str(error).strip()
    return figures, start_ms, refusal


def lack_for_proxies(ports: int) -> str:
    """Return what the machine lacks for Docker's processes of so many ports; "" for nothing.

    Half of what is there has to do.
    """
    lines = Path("/proc/meminfo").read_text().splitlines()
    free_kib = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    tasks = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    room = int(Path("/proc/sys/kernel/pid_max").read_text()) - tasks
    if ports * _MIB_A_PORT > free_kib / 1024 / 2:
        return f"{ports * _MIB_A_PORT * 2:.0f} MiB of memory"
    if ports * _TASKS_A_PORT > room * 0.75:
        return f"room for {ports * _TASKS_A_PORT} threads"
    return ""
