"""pynet's own part of publishing: the calls that dockerd makes for it, and ranges of ports."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from integration.bench import daemon
from integration.bench.api import Api
from integration.bench.operations import PAUSE_S
from integration.bench.ports.figures import Calls, RangeFigures
from integration.bench.ports.publisher import NETWORK, SERVED, TIMED, Ports, Publisher
from integration.bench.ports.stopwatch import stopwatch

RANGE: Ports = {port: port for port in range(10000, 20000)}
RANGE_RUNS = 3
REST_S = 1.0
ANY_IPV4 = "0.0.0.0"

_TCP = 6  # IANA protocol number
_PORT_MAP = "com.docker.network.portmap"


class Caller:
    """Calls the plugin in dockerd's place, for a container of a publisher that runs already."""

    def __init__(self, publisher: Publisher) -> None:
        assert publisher.daemon is not None, "only pynet is a plugin"
        self._publisher = publisher
        self._daemon = publisher.daemon
        self._plugin = Api(publisher.daemon.plugin_socket)
        container = publisher.start_container("called", {})
        found = publisher.inspect(container)["NetworkSettings"]["Networks"][NETWORK]
        self._ids = {"NetworkID": found["NetworkID"], "EndpointID": found["EndpointID"]}

    def close(self) -> None:
        self._plugin.close()

    def version(self) -> str:
        return str(self._daemon.admin("GET", "/v1/status").body["version"])

    def time_port(self) -> Calls:
        """Publish one port and take it back."""
        time.sleep(PAUSE_S)
        publish_ms = self._publish({TIMED: SERVED})
        time.sleep(PAUSE_S)
        return Calls(others=self._publisher.others, publish_ms=publish_ms, revoke_ms=self._revoke())

    def measure_range(self, ports: Ports = RANGE) -> RangeFigures:
        """Publish many ports at once: what the first time leaves, and what each takes.

        Raises:
            Refused: they cannot be published here.
        """
        rules, elements = self._publisher.rules_and_elements()
        rss_mib, slab_mib = daemon.rss_mib(self._daemon), _slab_mib()
        publish_ms, revoke_ms = [self._publish(ports, ANY_IPV4)], []
        rss_grown, slab_grown = daemon.rss_mib(self._daemon) - rss_mib, _slab_mib() - slab_mib
        rules_now, elements_now = self._publisher.rules_and_elements()
        revoke_ms.append(self._revoke())
        for _ in range(RANGE_RUNS - 1):
            time.sleep(REST_S)
            publish_ms.append(self._publish(ports, ANY_IPV4))
            revoke_ms.append(self._revoke())
        return RangeFigures(
            ports=len(ports),
            rules=rules_now - rules,
            elements=elements_now - elements,
            daemon_mib=rss_grown,
            slab_mib=slab_grown,
            publish_ms=tuple(publish_ms),
            revoke_ms=tuple(revoke_ms),
        )

    def time_range_start(self, ports: Ports = RANGE) -> float:
        """Return the ms that a container with many ports takes to start.

        Raises:
            Refused: it cannot be started.
        """
        return self._publisher.time_start(ports, ANY_IPV4)

    def _publish(self, ports: Ports, host_ip: str = "") -> float:
        options = {_PORT_MAP: bindings(ports, host_ip)}
        return self._call("ProgramExternalConnectivity", {**self._ids, "Options": options})

    def _revoke(self) -> float:
        return self._call("RevokeExternalConnectivity", self._ids)

    def _call(self, method: str, body: Mapping[str, Any]) -> float:
        with stopwatch() as watch:
            self._plugin.ask("POST", f"/NetworkDriver.{method}", body)
        return watch.ms


def bindings(ports: Ports, host_ip: str = "") -> list[dict[str, Any]]:
    """Return ports as dockerd tells them to a plugin."""
    return [_binding(outer, inner, host_ip) for outer, inner in ports.items()]


def _binding(outer: int, inner: int, host_ip: str) -> dict[str, Any]:
    inside = {"Proto": _TCP, "IP": "", "Port": inner}
    return {**inside, "HostIP": host_ip, "HostPort": outer, "HostPortEnd": outer}


def _slab_mib() -> float:
    """Return what the kernel's slabs hold, of the whole machine."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Slab:")) / 1024
