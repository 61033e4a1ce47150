"""What a run found of the embedded DNS, as tables for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from integration.bench.dns.figures import (
    CHANGE_GOAL_MS,
    DNSMASQ_RATE_GOAL,
    DOCKER_RATE_GOAL,
    FLOOD_GOAL,
    FORWARD_GOAL_MS,
    P99_GOAL,
    Changes,
    Flooded,
    Latency,
    Rate,
    Server,
    Strain,
)
from integration.bench.measure import Verdict
from integration.bench.report import shown, sum_up, table, with_verdicts

RATE_COLUMNS = ("known names", "n", "answers/s", "least", "most", "lost %", "pynet to it")
LATENCY_COLUMNS = ("an answer", "n", "median us", "p99 us", "lost")
CHANGE_COLUMNS = ("a record changed", "n", "call ms", "answer ms", "resolver MiB", "daemon MiB")
STRAIN_COLUMNS = ("flooded resolver", "n", "answer us", "lost", "call ms")
GOAL_COLUMNS = ("goal", "found", "wanted", "met")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All of one run."""

    kernel: str
    engine: str
    pynet: str
    python: str
    seconds: float
    rates: tuple[Rate, ...]
    latencies: tuple[Latency, ...]
    changes: tuple[Changes, ...]
    strains: tuple[Strain, ...]

    def rates_of(self, server: Server) -> list[Rate]:
        return [r for r in self.rates if r.server is server]

    def rate(self, server: Server) -> float:
        return median(r.per_second for r in self.rates_of(server))

    def latencies_of(self, server: Server, *, is_forwarded: bool) -> list[Latency]:
        wanted = (server, is_forwarded)
        return [found for found in self.latencies if (found.server, found.is_forwarded) == wanted]

    def median_us(self, server: Server, *, is_forwarded: bool) -> float:
        found = self.latencies_of(server, is_forwarded=is_forwarded)
        return median(latency.median_us for latency in found)

    def p99_us(self, server: Server, *, is_forwarded: bool) -> float:
        found = self.latencies_of(server, is_forwarded=is_forwarded)
        return median(latency.p99_us for latency in found)

    def strains_of(self, flooded: Flooded) -> list[Strain]:
        return [s for s in self.strains if s.flooded is flooded]

    def answer_us(self, flooded: Flooded) -> float:
        return median(s.answer_us for s in self.strains_of(flooded))

    def call_ms(self, flooded: Flooded) -> float:
        return median(s.call_ms for s in self.strains_of(flooded))


def as_text(result: Result) -> str:
    """Return the report that is printed."""
    verdicts = list(_verdicts(result))
    parts = [
        f"Engine {result.engine}, kernel {result.kernel}, Python {result.python}, "
        f"pynet {result.pynet}; medians of rounds of {result.seconds:g} s",
        table(RATE_COLUMNS, list(_rate_rows(result))),
        table(LATENCY_COLUMNS, list(_latency_rows(result))),
        table(CHANGE_COLUMNS, list(_change_rows(result))),
        table(STRAIN_COLUMNS, list(_strain_rows(result))),
        table(GOAL_COLUMNS, [(what, *shown(verdict)) for what, verdict in verdicts]),
        sum_up(verdicts),
    ]
    return "\n\n".join(parts)


def as_json(result: Result) -> dict[str, Any]:
    """Return everything, each single round included."""
    return with_verdicts(asdict(result), _verdicts(result))


def _rate_rows(result: Result) -> Iterator[tuple[str, ...]]:
    for server in Server:
        found = result.rates_of(server)
        rates = [r.per_second for r in found]
        lost = 100 * sum(r.lost for r in found) / sum(r.sent for r in found)
        ratio = result.rate(Server.PYNET) / result.rate(server)
        figures = (median(rates), min(rates), max(rates))
        yield (
            *(server, str(len(found)), *(f"{figure:.0f}" for figure in figures)),
            *(f"{lost:.2f}", f"{ratio:.2f}"),
        )


def _latency_rows(result: Result) -> Iterator[tuple[str, ...]]:
    for is_forwarded in (False, True):
        for server in Server:
            found = result.latencies_of(server, is_forwarded=is_forwarded)
            if not found:
                continue
            yield (
                f"{'forwarded' if is_forwarded else 'known'}, {server}",
                str(len(found)),
                f"{result.median_us(server, is_forwarded=is_forwarded):.0f}",
                f"{result.p99_us(server, is_forwarded=is_forwarded):.0f}",
                str(sum(latency.lost for latency in found)),
            )


def _change_rows(result: Result) -> Iterator[tuple[str, ...]]:
    for changes in result.changes:
        yield (
            f"beside {changes.names} names",
            str(len(changes.answer_ms)),
            *(f"{median(took):.1f}" for took in (changes.call_ms, changes.answer_ms)),
            *(f"{mib:.1f}" for mib in (changes.resolver_mib, changes.daemon_mib)),
        )


def _strain_rows(result: Result) -> Iterator[tuple[str, ...]]:
    for flooded in Flooded:
        found = result.strains_of(flooded)
        yield (
            *(flooded, str(len(found)), f"{result.answer_us(flooded):.0f}"),
            *(str(sum(s.lost for s in found)), f"{result.call_ms(flooded):.2f}"),
        )


def _verdicts(result: Result) -> Iterator[tuple[str, Verdict]]:
    ours = result.rate(Server.PYNET)
    for server, goal in ((Server.DOCKER, DOCKER_RATE_GOAL), (Server.DNSMASQ, DNSMASQ_RATE_GOAL)):
        yield (
            f"known names/s, {server}'s to pynet's",
            Verdict(ratio=result.rate(server) / ours, goal=goal),
        )
    known = {server: result.p99_us(server, is_forwarded=False) for server in Server}
    ratio = known[Server.PYNET] / known[Server.DOCKER]
    yield "known names, p99 to docker's", Verdict(ratio=ratio, goal=P99_GOAL)
    forwarded = {s: result.median_us(s, is_forwarded=True) for s in (Server.PYNET, Server.DOCKER)}
    added_ms = (forwarded[Server.PYNET] - forwarded[Server.DOCKER]) / 1000
    yield "forwarded names, added ms", Verdict(ratio=added_ms, goal=FORWARD_GOAL_MS)
    for changes in result.changes:
        what = f"a record changed beside {changes.names} names, ms to the answer"
        yield what, Verdict(ratio=median(changes.answer_ms), goal=CHANGE_GOAL_MS)
    yield from _flood_verdicts(result)


def _flood_verdicts(result: Result) -> Iterator[tuple[str, Verdict]]:
    """Only a flood of pynet's resolver has goals; the other shows what the cores are short of."""
    for what, figure in (("answer", result.answer_us), ("call", result.call_ms)):
        for flooded in (Flooded.PYNET, Flooded.DOCKER):
            goal = FLOOD_GOAL if flooded is Flooded.PYNET else None
            ratio = figure(flooded) / figure(Flooded.NOBODY)
            yield (
                f"times that one {what} takes in a flood of {flooded}",
                Verdict(ratio=ratio, goal=goal),
            )
