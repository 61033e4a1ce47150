"""The parts of the bench of DNS that need no engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from integration.bench.dns import dnsperf
from integration.bench.dns.dnsperf import Perf
from integration.bench.dns.figures import (
    Changes,
    Flooded,
    Latency,
    Rate,
    Server,
    Strain,
    WrongAnswers,
    latency,
    rate,
)
from integration.bench.dns.report import Result, as_json, as_text

# dnsperf 2.10.0 with `-v`, in short.
PRINTED = """DNS Performance Testing Tool
Version 2.10.0

[Status] Command line: dnsperf -s 127.0.0.1 -d q -l 1 -v -Q 3
> NOERROR two A 0.000545
> NOERROR one A 0.000457
> NXDOMAIN none A 0.001000
[Status] Testing complete (time limit)

Statistics:

  Queries sent:         4
  Queries completed:    3 (75.00%)
  Queries lost:         1 (25.00%)

  Response codes:       NOERROR 2 (66.67%), NXDOMAIN 1 (33.33%)
  Average packet size:  request 21, response 37
  Run time (s):         1.000469
  Queries per second:   2.998594

  Average Latency (s):  0.000248 (min 0.000019, max 0.005894)
  Latency StdDev (s):   0.000485
"""


def test_parse_reads_what_dnsperf_prints() -> None:
    assert dnsperf.parse(PRINTED) == Perf(
        per_second=2.998594,
        sent=4,
        lost=1,
        codes={"NOERROR": 2, "NXDOMAIN": 1},
        took_us=(545.0, 457.0, 1000.0),
    )


def test_parse_refuses_a_run_that_was_cut_short() -> None:
    with pytest.raises(ValueError, match="did not come to its end"):
        dnsperf.parse(PRINTED.partition("Statistics")[0])


def perf(codes: dict[str, int]) -> Perf:
    return Perf(per_second=3.0, sent=4, lost=1, codes=codes, took_us=(1.0, 2.0, 9.0))


def test_answers_sum_up() -> None:
    assert rate(Server.PYNET, perf({"NOERROR": 3})).per_second == 3.0

    found = latency(Server.PYNET, perf({"NOERROR": 3}))

    assert (found.median_us, found.p99_us, found.lost) == (2.0, 9.0, 1)


@pytest.mark.parametrize("codes", [{}, {"NOERROR": 2, "NXDOMAIN": 1}])
def test_other_answers_are_no_figures(codes: dict[str, int]) -> None:
    with pytest.raises(WrongAnswers, match="docker answered"):
        rate(Server.DOCKER, perf(codes))
    with pytest.raises(WrongAnswers, match="docker answered"):
        latency(Server.DOCKER, perf(codes))


def test_report_of_goals_that_are_met() -> None:
    lines = as_text(RESULT).splitlines()

    assert "goals: 8 of 8 met" in lines
    assert any(
        line.startswith("times that one call takes in a flood of Docker's") for line in lines
    )


def test_report_names_missed_goals_and_no_others() -> None:
    slow = replace(
        RESULT,
        rates=tuple(rate_of(server, 50e3) for server in Server),
        changes=(changes(0, 5.0), changes(100_000, 51.0)),
    )

    told = as_json(slow)

    missed = {v["what"]: v["ratio"] for v in told["verdicts"] if v["is_met"] is False}
    assert missed == {
        "known names/s, docker's to pynet's": 1.0,
        "a record changed beside 100000 names, ms to the answer": 51.0,
    }


def test_report_tells_what_was_lost() -> None:
    assert " 25.00 " in as_text(replace(RESULT, rates=(*RESULT.rates, *RESULT.rates)))


def rate_of(server: Server, per_second: float) -> Rate:
    lost = 1 if server is Server.DNSMASQ else 0
    return Rate(server=server, per_second=per_second, lost=lost, sent=4)


def answers(server: Server, median_us: float, *, is_forwarded: bool = False) -> Latency:
    return Latency(
        server=server,
        is_forwarded=is_forwarded,
        median_us=median_us,
        p99_us=2 * median_us,
        lost=0,
    )


def changes(names: int, answer_ms: float) -> Changes:
    return Changes(
        names=names,
        call_ms=(2.0,),
        answer_ms=(answer_ms,),
        resolver_mib=20.0,
        daemon_mib=60.0,
    )


def strain(flooded: Flooded, answer_us: float, call_ms: float) -> Strain:
    return Strain(flooded=flooded, answer_us=answer_us, lost=0, call_ms=call_ms)


RESULT = Result(
    kernel="6.1",
    engine="20.10",
    pynet="1.0",
    python="3.11",
    seconds=2.0,
    rates=(
        rate_of(Server.PYNET, 120e3),
        rate_of(Server.DOCKER, 60e3),
        rate_of(Server.DNSMASQ, 125e3),
    ),
    latencies=(
        *(answers(server, 50.0) for server in Server),
        answers(Server.PYNET, 500.0, is_forwarded=True),
        answers(Server.DOCKER, 300.0, is_forwarded=True),
    ),
    changes=(changes(0, 5.0), changes(100_000, 6.0)),
    strains=(
        strain(Flooded.NOBODY, 50.0, 4.0),
        strain(Flooded.PYNET, 90.0, 6.0),
        strain(Flooded.DOCKER, 200.0, 20.0),
    ),
)
