"""Command line of the bench."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from integration.bench import daemon
from integration.bench.api import Api
from integration.bench.links import Links
from integration.bench.operations import DOCKER, IMAGE, PYNET, Contestant, take_turns
from integration.bench.report import Result, as_json, as_text
from integration.lab import Daemon, Engine, Lab, probes

# Docker takes up to 0.3 s for each network that it makes beside hundreds; the goals compare at 10.
DOCKER_LIMIT = 100
STARTS = 3


def main() -> int:
    arguments = _parse()
    if reason := probes.first_missing(*probes.OF_AN_ENGINE):
        print(f"nothing measured: {reason}", file=sys.stderr)
        return 0
    with Lab() as lab:
        result = _measure(lab, arguments.sizes, arguments.runs, arguments.docker_limit)
    print(as_text(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(as_json(result), indent=1) + "\n")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m integration.bench", description="Time pynet against Docker's bridge driver."
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
    parser.add_argument("--runs", type=int, default=20, metavar="N", help="timings of each kind")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all timings to FILE")
    return parser.parse_args()


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted({int(word) for word in text.split(",")}))


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
    _tell("")
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
