"""pynet in a host of its own, with nothing that calls it yet."""

from __future__ import annotations

import http.client
from dataclasses import dataclass

from integration.lab import Daemon, Host, eventually


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """pynet in a host, and nothing else."""

    host: Host
    pynet: Daemon

    def counts(self) -> dict[str, int]:
        """What pynet has on record."""
        status = self.pynet.admin("GET", "/v1/status").body
        return {what: status[what] for what in ("networks", "endpoints", "pools", "leases")}

    def has_joined(self, endpoint_id: str) -> bool:
        """Whether an endpoint of that id is in a sandbox."""
        shown = self.pynet.admin("GET", f"/v1/endpoints/{endpoint_id}")
        return shown.status == http.client.OK and bool(shown.body["joined"])

    def start(self) -> None:
        """Start pynet, and wait until it has made all as it should be."""
        self.pynet.start()
        self._wait_until_ready()

    def restart(self) -> None:
        self.pynet.restart()
        self._wait_until_ready()

    def restart_after_kill(self) -> None:
        self.pynet.kill()
        self.start()

    def _wait_until_ready(self) -> None:
        """Wait for what a call would wait for, so that a look at the kernel comes after it."""
        eventually(
            lambda: self.pynet.admin("GET", "/v1/status").body["state"] == "ready",
            "pynet has recovered",
        )

    def reaches(self, address: str) -> bool:
        argv = ["ping", "-c", "1", "-w", "2", address]
        return self.host.run(argv, check=False).returncode == 0
