"""What is measured of the embedded DNS, and what is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from integration.bench.dns.dnsperf import Perf
from integration.bench.ports.figures import percentile

DOCKER_RATE_GOAL = 0.5
"""How many times pynet's rate for known names Docker's may be."""

DNSMASQ_RATE_GOAL = 1.11
"""How many times pynet's rate dnsmasq's may be: pynet's is to be at least 0.9 of it."""

P99_GOAL = 1.0
"""How many times Docker's 99th percentile pynet's may be."""

FORWARD_GOAL_MS = 0.3
CHANGE_GOAL_MS = 50.0

FLOOD_GOAL = 2.0
"""How many times as long an answer to another, or a call to pynet, may take in a flood."""


class Server(StrEnum):
    """Who answers, in the words of the report."""

    PYNET = "pynet"
    DOCKER = "docker"
    DNSMASQ = "dnsmasq"


class Flooded(StrEnum):
    """Whose resolver a container floods."""

    NOBODY = "nobody's"
    PYNET = "pynet's"
    DOCKER = "Docker's"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How many answers a second a server gave that was asked as fast as it could."""

    server: Server
    per_second: float
    lost: int
    sent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long answers took at a rate; with `is_forwarded`, of names asked upstream."""

    server: Server
    is_forwarded: bool
    median_us: float
    p99_us: float
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """A record changed beside `names` others: ms until the call returned, and until the answer."""

    names: int
    call_ms: tuple[float, ...]
    answer_ms: tuple[float, ...]
    resolver_mib: float
    daemon_mib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Strain:
    """What others have of a flood: how long an answer takes, and calls to pynet."""

    flooded: Flooded
    answer_us: float
    lost: int
    call_ms: float


class WrongAnswers(Exception):
    """A server answered otherwise than with what was asked for: it is no figure."""


def rate(server: Server, perf: Perf) -> Rate:
    """Sum up a run as fast as answers came.

    Raises:
        WrongAnswers: not all answers were answers.
    """
    _check(server, perf)
    return Rate(server=server, per_second=perf.per_second, lost=perf.lost, sent=perf.sent)


def latency(server: Server, perf: Perf, *, is_forwarded: bool = False) -> Latency:
    """Sum up a run at a rate.

    Raises:
        WrongAnswers: not all answers were answers, or there were none.
    """
    _check(server, perf)
    return Latency(
        server=server,
        is_forwarded=is_forwarded,
        median_us=median(perf.took_us),
        p99_us=percentile(perf.took_us, 99),
        lost=perf.lost,
    )


def _check(server: Server, perf: Perf) -> None:
    if set(perf.codes) != {"NOERROR"}:
        raise WrongAnswers(f"{server} answered {perf.codes or 'nothing'}")
