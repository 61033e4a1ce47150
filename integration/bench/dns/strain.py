"""What a flood of questions does to others: to the answers they get, and to calls of pynet."""

from __future__ import annotations

import time
from contextlib import nullcontext
from statistics import median
from typing import Any

from integration.bench.api import Api
from integration.bench.dns.figures import Flooded, Server, Strain, latency
from integration.bench.dns.stage import KNOWN, Stage
from integration.bench.ports.stopwatch import stopwatch

PER_SECOND = 1000
CALLS = 20
FLOODED = {Flooded.PYNET: Server.PYNET, Flooded.DOCKER: Server.DOCKER}

_BUILDS_UP_S = 0.3
_LONGEST_S = 60.0


class Strained:
    """A container beside the one that floods, and a connection as dockerd has it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._stage.start_box(Server.PYNET, "victim", [])
        self._plugin = Api(stage.daemon.plugin_socket)
        self._number = 0
        self._network = stage.networks[Server.PYNET]
        (config,) = stage.api.ask("GET", f"/networks/{self._network}")["IPAM"]["Config"]
        self._pool = f"pynet-local/{config['Subnet']}"

    def close(self) -> None:
        self._plugin.close()

    def measure(self, flooded: Flooded, seconds: float) -> Strain:
        """Ask and call while a container floods its resolver, or none does."""
        with self._flood(flooded):
            time.sleep(_BUILDS_UP_S)
            asked = self._stage.at_rate(Server.PYNET, KNOWN, seconds, PER_SECOND, asker="victim")
            call_ms = median(self._time_calls() for _ in range(CALLS))
        answers = latency(Server.PYNET, asked)
        return Strain(
            flooded=flooded, answer_us=answers.median_us, lost=answers.lost, call_ms=call_ms
        )

    def _flood(self, flooded: Flooded) -> Any:
        if flooded is Flooded.NOBODY:
            return nullcontext()
        return self._stage.flood(FLOODED[flooded], KNOWN, _LONGEST_S)

    def _time_calls(self) -> float:
        """Return the ms that it took to make an endpoint and take it back, address and all."""
        self._number += 1
        ids = {"NetworkID": self._network, "EndpointID": f"{self._number:064x}"}
        with stopwatch() as watch:
            leased = self._call("IpamDriver.RequestAddress", PoolID=self._pool, Address="")
            interface = {"Address": leased["Address"]}
            self._call("NetworkDriver.CreateEndpoint", **ids, Interface=interface, Options={})
            self._call("NetworkDriver.DeleteEndpoint", **ids)
            address = leased["Address"].partition("/")[0]
            self._call("IpamDriver.ReleaseAddress", PoolID=self._pool, Address=address)
        return watch.ms

    def _call(self, method: str, **body: object) -> Any:
        return self._plugin.ask("POST", f"/{method}", body)
