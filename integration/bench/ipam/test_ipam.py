"""The bench of leasing addresses, on little."""

from __future__ import annotations

import json

import pytest

from integration.bench.ipam import filling
from integration.bench.ipam.figures import Giver, Giving, InProcess
from integration.bench.ipam.givers import NETWORK, HostLocal, Pynet
from integration.bench.ipam.report import Result, as_json, as_text
from integration.bench.ipam.run import measure_in_process
from integration.lab import Host


@pytest.mark.parametrize("network", ["10.0.0.0/8", "fd00::/64"])
def test_in_process_tells_of_every_run(network: str) -> None:
    found = measure_in_process(network, 1000, runs=2)

    assert (found.network, found.leases) == (network, 1000)
    assert len(found.lease_us) == len(found.release_us) == 2
    assert min(*found.lease_us, *found.release_us) > 0


def test_pynet_gives_to_many_beside_its_leases_and_has_these_afterwards(host: Host) -> None:
    pynet = Pynet(host, leases=1000)

    found = pynet.give(callers=32)
    kept = pynet.daemon.pynet_json("ipam", "leases", filling.pool_id(NETWORK))
    pynet.close()

    assert (found.giver, found.leases, found.callers, found.calls) == (Giver.PYNET, 1000, 32, 2000)
    assert found.per_second > 0 < found.work_us
    assert 0 < found.median_us <= found.p99_us
    assert {lease["owner"] for lease in kept["leases"]} == {
        filling.owner(n + 1) for n in range(1000)
    }


@pytest.mark.needs("host-local")
def test_host_local_gives_to_many_beside_its_leases_and_has_these_afterwards(host: Host) -> None:
    folder = host.folder / "host-local"
    host_local = HostLocal(folder, leases=100)

    found = host_local.give(callers=32)

    assert (found.giver, found.leases, found.callers) == (Giver.HOST_LOCAL, 100, 32)
    assert found.per_second > 0 < found.work_us
    kept = {path.name for path in (folder / "data/bench").glob("10.*")}
    assert kept == {str(filling.address(NETWORK, n + 2)) for n in range(100)}


def test_report_names_missed_goals_and_no_others() -> None:
    lines, told = as_text(_RESULT).splitlines(), as_json(_RESULT)

    assert "goals: 4 of 7 met; missed:" in lines
    missed = {v["what"]: v["ratio"] for v in told["verdicts"] if v["is_met"] is False}
    assert missed == {
        "addresses/s, 32 at once, beside 0": 2999.0,
        "10.0.0.0/8, 1000 leases: lease, us": 21.0,
        "10.0.0.0/8, 1000 leases, MiB": 201.0,
    }
    json.dumps(told)


def test_report_compares_to_host_local_where_that_is_and_else_says_why() -> None:
    lines, told = as_text(_RESULT).splitlines(), as_json(_RESULT)

    ratios = {v["what"]: v["ratio"] for v in told["verdicts"] if v["is_met"] is None}
    assert ratios == {"times host-local's, 1 at once, beside 0": 5.0}
    assert "host-local: needs host-local: not installed" in lines


def test_giving_is_told_in_the_figures_of_its_answers() -> None:
    told = {"seconds": 0.5, "work_s": 0.001, "took_us": [float(n) for n in range(1, 201)]}

    found = Giving.of_json(told, giver=Giver.PYNET, leases=7, callers=32)

    assert (found.calls, found.per_second, found.median_us) == (200, 400.0, 100.5)
    assert 198 < found.p99_us < 200
    assert found.work_us == 5.0


def _found(leases: int, *, lease_us: float, mib: float) -> InProcess:
    return InProcess(
        network="10.0.0.0/8",
        leases=leases,
        lease_us=(1.0, lease_us, 90.0),
        release_us=(7.0,),
        mib=mib,
    )


def _gave(giver: Giver, callers: int, *per_second: float) -> list[Giving]:
    told = {"giver": giver, "leases": 0, "callers": callers, "calls": 9}
    latency = {"median_us": 5.0, "p99_us": 6.0, "work_us": 1.0}
    return [Giving(**told, **latency, per_second=rate) for rate in per_second]


_RESULT = Result(
    kernel="6.1",
    python="3.11",
    load=0.5,
    missing="needs host-local: not installed",
    syncs_per_second=(1000.0, 5000.0),
    giving=(
        *_gave(Giver.PYNET, 1, 900.0, 1000.0, 2000.0),
        *_gave(Giver.HOST_LOCAL, 1, 200.0),
        *_gave(Giver.PYNET, 32, 2999.0),
    ),
    in_process=(_found(0, lease_us=5.0, mib=300.0), _found(1000, lease_us=21.0, mib=201.0)),
)
