"""Names by the thousand, and how long it takes until the change of one is seen."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from http import HTTPStatus
from itertools import islice
from pathlib import Path

from integration.bench import daemon
from integration.bench.api import Refused
from integration.bench.dns import client
from integration.bench.dns.figures import Changes, Server
from integration.bench.dns.stage import SEEN_S, Stage, is_from
from integration.bench.ports.stopwatch import stopwatch
from integration.lab import eventually

PER_BOX = 1000
CHANGED = "changing"
RESOLVER = "netplug.dns"

_PAUSE_S = 0.1


class ManyNames:
    """A network of pynet's whose names grow, and one record on it that changes."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._boxes = 0
        self._address = 0
        self._network = stage.networks[Server.PYNET]

    def fill(self, names: int, tell: Callable[[str], None]) -> None:
        """Start containers until there are so many names more, and wait until pynet tells them."""
        wanted = (f"name{number}" for number in range(names))
        while batch := list(islice(wanted, PER_BOX)):
            tell(f"{names} names: those of container {self._boxes + 1}")
            self._stage.start_box(Server.PYNET, f"many{self._boxes}", batch)
            self._boxes += 1
        if names:
            last = f"name{names - 1}"
            eventually(
                lambda: is_from(Server.PYNET, self._stage.ask(Server.PYNET, last)),
                f"pynet knows {last}",
                deadline_s=2 * SEEN_S,
            )

    def change(self, names: int, times: int) -> Changes:
        """Change the record so many times."""
        took = [self._change_once() for _ in range(times)]
        return Changes(
            names=names,
            call_ms=tuple(call_ms for call_ms, _ in took),
            answer_ms=tuple(answer_ms for _, answer_ms in took),
            resolver_mib=daemon.rss_mib_of(self._stage.daemon.helper(RESOLVER)),
            daemon_mib=daemon.rss_mib(self._stage.daemon),
        )

    def _change_once(self) -> tuple[float, float]:
        """Return the ms until the call that changes it returned, and until the new answer came."""
        self._address += 1
        value = f"203.0.113.{self._address}"
        argv = [sys.executable, "-I", "-S", str(Path(client.__file__)), CHANGED, value]
        with self._stage.popen(Server.PYNET, argv, log="watch") as watcher:
            eventually(watcher.output, "the client asks", detail=watcher.tail)
            time.sleep(_PAUSE_S)
            begin = time.monotonic()
            with stopwatch() as watch:
                self._put(value)
            watcher.wait()
            seen = float(watcher.output().splitlines()[-1])
        return watch.ms, (seen - begin) * 1000

    def _put(self, value: str) -> None:
        """Give the record one more value."""
        record = {"network": self._network, "name": CHANGED, "values": [value], "type": "A"}
        answer = self._stage.daemon.admin("POST", "/v1/dns", record)
        if answer.status != HTTPStatus.OK:
            raise Refused(f"POST /v1/dns: {answer.status} {answer.body}")
