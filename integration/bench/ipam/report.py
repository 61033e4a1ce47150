"""What a run found of leasing addresses, as tables for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from integration.bench.ipam.figures import (
    MEMORY_GOAL_MIB,
    OPERATION_GOAL_US,
    RATE_GOALS,
    Giver,
    Giving,
    InProcess,
)
from integration.bench.measure import Verdict
from integration.bench.report import shown, sum_up, table, with_verdicts

GIVING_COLUMNS = (
    *("addresses given", "leases", "callers", "n", "a second", "least", "most"),
    *("median us", "p99 us", "asking us"),
)
IN_PROCESS_COLUMNS = ("in process", "leases", "n", "lease us", "release us", "leases MiB")
GOAL_COLUMNS = ("goal", "found", "wanted", "met")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All of one run."""

    kernel: str
    python: str
    load: float
    missing: str
    syncs_per_second: tuple[float, ...]
    giving: tuple[Giving, ...]
    in_process: tuple[InProcess, ...]

    def of(self, giver: Giver, leases: int, callers: int) -> list[Giving]:
        """Return the rounds of one giver."""
        wanted = (giver, leases, callers)
        return [g for g in self.giving if (g.giver, g.leases, g.callers) == wanted]

    @property
    def cases(self) -> dict[tuple[int, int], None]:
        """The leases and the callers of all rounds, each once, in their order."""
        return dict.fromkeys((g.leases, g.callers) for g in self.giving)


def as_text(result: Result) -> str:
    """Return the report that is printed."""
    verdicts = list(_verdicts(result))
    syncs = result.syncs_per_second
    parts = [
        f"kernel {result.kernel}, Python {result.python}, load {result.load:.1f}; medians",
        table(GIVING_COLUMNS, list(_giving_rows(result))),
        *([f"{Giver.HOST_LOCAL}: {result.missing}"] if result.missing else []),
        f"disk: {median(syncs):.0f} pieces of that size a second, each synced before the next "
        f"(n={len(syncs)}, {min(syncs):.0f} to {max(syncs):.0f})",
        table(IN_PROCESS_COLUMNS, [_row(found) for found in result.in_process]),
        table(GOAL_COLUMNS, [(what, *shown(verdict)) for what, verdict in verdicts]),
        sum_up(verdicts),
    ]
    return "\n\n".join(parts)


def as_json(result: Result) -> dict[str, Any]:
    """Return everything, each single run included."""
    return with_verdicts(asdict(result), _verdicts(result))


def _giving_rows(result: Result) -> Iterator[tuple[str, ...]]:
    for leases, callers in result.cases:
        for giver in Giver:
            if not (found := result.of(giver, leases, callers)):
                continue
            rates = [g.per_second for g in found]
            yield (
                *(giver, str(leases), str(callers), str(len(found))),
                *(_number(rate) for rate in (median(rates), min(rates), max(rates))),
                f"{median(g.median_us for g in found):.0f}",
                f"{median(g.p99_us for g in found):.0f}",
                f"{median(g.work_us for g in found):.0f}",
            )


def _number(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"


def _row(found: InProcess) -> tuple[str, ...]:
    return (
        *(found.network, str(found.leases), str(len(found.lease_us))),
        *(f"{median(took):.1f}" for took in (found.lease_us, found.release_us)),
        f"{found.mib:.1f}",
    )


def _verdicts(result: Result) -> Iterator[tuple[str, Verdict]]:
    for leases, callers in result.cases:
        ours, theirs = (
            [g.per_second for g in result.of(giver, leases, callers)] for giver in Giver
        )
        what = f"{callers} at once, beside {leases}"
        goal = RATE_GOALS[callers]
        yield f"addresses/s, {what}", Verdict(ratio=median(ours), goal=goal, is_least=True)
        if theirs:
            yield f"times host-local's, {what}", Verdict(ratio=median(ours) / median(theirs))
    for found in result.in_process:
        where = f"{found.network}, {found.leases} leases"
        for what, took in (("lease", found.lease_us), ("release", found.release_us)):
            yield f"{where}: {what}, us", Verdict(ratio=median(took), goal=OPERATION_GOAL_US)
    largest = max(found.leases for found in result.in_process)
    for found in result.in_process:
        if found.leases == largest:
            verdict = Verdict(ratio=found.mib, goal=MEMORY_GOAL_MIB)
            yield f"{found.network}, {found.leases} leases, MiB", verdict
