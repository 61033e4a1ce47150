"""The report of the bench of macvlan; it needs no engine."""

from __future__ import annotations

from itertools import combinations

from integration.bench.macvlan import (
    DOCKER_MACVLAN,
    MACVLAN,
    MACVLAN_ALONE,
    SIDES,
    Result,
    as_json,
    as_text,
)
from integration.bench.measure import Operation, Sample


def test_each_macvlan_has_a_subnet_of_its_own_on_the_one_parent() -> None:
    sides = (MACVLAN, MACVLAN_ALONE, DOCKER_MACVLAN)
    subnets = [side.subnet for side in sides if side.subnet]

    assert len(subnets) == len(sides)
    assert not any(one.overlaps(other) for one, other in combinations(subnets, 2))
    assert len({side.options["parent"] for side in sides}) == 1


def test_drivers_alone_have_the_same_ipam() -> None:
    assert MACVLAN_ALONE.ipam == DOCKER_MACVLAN.ipam != MACVLAN.ipam


def test_report_compares_macvlan_to_macvlan_and_sets_no_goal_for_routed() -> None:
    met = _result({"pynet-macvlan": 200.0, "docker-macvlan": 250.0})
    missed = _result({"pynet-macvlan": 300.0, "docker-macvlan": 250.0, "pynet-routed": 999.0})

    assert "goals: 2 of 2 met" in as_text(met).splitlines()
    assert "  macvlan to macvlan: 1.20, wanted 1.0" in as_text(missed).splitlines()
    assert [v["is_met"] for v in as_json(missed)["verdicts"]] == [False, True, None]


def _result(ms: dict[str, float]) -> Result:
    """Return a run in which the starts of these sides took these times, and others 100 ms."""
    return Result(
        kernel="6.1",
        engine="29.0",
        pynet="1.0",
        python="3.11",
        samples=tuple(
            Sample(size=0, side=s.name, operation=Operation.START, ms=ms.get(s.name, 100.0))
            for s in SIDES
        ),
    )
