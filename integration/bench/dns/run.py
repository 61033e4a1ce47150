"""One run: who is asked when, round by round."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import ExitStack

from integration.bench.dns.figures import (
    Changes,
    Flooded,
    Latency,
    Rate,
    Server,
    Strain,
    latency,
    rate,
)
from integration.bench.dns.names import ManyNames
from integration.bench.dns.report import Result
from integration.bench.dns.stage import FOLDER, KNOWN, Stage
from integration.bench.dns.strain import Strained
from integration.bench.measure import in_turn
from integration.lab import Lab
from integration.lab.upstream import Upstream

Tell = Callable[[str], None]

NEEDS = ("dnsmasq", "dnsperf")
RUNS = 5
SECONDS = 2.0
NAMES = 100_000

# All three answer so many a second with ease: it is their latency, not that of a queue.
KNOWN_PER_SECOND = 5000
FORWARDED_PER_SECOND = 500
CHANGES = 10


class Bench:
    """What is measured, of each kind as often as there are rounds."""

    def __init__(self, stage: Stage, runs: int, seconds: float, tell: Tell) -> None:
        self._stage = stage
        self._runs = runs
        self._seconds = seconds
        self._tell = tell

    def known(self) -> tuple[list[Rate], list[Latency]]:
        rates, latencies = [], []
        for run in range(self._runs):
            self._tell(f"known names: round {run + 1} of {self._runs}")
            for server in in_turn(list(Server), run):
                perf = self._stage.flat_out(server, KNOWN, self._seconds)
                rates.append(rate(server, perf))
            for server in in_turn(list(Server), run):
                perf = self._stage.at_rate(server, KNOWN, self._seconds, KNOWN_PER_SECOND)
                latencies.append(latency(server, perf))
        return rates, latencies

    def forwarded(self) -> list[Latency]:
        latencies = []
        for run in range(self._runs):
            self._tell(f"forwarded names: round {run + 1} of {self._runs}")
            file = self._new_names(run)
            for server in in_turn([Server.PYNET, Server.DOCKER], run):
                perf = self._stage.at_rate(server, file, self._seconds, FORWARDED_PER_SECOND)
                latencies.append(latency(server, perf, is_forwarded=True))
        return latencies

    def changes(self, names: int) -> list[Changes]:
        many = ManyNames(self._stage)
        self._tell("changes of a name")
        few = many.change(0, CHANGES)
        many.fill(names, self._tell)
        self._tell(f"changes of a name beside {names}")
        return [few, many.change(names, CHANGES)]

    def strains(self) -> list[Strain]:
        strained = Strained(self._stage)
        strains = []
        for run in range(self._runs):
            self._tell(f"floods: round {run + 1} of {self._runs}")
            in_order = in_turn(list(Flooded), run)
            strains += [strained.measure(flooded, self._seconds) for flooded in in_order]
        strained.close()
        return strains

    def _new_names(self, run: int) -> str:
        """Write a file of names that nobody asked for, more than are asked in a round."""
        count = int(FORWARDED_PER_SECOND * (self._seconds + 1))
        lines = [f"n{number}.round{run}.{Upstream.zone} A\n" for number in range(count)]
        self._stage.host.write_file(f"{FOLDER}/round{run}", "".join(lines))
        return f"{FOLDER}/round{run}"


def measure(lab: Lab, runs: int, seconds: float, names: int, tell: Tell) -> Result:
    """Measure all there is, and tell meanwhile how far it is."""
    with ExitStack() as closers:
        tell("starting")
        stage = Stage(lab)
        closers.callback(stage.close)
        stage.check()
        bench = Bench(stage, runs, seconds, tell)
        rates, latencies = bench.known()
        latencies += bench.forwarded()
        strains = bench.strains()
        changes = bench.changes(names)
        return Result(
            kernel=platform.release(),
            engine=stage.api.ask("GET", "/version")["Version"],
            pynet=stage.daemon.admin("GET", "/v1/status").body["version"],
            python=platform.python_version(),
            seconds=seconds,
            rates=tuple(rates),
            latencies=tuple(latencies),
            changes=tuple(changes),
            strains=tuple(strains),
        )
