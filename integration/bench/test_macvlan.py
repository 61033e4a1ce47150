"""The report of the bench of macvlan; it needs no engine."""

from __future__ import annotations

from integration.bench.macvlan import DOCKER_MACVLAN, MACVLAN, SIDES, Result, as_json, as_text
from integration.bench.measure import Operation, Sample


def test_each_macvlan_has_a_subnet_of_its_own_on_the_one_parent() -> None:
    assert MACVLAN.subnet is not None
    assert DOCKER_MACVLAN.subnet is not None

    assert not MACVLAN.subnet.overlaps(DOCKER_MACVLAN.subnet)
    assert MACVLAN.options["parent"] == DOCKER_MACVLAN.options["parent"]


def test_report_compares_macvlan_to_macvlan_and_sets_no_goal_for_routed() -> None:
    met = _result({"pynet-macvlan": 200.0, "docker-macvlan": 250.0})
    missed = _result({"pynet-macvlan": 300.0, "docker-macvlan": 250.0, "pynet-routed": 999.0})

    assert "goals: 1 of 1 met" in as_text(met).splitlines()
    assert "  macvlan to macvlan: 1.20, wanted 1.0" in as_text(missed).splitlines()
    assert [v["is_met"] for v in as_json(missed)["verdicts"]] == [False, None]


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
