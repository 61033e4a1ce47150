"""The bench of leasing addresses, on little."""

from __future__ import annotations

import pytest

from integration.bench.ipam.figures import InProcess
from integration.bench.ipam.report import Result, as_json, as_text
from integration.bench.ipam.run import in_process


@pytest.mark.parametrize("network", ["10.0.0.0/8", "fd00::/64"])
def test_in_process_tells_of_every_run(network: str) -> None:
    found = in_process(network, 1000, runs=2)

    assert (found.network, found.leases) == (network, 1000)
    assert len(found.lease_us) == len(found.release_us) == 2
    assert min(*found.lease_us, *found.release_us) > 0


def test_report_names_missed_goals_and_no_others() -> None:
    result = Result(
        kernel="6.1",
        python="3.11",
        in_process=(_found(0, lease_us=5.0, mib=300.0), _found(1000, lease_us=21.0, mib=201.0)),
    )

    lines, told = as_text(result).splitlines(), as_json(result)

    assert "goals: 3 of 5 met; missed:" in lines
    missed = {v["what"]: v["ratio"] for v in told["verdicts"] if not v["is_met"]}
    assert missed == {
        "10.0.0.0/8, 1000 leases: lease, us": 21.0,
        "10.0.0.0/8, 1000 leases, MiB": 201.0,
    }


def _found(leases: int, *, lease_us: float, mib: float) -> InProcess:
    return InProcess(
        network="10.0.0.0/8",
        leases=leases,
        lease_us=(1.0, lease_us, 90.0),
        release_us=(7.0,),
        mib=mib,
    )
