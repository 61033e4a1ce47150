"""What a run found of leasing addresses, as tables for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from integration.bench.ipam.figures import MEMORY_GOAL_MIB, OPERATION_GOAL_US, InProcess
from integration.bench.measure import Verdict
from integration.bench.report import shown, sum_up, table

IN_PROCESS_COLUMNS = ("in process", "leases", "n", "lease us", "release us", "leases MiB")
GOAL_COLUMNS = ("goal", "found", "wanted", "met")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All of one run."""

    kernel: str
    python: str
    in_process: tuple[InProcess, ...]


def as_text(result: Result) -> str:
    """Return the report that is printed."""
    verdicts = list(_verdicts(result))
    parts = [
        f"kernel {result.kernel}, Python {result.python}; medians",
        table(IN_PROCESS_COLUMNS, [_row(found) for found in result.in_process]),
        table(GOAL_COLUMNS, [(what, *shown(verdict)) for what, verdict in verdicts]),
        sum_up(verdicts),
    ]
    return "\n\n".join(parts)


def as_json(result: Result) -> dict[str, Any]:
    """Return everything, each single run included."""
    return {
        **asdict(result),
        "verdicts": [
            {"what": what, **asdict(verdict), "is_met": verdict.is_met}
            for what, verdict in _verdicts(result)
        ],
    }


def _row(found: InProcess) -> tuple[str, ...]:
    return (
        *(found.network, str(found.leases), str(len(found.lease_us))),
        *(f"{median(took):.1f}" for took in (found.lease_us, found.release_us)),
        f"{found.mib:.1f}",
    )


def _verdicts(result: Result) -> Iterator[tuple[str, Verdict]]:
    for found in result.in_process:
        where = f"{found.network}, {found.leases} leases"
        for what, took in (("lease", found.lease_us), ("release", found.release_us)):
            yield f"{where}: {what}, us", Verdict(ratio=median(took), goal=OPERATION_GOAL_US)
    largest = max(found.leases for found in result.in_process)
    for found in result.in_process:
        if found.leases == largest:
            verdict = Verdict(ratio=found.mib, goal=MEMORY_GOAL_MIB)
            yield f"{found.network}, {found.leases} leases, MiB", verdict
