"""What a run found of published ports, as tables for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from integration.bench.measure import Verdict, ratio_of_medians
from integration.bench.operations import DOCKER, PYNET
from integration.bench.ports.figures import (
    FLAT_GOAL,
    PUBLISH_GOAL,
    RANGE_MIB_GOAL,
    RANGE_RULES_GOAL,
    RATE_GOAL,
    START_GOAL,
    Burst,
    Calls,
    Met,
    Pair,
    RangeFigures,
    Way,
)
from integration.bench.report import shown, sum_up, table, with_verdicts

BURST_COLUMNS = (
    *("others", "n", "pynet/s", "docker/s", "ratio"),
    *("pynet us", "docker us", "pynet p99", "docker p99", "pynet rules", "docker rules"),
)
PUBLISH_COLUMNS = ("publishing one port", "others", "n", "pynet ms", "docker ms", "ratio")
GOAL_COLUMNS = ("goal", "found", "wanted", "met")

# What a port adds to a start is less than what starts differ by from one to the next.
_KINDS = {
    Way.CONNECT: ("without", "with", "difference"),
    Way.START: ("without", "with"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """How long a side took to publish so many ports, in containers of a hundred."""

    side: str
    others: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All of one run.

    `lack_for_proxies` is why Docker had none of its processes a port, if so; `range_refusal` is why
    a figure of the range is missing.
    """

    kernel: str
    engine: str
    pynet: str
    python: str
    lack_for_proxies: str
    fills: tuple[Fill, ...]
    bursts: tuple[Burst, ...]
    met: tuple[Met, ...]
    pairs: tuple[Pair, ...]
    calls: tuple[Calls, ...]
    range: RangeFigures | None
    range_start_ms: float | None
    range_refusal: str

    @property
    def sizes(self) -> list[int]:
        """Return how many other ports there were, ascending."""
        return sorted({burst.others for burst in self.bursts})

    def bursts_of(self, side: str, others: int) -> list[Burst]:
        return [b for b in self.bursts if (b.side, b.others) == (side, others)]

    def rates(self, side: str, others: int) -> list[float]:
        return [b.per_second for b in self.bursts_of(side, others)]

    def rules(self, side: str, others: int) -> int:
        return next(m.rules for m in self.met if (m.side, m.others) == (side, others))

    def pairs_of(self, side: str, way: Way, others: int) -> list[Pair]:
        return [p for p in self.pairs if (p.side, p.way, p.others) == (side, way, others)]

    def port_ms(self, side: str, way: Way, others: int) -> list[float]:
        return [p.port_ms for p in self.pairs_of(side, way, others)]

    def called(self, others: int) -> list[Calls]:
        return [c for c in self.calls if c.others == others]


def as_text(result: Result) -> str:
    """Return the report that is printed."""
    verdicts = list(_verdicts(result))
    parts = [
        f"Engine {result.engine}, kernel {result.kernel}, Python {result.python}, "
        f"pynet {result.pynet}; medians",
        _docker_line(result),
        "New TCP connections to one port, beside others that are published",
        table(BURST_COLUMNS, list(_burst_rows(result))),
        table(PUBLISH_COLUMNS, list(_publish_rows(result))),
        _fill_line(result),
        _range_lines(result),
        table(GOAL_COLUMNS, [(what, *shown(verdict)) for what, verdict in verdicts]),
        sum_up(verdicts),
    ]
    return "\n\n".join(parts)


def as_json(result: Result) -> dict[str, Any]:
    """Return everything, each single sample included."""
    return with_verdicts(asdict(result), _verdicts(result))


def _docker_line(result: Result) -> str:
    if result.lack_for_proxies:
        return (
            "Docker runs with --userland-proxy=false, which is not its default: its processes "
            f"would need {result.lack_for_proxies}."
        )
    return "Docker runs with its defaults, two processes a port included."


def _burst_rows(result: Result) -> Iterator[tuple[str, ...]]:
    for others in result.sizes:
        ours, theirs = (result.bursts_of(side.name, others) for side in (PYNET, DOCKER))
        ours_rate, theirs_rate = (median(b.per_second for b in bursts) for bursts in (ours, theirs))
        yield (
            *(str(others), str(len(ours)), f"{ours_rate:.0f}", f"{theirs_rate:.0f}"),
            f"{ours_rate / theirs_rate:.2f}",
            *(f"{median(b.median_us for b in bursts):.1f}" for bursts in (ours, theirs)),
            *(f"{median(b.p99_us for b in bursts):.1f}" for bursts in (ours, theirs)),
            *(str(result.rules(side.name, others)) for side in (PYNET, DOCKER)),
        )


