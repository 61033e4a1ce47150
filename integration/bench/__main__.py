"""Command line of the bench."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from integration.bench import daemon, macvlan
from integration.bench.api import Api
from integration.bench.dns import report as dns_report
from integration.bench.dns import run as dns_run
from integration.bench.ipam import report as ipam_report
from integration.bench.ipam import run as ipam_run
from integration.bench.links import Links
from integration.bench.operations import DOCKER, IMAGE, PYNET, Contestant, take_turns
from integration.bench.ports import report as ports_report
from integration.bench.ports import run as ports_run
from integration.bench.report import Result, as_json, as_text
from integration.lab import Daemon, Engine, Lab, probes

# Docker takes up to 0.3 s for each network that it makes beside hundreds; the goals compare at 10.
DOCKER_LIMIT = 100
STARTS = 3
PROGRAM = "python -m integration.bench"

Report = tuple[str, dict[str, Any]]
"""What is printed, and what is written as JSON."""

Measure = Callable[[Lab, argparse.Namespace], Report]


def main() -> int:
    arguments = _parse()
    if reason := probes.first_missing(*arguments.needs):
        print(f"nothing measured: {reason}", file=sys.stderr)
        return 0
    with Lab() as lab:
        text, found = arguments.measure(lab, arguments)
    _tell("")
    print(text)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage="%(prog)s [options] [SUBJECT]",
        description="Time pynet against Docker's bridge driver.",
    )
    parser.add_argument(
        "--sizes",
        type=_sizes,
        default=(10, 100, 500),
        help="how many other networks each side has, ascending (default 10,100,500)",
    )
    parser.add_argument(
        "--docker-limit",
        type=int,
        default=DOCKER_LIMIT,
        metavar="N",
        help=f"the most other networks that Docker gets (default {DOCKER_LIMIT})",
    )
    _add_common(parser, _networks)
    subjects = parser.add_subparsers(
        title="to be measured instead of networks", metavar="SUBJECT", prog=PROGRAM
    )
    _add_common(subjects.add_parser("ports", help="published ports"), _ports, needs=ports_run.NEEDS)
    _add_common(
        subjects.add_parser("macvlan", help="starts on the host's own network"),
        _macvlan,
        needs=macvlan.NEEDS,
    )
    _add_dns(subjects.add_parser("dns", help="the embedded DNS"))
    _add_common(
        subjects.add_parser("ipam", help="leasing addresses"),
        _ipam,
        needs=probes.OF_A_LAB,
        has_engine=False,
    )
    return parser.parse_args()


def _add_dns(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, _dns, needs=dns_run.NEEDS)
    parser.set_defaults(runs=dns_run.RUNS)
    parser.add_argument(
        "--seconds",
        type=float,
        default=dns_run.SECONDS,
        metavar="S",
        help=f"how long each round takes (default {dns_run.SECONDS:g})",
    )
    parser.add_argument(
        "--names",
        type=int,
        default=dns_run.NAMES,
        metavar="N",
        help=f"how many names there are when one changes (default {dns_run.NAMES})",
    )


def _add_common(
    parser: argparse.ArgumentParser,
    measure: Measure,
    *,
    needs: Sequence[str] = (),
    has_engine: bool = True,
) -> None:
    of_engine = probes.OF_AN_ENGINE if has_engine else ()
    parser.set_defaults(measure=measure, needs=(*of_engine, *needs))
    parser.add_argument("--runs", type=int, default=20, metavar="N", help="timings of each kind")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all timings to FILE")


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted({int(word) for word in text.split(",")}))


def _networks(lab: Lab, arguments: argparse.Namespace) -> Report:
    result = _measure(lab, arguments.sizes, arguments.runs, arguments.docker_limit)
    return as_text(result), as_json(result)


def _ports(lab: Lab, arguments: argparse.Namespace) -> Report:
    result = ports_run.measure(lab, arguments.runs, _tell)
    return ports_report.as_text(result), ports_report.as_json(result)


def _macvlan(lab: Lab, arguments: argparse.Namespace) -> Report:
    result = macvlan.measure(lab, arguments.runs, _tell)
    return macvlan.as_text(result), macvlan.as_json(result)


def _dns(lab: Lab, arguments: argparse.Namespace) -> Report:
    seconds, names = arguments.seconds, arguments.names
    result = dns_run.measure(lab, arguments.runs, seconds, names, _tell)
    return dns_report.as_text(result), dns_report.as_json(result)


def _ipam(lab: Lab, arguments: argparse.Namespace) -> Report:
    result = ipam_run.measure(lab, arguments.runs, _tell)
    return ipam_report.as_text(result), ipam_report.as_json(result)


def _measure(lab: Lab, sizes: Sequence[int], runs: int, docker_limit: int) -> Result:
    host = lab.host()
    engine, pynet = Engine(host), Daemon(host)
    engine.start()
    engine.image(IMAGE)
    daemon.start(pynet)
    idle = daemon.restart(pynet, networks=0, times=STARTS)
    api, links = Api(engine.socket), Links(host)
    ours, theirs = Contestant(PYNET, api, links), Contestant(DOCKER, api, links)
    docker_sizes = []
    for size in sizes:
        _tell(f"{size} networks: making them")
        ours.grow(size, limit=size)
        theirs.grow(size, limit=docker_limit)
        docker_sizes.append(theirs.fillers)
        for run in range(runs):
            _tell(f"{size} networks: run {run + 1} of {runs}")
            take_turns([ours, theirs], run)
    _tell("daemon: starts")
    loaded = daemon.restart(pynet, networks=ours.fillers, times=STARTS)
    links.close()
    version = api.ask("GET", "/version")["Version"]
    api.close()
    return Result(
        kernel=platform.release(),
        engine=version,
        pynet=pynet.admin("GET", "/v1/status").body["version"],
        python=platform.python_version(),
        sizes=tuple(sizes),
        docker_sizes=tuple(docker_sizes),
        samples=(*ours.samples, *theirs.samples),
        daemon=(idle, loaded),
    )


def _tell(progress: str) -> None:
    """Show how far it is, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{progress}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
