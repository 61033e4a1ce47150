"""Starts of a container on the host's own network: `python -m integration.bench macvlan`.

A network of pynet with `mode=macvlan` against one of Docker's `macvlan` driver, on the same parent
and with a subnet each: once with pynet's IPAM, and once driver against driver, both with Docker's.
`mode=routed` takes its turns among them, and so does Docker's `bridge`, to which it is compared
without a goal.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Network
from statistics import median
from typing import Any

from integration.bench import daemon
from integration.bench.api import Api
from integration.bench.links import Links
from integration.bench.measure import (
    RATIO_GOALS,
    Operation,
    Sample,
    Verdict,
    in_turn,
    ratio_of_medians,
    values,
)
from integration.bench.operations import DOCKER, IMAGE, PAUSE_S, Contestant, Side
from integration.bench.report import shown, sum_up, table, with_verdicts
from integration.lab import Daemon, Engine, Host, Lab

NEEDS = ("macvlan",)
COLUMNS = (Operation.START, "n", "pynet ms", "docker ms", "ratio", "goal", "met")

_PARENT = {"parent": Host.uplink}
MACVLAN = Side(
    name="pynet-macvlan",
    driver="pynet",
    ipam="pynet",
    filler=IPv4Network("10.2.0.0/16"),
    subnet=IPv4Network("10.3.1.0/24"),
    options={"driver": "host", "mode": "macvlan", **_PARENT},
)
MACVLAN_ALONE = replace(
    MACVLAN,
    name="pynet-macvlan-alone",
    ipam="default",
    subnet=IPv4Network("10.3.3.0/24"),
)
ROUTED = Side(
    name="pynet-routed",
    driver="pynet",
    ipam="pynet",
    filler=IPv4Network("10.2.0.0/16"),
    options={"driver": "host", "mode": "routed", **_PARENT},
)
DOCKER_MACVLAN = Side(
    name="docker-macvlan",
    driver="macvlan",
    ipam="default",
    filler=IPv4Network("10.1.0.0/16"),
    subnet=IPv4Network("10.3.2.0/24"),
    options=_PARENT,
)
SIDES = (MACVLAN, ROUTED, DOCKER_MACVLAN, MACVLAN_ALONE, DOCKER)
PAIRS = (
    ("macvlan to macvlan", MACVLAN, DOCKER_MACVLAN, RATIO_GOALS[Operation.START]),
    ("the drivers alone", MACVLAN_ALONE, DOCKER_MACVLAN, RATIO_GOALS[Operation.START]),
    ("routed to bridge", ROUTED, DOCKER, None),
)
"""What is compared: in the words of the report, of pynet, of Docker, and the goal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All of one run."""

    kernel: str
    engine: str
    pynet: str
    python: str
    samples: tuple[Sample, ...]

    def starts(self, side: Side) -> list[float]:
        """Return the timings of a side, in ms and in the order in which they were taken."""
        return values(self.samples, side.name, Operation.START, 0)


def measure(lab: Lab, runs: int, tell: Callable[[str], None]) -> Result:
    """Time so many starts of each side, in one engine, and tell meanwhile how far it is."""
    host = lab.host()
    engine, pynet = Engine(host), Daemon(host)
    engine.start()
    engine.image(IMAGE)
    daemon.start(pynet)
    api, links = Api(engine.socket), Links(host)
    contestants = [Contestant(side, api, links) for side in SIDES]
    for run in range(runs):
        tell(f"starts: run {run + 1} of {runs}")
        for contestant in in_turn(contestants, run):
            time.sleep(PAUSE_S)
            contestant.start()
    links.close()
    version = api.ask("GET", "/version")["Version"]
    api.close()
    return Result(
        kernel=platform.release(),
        engine=version,
        pynet=pynet.admin("GET", "/v1/status").body["version"],
        python=platform.python_version(),
        samples=tuple(sample for contestant in contestants for sample in contestant.samples),
    )


def as_text(result: Result) -> str:
    """Return the report that is printed."""
    parts = [
        f"Engine {result.engine}, kernel {result.kernel}, Python {result.python}, "
        f"pynet {result.pynet}; medians",
        table(COLUMNS, list(_rows(result))),
        sum_up(_verdicts(result)),
    ]
    return "\n\n".join(parts)


def as_json(result: Result) -> dict[str, Any]:
    """Return everything, each single timing included."""
    return with_verdicts(asdict(result), _verdicts(result))


def _rows(result: Result) -> Iterator[tuple[str, ...]]:
    for (what, verdict), (_, pynet, docker, _) in zip(_verdicts(result), PAIRS, strict=True):
        ours, theirs = result.starts(pynet), result.starts(docker)
        yield (
            what,
            str(len(ours)),
            f"{median(ours):.1f}",
            f"{median(theirs):.1f}",
            *shown(verdict),
        )


def _verdicts(result: Result) -> Iterator[tuple[str, Verdict]]:
    for what, pynet, docker, goal in PAIRS:
        ratio = ratio_of_medians(result.starts(pynet), result.starts(docker))
        yield what, Verdict(ratio=ratio, goal=goal)