def _publish_rows(result: Result) -> Iterator[tuple[str, ...]]:
    for way, others in sorted({(p.way, p.others) for p in result.pairs}):
        for kind in _KINDS[way]:
            ours, theirs = (
                _of_kind(kind, result.pairs_of(side.name, way, others)) for side in (PYNET, DOCKER)
            )
            yield _publish_row(f"{way}, {kind}", others, ours, theirs)
    for others in sorted({c.others for c in result.calls}):
        calls = result.called(others)
        theirs = result.port_ms(DOCKER.name, Way.CONNECT, others)
        yield _publish_row("pynet's call alone", others, [c.publish_ms for c in calls], theirs)
        yield _publish_row("pynet's call to revoke", others, [c.revoke_ms for c in calls], [])


def _of_kind(kind: str, pairs: Sequence[Pair]) -> list[float]:
    values = {
        "without": [p.plain_ms for p in pairs],
        "with": [p.published_ms for p in pairs],
        "difference": [p.port_ms for p in pairs],
    }
    return values[kind]


def _publish_row(
    what: str, others: int, ours: Sequence[float], theirs: Sequence[float]
) -> tuple[str, ...]:
    return (
        *(what, str(others), str(len(ours)), f"{median(ours):.1f}"),
        f"{median(theirs):.1f}" if theirs else "",
        f"{ratio_of_medians(ours, theirs):.2f}" if theirs else "",
    )


def _fill_line(result: Result) -> str:
    told = [f"{f.others} by {f.side} {f.seconds:.1f} s" for f in result.fills]
    return f"Publishing the others, 100 a container: {', '.join(told)}"


def _range_lines(result: Result) -> str:
    lines = []
    if (found := result.range) is not None:
        lines += [
            f"A range of {found.ports} ports on pynet: {found.rules} rules, "
            f"{found.elements} elements; daemon +{found.daemon_mib:.1f} MiB, "
            f"kernel slab +{found.slab_mib:.1f} MiB;",
            f"  published in {median(found.publish_ms):.0f} ms, revoked in "
            f"{median(found.revoke_ms):.0f} ms (n={len(found.publish_ms)})",
        ]
    if result.range_start_ms is not None:
        lines += [f"  container start with them: {result.range_start_ms:.0f} ms (n=1)"]
    if result.range_refusal:
        lines += [f"A range of ports was refused: {result.range_refusal}"]
    return "\n".join(lines)


def _verdicts(result: Result) -> Iterator[tuple[str, Verdict]]:
    least, most = result.sizes[0], result.sizes[-1]
    ours, theirs = (result.rates(side.name, least) for side in (PYNET, DOCKER))
    flat = ratio_of_medians(ours, result.rates(PYNET.name, most))
    yield f"rate beside {least}, to {most}, pynet", Verdict(ratio=flat, goal=FLAT_GOAL)
    rate = ratio_of_medians(theirs, ours)
    yield f"rate beside {least}, Docker's to pynet's", Verdict(ratio=rate, goal=RATE_GOAL)
    for others in (least, most):
        call = [c.publish_ms for c in result.called(others)]
        ratio = ratio_of_medians(call, result.port_ms(DOCKER.name, Way.CONNECT, others))
        what = f"publishing beside {others}, pynet's call to what a port adds to Docker's connect"
        yield what, Verdict(ratio=ratio, goal=PUBLISH_GOAL)
    starts = [
        [p.published_ms for p in result.pairs_of(side.name, Way.START, least)]
        for side in (PYNET, DOCKER)
    ]
    ratio = ratio_of_medians(*starts)
    yield "container start with a port, to Docker", Verdict(ratio=ratio, goal=START_GOAL)
    if (found := result.range) is None:
        return
    added = found.rules + found.elements
    yield f"{found.ports} ports, rules and elements", Verdict(ratio=added, goal=RANGE_RULES_GOAL)
    yield f"{found.ports} ports, MiB", Verdict(ratio=found.mib, goal=RANGE_MIB_GOAL)
