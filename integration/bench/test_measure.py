"""The arithmetic of the bench; it needs no engine."""

from __future__ import annotations

from statistics import StatisticsError

import pytest

from integration.bench.measure import (
    Operation,
    Sample,
    Verdict,
    in_turn,
    ratio_of_medians,
    values,
)
from integration.bench.report import DaemonFigures, Result, as_json, as_text


def _sample(side: str, ms: float, *, size: int = 10, operation: Operation) -> Sample:
    return Sample(size=size, side=side, operation=operation, ms=ms)


def test_values_are_of_one_side_operation_and_size_in_order() -> None:
    wanted = [_sample("pynet", ms, operation=Operation.START) for ms in (3.0, 1.0)]
    others = [
        _sample("docker", 7.0, operation=Operation.START),
        _sample("pynet", 7.0, operation=Operation.CONNECT),
        _sample("pynet", 7.0, operation=Operation.START, size=100),
    ]

    assert values([*others, *wanted], "pynet", Operation.START, 10) == [3.0, 1.0]


def test_ratio_of_medians_is_not_moved_by_an_outlier() -> None:
    assert ratio_of_medians([1.0, 2.0, 900.0], [4.0, 4.0, 4.0]) == 0.5


def test_ratio_of_medians_without_samples_raises() -> None:
    with pytest.raises(StatisticsError):
        ratio_of_medians([], [1.0])


def test_verdict_at_its_goal_is_met() -> None:
    assert Verdict(ratio=0.3, goal=0.3).is_met is True
    assert Verdict(ratio=0.31, goal=0.3).is_met is False
    assert Verdict(ratio=0.31).is_met is None


def test_in_turn_lets_each_side_begin_every_other_run() -> None:
    assert [in_turn("ab", run) for run in range(3)] == [["a", "b"], ["b", "a"], ["a", "b"]]


def test_report_names_missed_goals_and_no_others() -> None:
    result = _result(pynet_ms={10: 30.0, 500: 40.0}, docker_ms={10: 100.0, 500: 200.0})

    text, told = as_text(result), as_json(result)

    assert "  network create, 500 networks, to 10: 1.33, wanted 1.2" in text.splitlines()
    assert "goals: 14 of 15 met; missed:" in text.splitlines()
    missed = [v["what"] for v in told["verdicts"] if v["is_met"] is False]
    assert missed == ["network create, 500 networks, to 10"]


def _result(*, pynet_ms: dict[int, float], docker_ms: dict[int, float]) -> Result:
    """Return a run in which network create took these times, and all else next to none."""
    create = Operation.NETWORK_CREATE
    samples = [
        _sample(side, ms if operation is create else base, size=size, operation=operation)
        for side, times, base in (("pynet", pynet_ms, 1.0), ("docker", docker_ms, 9.0))
        for size, ms in times.items()
        for operation in Operation
    ]
    return Result(
        kernel="6.1",
        engine="29.0",
        pynet="1.0",
        python="3.11",
        sizes=tuple(pynet_ms),
        docker_sizes=(10, 100),
        samples=tuple(samples),
        daemon=(DaemonFigures(networks=0, ready_ms=(1.0,), rss_mib=1.0),),
    )
