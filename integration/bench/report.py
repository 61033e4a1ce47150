"""What a run found, as a table for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from integration.bench.measure import (
    GROWTH_GOAL,
    RATIO_GOALS,
    Operation,
    Sample,
    Verdict,
    ratio_of_medians,
    values,
)

COLUMNS = ("operation", "networks", "n", "pynet ms", "docker ms", "ratio", "goal", "met")
GROWTH_COLUMNS = ("operation", "networks", "pynet ms", "times", "goal", "met", "docker times")
NOT_MEASURED = "not measured here: published ports, DNS; not yet: throughput, 1000 endpoints"


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonFigures:
    """What a daemon costs that has `networks` to look after."""

    networks: int
    ready_ms: tuple[float, ...]
    rss_mib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All of one run. `docker_sizes` tells, for each size, how many networks Docker had."""

    kernel: str
    engine: str
    pynet: str
    python: str
    sizes: tuple[int, ...]
    docker_sizes: tuple[int, ...]
    samples: tuple[Sample, ...]
    daemon: tuple[DaemonFigures, ...]

    def timings(self, operation: Operation, at: int) -> tuple[list[float], list[float]]:
        """Return the timings of pynet and of Docker at the size of that position."""
        return (
            values(self.samples, "pynet", operation, self.sizes[at]),
            values(self.samples, "docker", operation, self.sizes[at]),
        )


def as_text(result: Result) -> str:
    """Return the report that is printed."""
    parts = [
        f"Engine {result.engine}, kernel {result.kernel}, Python {result.python}, "
        f"pynet {result.pynet}; medians",
        table(COLUMNS, list(_ratio_rows(result))),
    ]
    if len(result.sizes) > 1:
        parts += [
            f"Growth, as times the median at {result.sizes[0]} networks",
            table(GROWTH_COLUMNS, list(_growth_rows(result))),
        ]
    parts += ["\n".join(map(_daemon_line, result.daemon)), sum_up(_verdicts(result)), NOT_MEASURED]
    return "\n\n".join(parts)


def as_json(result: Result) -> dict[str, Any]:
    """Return everything, each single timing included."""
    return with_verdicts(asdict(result), _verdicts(result))


def _ratio_rows(result: Result) -> Iterator[tuple[str, ...]]:
    for operation in Operation:
        for at, size in enumerate(result.sizes):
            ours, theirs = result.timings(operation, at)
            verdict = _ratio(result, operation, at)
            others = result.docker_sizes[at]
            yield (
                operation,
                str(size) if others == size else f"{size} (docker {others})",
                str(len(ours)),
                f"{median(ours):.1f}",
                f"{median(theirs):.1f}",
                *shown(verdict),
            )


def _growth_rows(result: Result) -> Iterator[tuple[str, ...]]:
    for operation in Operation:
        for at, size in list(enumerate(result.sizes))[1:]:
            (ours, theirs), (_, their_first) = (result.timings(operation, i) for i in (at, 0))
            docker_growth = ratio_of_medians(theirs, their_first)
            yield (
                operation,
                str(size),
                f"{median(ours):.1f}",
                *shown(_growth(result, operation, at)),
                f"{docker_growth:.2f} at {result.docker_sizes[at]}",
            )


def _verdicts(result: Result) -> Iterator[tuple[str, Verdict]]:
    for operation in Operation:
        for at, size in enumerate(result.sizes):
            yield f"{operation}, {size} networks, to Docker", _ratio(result, operation, at)
            if at:
                what = f"{operation}, {size} networks, to {result.sizes[0]}"
                yield what, _growth(result, operation, at)


def _ratio(result: Result, operation: Operation, at: int) -> Verdict:
    ratio = ratio_of_medians(*result.timings(operation, at))
    return Verdict(ratio=ratio, goal=RATIO_GOALS.get(operation))


def _growth(result: Result, operation: Operation, at: int) -> Verdict:
    ours, first = result.timings(operation, at)[0], result.timings(operation, 0)[0]
    goal = GROWTH_GOAL if operation in RATIO_GOALS else None
    return Verdict(ratio=ratio_of_medians(ours, first), goal=goal)


def shown(verdict: Verdict) -> tuple[str, str, str]:
    """Return a ratio, its goal and whether that is met, as cells of a table."""
    goal = "" if verdict.goal is None else f"{verdict.goal:.2f}"
    met = {None: "", True: "yes", False: "NO"}[verdict.is_met]
    return f"{verdict.ratio:.2f}", goal, met


def _daemon_line(figures: DaemonFigures) -> str:
    return (
        f"daemon with {figures.networks} networks: ready after {median(figures.ready_ms):.0f} ms "
        f"(n={len(figures.ready_ms)}), {figures.rss_mib:.1f} MiB resident"
    )


def sum_up(verdicts: Iterable[tuple[str, Verdict]]) -> str:
    """Return how many goals are met, and a line for each that is not."""
    judged = [(what, v) for what, v in verdicts if v.is_met is not None]
    missed = [f"  {what}: {v.ratio:.2f}, wanted {v.goal}" for what, v in judged if not v.is_met]
    head = f"goals: {len(judged) - len(missed)} of {len(judged)} met"
    return "\n".join([f"{head}; missed:" if missed else head, *missed])


def with_verdicts(
    figures: dict[str, Any], verdicts: Iterable[tuple[str, Verdict]]
) -> dict[str, Any]:
    """Return the figures of a run and what became of each goal, for JSON."""
    judged = [
        {"what": what, **asdict(verdict), "is_met": verdict.is_met} for what, verdict in verdicts
    ]
    return {**figures, "verdicts": judged}


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return aligned text: the first column to the left, the figures to the right."""
    lines = [columns, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
